// expect: cacheflight: an offloaded function must not return a reference
#include <cacheflight/asio.hpp>

namespace net = boost::asio;

int number = 0;
int& refer() { return number; }

net::awaitable<void> bad(net::thread_pool& pool) { number = co_await cacheflight::offload(pool, refer); }
