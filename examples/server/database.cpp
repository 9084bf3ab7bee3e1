// SPDX-License-Identifier: MIT
#include "database.hpp"

#include <cacheflight/asio.hpp>

#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <utility>

namespace demo {

namespace net = boost::asio;

net::awaitable<std::optional<user>> database::find_user(std::stop_token stop, std::int64_t id) {
  booked_call call(calls_, stop);
  net::steady_timer network(co_await net::this_coro::executor, latency_);
  co_await network.async_wait(net::use_awaitable);
  std::optional<user> found = co_await query_on_pool(std::move(stop), id);
  call.answered();
  co_return found;
}

// The coroutine belongs to its caller's executor, where it may be cancelled, so it stays there, and the query
// alone goes to the pool. What has gone there is interrupted through the token that it was given.
net::awaitable<std::optional<user>> database::query_on_pool(std::stop_token stop, std::int64_t id) {
  return cacheflight::offload(pool_, &user_store::find, &users_, std::move(stop), id);
}

}  // namespace demo
