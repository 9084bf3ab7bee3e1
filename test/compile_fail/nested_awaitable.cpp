// expect: what this task yields is an awaitable or a sender itself
#include <cacheflight/asio.hpp>

boost::asio::awaitable<boost::asio::awaitable<int>> load();

boost::asio::awaitable<void> caller(cacheflight::group& flights) { co_await flights.run("key", load); }
