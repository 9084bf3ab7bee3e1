// expect: In a coroutine server, return asio::awaitable<T>
#include <cacheflight/cacheflight.hpp>

int load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
