// expect: a plain value: #include <cacheflight/blocking.hpp>.*In a coroutine server, return an awaitable
#include <cacheflight/cacheflight.hpp>

int load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
