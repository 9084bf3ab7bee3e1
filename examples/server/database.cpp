// SPDX-License-Identifier: MIT
#include "database.hpp"

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
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

// Hops to the pool and back as an operation of its own, which is deaf to Asio's cancellation: the coroutine belongs to
// the caller's executor, and touching it from a pool thread while it is being cancelled there would be a race. The stop
// token has no such limit.
net::awaitable<std::optional<user>> database::query_on_pool(std::stop_token stop, std::int64_t id) {
  auto initiate = [this, stop = std::move(stop), id](auto handler) {
    auto work = net::make_work_guard(handler);  // keeps the caller's context running meanwhile
    net::post(pool_, [this, stop, id, handler = std::move(handler), work = std::move(work)]() mutable {
      std::exception_ptr error;
      std::optional<user> found;
      try {
        found = users_.find(stop, id);
      } catch (...) {
        error = std::current_exception();
      }
      net::post(work.get_executor(),
                [handler = std::move(handler), error = std::move(error), found = std::move(found)]() mutable {
                  std::move(handler)(std::move(error), std::move(found));
                });
    });
  };
  return net::async_initiate<net::use_awaitable_t<> const, void(std::exception_ptr, std::optional<user>)>(
      std::move(initiate), net::use_awaitable);
}

}  // namespace demo
