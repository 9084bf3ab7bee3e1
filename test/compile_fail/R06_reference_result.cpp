// expect: must not return a reference.*Return a value or a std::shared_ptr
#include <cacheflight/asio.hpp>
#include <cacheflight/cacheflight.hpp>

boost::asio::awaitable<int&> load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
