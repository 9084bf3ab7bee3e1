// SPDX-License-Identifier: MIT
#pragma once

// What the shape tests share: objects that notice when they are destroyed twice, and tasks that end at once
// or after a few turns.

#include <cacheflight/asio.hpp>
#include <cacheflight/cacheflight.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <exception>
#include <set>
#include <string>
#include <utility>

namespace shapes {

namespace net = boost::asio;

/// Text that knows which of its objects are alive: g++ 12 destroys some temporaries inside `co_await` twice.
class tracked {
 public:
  explicit tracked(std::string text) : text_(std::move(text)) { born(); }
  tracked(tracked const& other) : text_(other.text()) { born(); }
  tracked(tracked&& other) noexcept : text_(std::move(other.text_)) { born(); }
  tracked& operator=(tracked const&) = default;
  tracked& operator=(tracked&&) = default;
  ~tracked() {
    if (alive_.erase(this) == 0) ++destroyed_twice_;
  }

  [[nodiscard]] std::string const& text() const {
    EXPECT_TRUE(alive_.contains(this)) << "used after its destruction";
    return text_;
  }
  [[nodiscard]] static std::size_t alive() { return alive_.size(); }
  [[nodiscard]] static int destroyed_twice() { return destroyed_twice_; }
  static void forget() {
    alive_.clear();
    destroyed_twice_ = 0;
  }

 private:
  void born() { alive_.insert(this); }

  static inline std::set<tracked const*> alive_;
  static inline int destroyed_twice_ = 0;
  std::string text_;
};

inline std::string const long_text = "a text that does not fit into the small buffer of a string";
inline tracked payload() { return tracked(long_text); }

/// How many turns of the loop a task takes: with 0 it completes inside the call that starts it.
inline int turns = 0;
inline int executions = 0;

inline net::awaitable<void> take_turns() {
  ++executions;
  auto const executor = co_await net::this_coro::executor;
  for (int i = 0; i < turns; ++i) co_await net::post(executor, net::use_awaitable);
}

inline net::awaitable<std::string> load(tracked text) {
  co_await take_turns();
  co_return text.text();
}

/// A task that ends only if it is asked to stop.
inline net::awaitable<std::string> never() {
  net::steady_timer forever(co_await net::this_coro::executor, net::steady_timer::time_point::max());
  co_await forever.async_wait(net::use_awaitable);
  co_return "never";
}

}  // namespace shapes
