// expect: whose front is not included: #include <cacheflight/asio.hpp>
#include <cacheflight/cacheflight.hpp>

#include <boost/asio/awaitable.hpp>

boost::asio::awaitable<int> load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
