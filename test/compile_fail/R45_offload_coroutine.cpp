// expect: cacheflight: offload takes a plain function
#include <cacheflight/asio.hpp>

namespace net = boost::asio;

net::awaitable<int> coroutine() { co_return 1; }

net::awaitable<void> bad(net::thread_pool& pool) { (void)co_await cacheflight::offload(pool, coroutine); }
