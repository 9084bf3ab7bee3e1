// expect: a cast that may lose something
#include <cacheflight/asio.hpp>

#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

boost::asio::awaitable<int> load();

void caller(cacheflight::basic_group<int>& flights, boost::asio::io_context& io) {
  cacheflight::async_run(flights, io.get_executor(), 3.9, load, boost::asio::detached);
}
