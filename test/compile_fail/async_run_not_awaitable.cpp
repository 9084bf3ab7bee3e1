// expect: async_run takes tasks that return asio::awaitable<T>
#include <cacheflight/asio.hpp>

#include <boost/asio/detached.hpp>

int load();

void caller(cacheflight::group& flights, boost::asio::io_context& io) {
  cacheflight::async_run(flights, io.get_executor(), "key", load, boost::asio::detached);
}
