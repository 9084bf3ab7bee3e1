// expect: async_run is in a header that is not included: #include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

boost::asio::awaitable<int> load(int id);

void caller(cacheflight::group& flights, boost::asio::io_context& context) {
  cacheflight::async_run(flights, context, "key", load, 7, boost::asio::detached);
}
