// expect: cannot be called with these arguments.*passed as rvalues
#include <cacheflight/asio.hpp>

#include <memory>

boost::asio::awaitable<int> load(std::unique_ptr<int>& number);

void caller(cacheflight::group& flights) {
  static_cast<void>(flights.run("key", load, std::make_unique<int>(1)));
}
