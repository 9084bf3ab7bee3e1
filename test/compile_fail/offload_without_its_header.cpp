// expect: offload is in a header that is not included: #include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

int compute(int id);

boost::asio::awaitable<int> caller(boost::asio::thread_pool& pool) {
  co_return co_await cacheflight::offload(pool, compute, 7);
}
