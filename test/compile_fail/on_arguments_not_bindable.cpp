// expect: cannot be called with these arguments
#include <cacheflight/asio.hpp>

boost::asio::awaitable<int> load(int& number);

void caller(cacheflight::group& flights, boost::asio::io_context& io, int& number) {
  static_cast<void>(flights.run("key", cacheflight::on(io.get_executor(), load), number));
}
