// SPDX-License-Identifier: MIT
#pragma once

// What the stress tests share. CACHEFLIGHT_SEED repeats a run's random choices (not its schedule),
// CACHEFLIGHT_STRESS_OPS sets its length.

#include <cacheflight/asio.hpp>
#include <cacheflight/cacheflight.hpp>

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace stress {

namespace net = boost::asio;
using namespace std::chrono_literals;

inline std::uint64_t from_environment(char const* name, std::uint64_t otherwise) {
  char const* const text = std::getenv(name);
  return text ? std::strtoull(text, nullptr, 0) : otherwise;
}

/// Printed, so that a failure can be repeated.
inline std::uint64_t seed() {
  std::uint64_t const chosen = from_environment("CACHEFLIGHT_SEED", std::random_device()());
  std::printf("CACHEFLIGHT_SEED=%llu\n", static_cast<unsigned long long>(chosen));
  return chosen;
}

inline std::uint64_t operations(std::uint64_t otherwise) {
  return from_environment("CACHEFLIGHT_STRESS_OPS", otherwise);
}

/// Counts up; others wait until it has got far enough. If it does not, the test program ends: somebody hangs.
class counter {
 public:
  void add(std::uint64_t n = 1) {
    std::scoped_lock const lock(mutex_);
    count_ += n;
    changed_.notify_all();
  }
  void wait_for(std::uint64_t count, char const* what) {
    std::unique_lock lock(mutex_);
    if (changed_.wait_for(lock, 200s, [&] { return count_ >= count; })) {
      lock.unlock();
      lock.lock();  // g++ 12's thread sanitizer does not see that the timed wait has taken it
      return;
    }
    std::fprintf(stderr, "hangs: %s: %llu of %llu\n", what, static_cast<unsigned long long>(count_),
                 static_cast<unsigned long long>(count));
    std::abort();
  }
  [[nodiscard]] std::uint64_t now() const {
    std::scoped_lock const lock(mutex_);
    return count_;
  }

 private:
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::uint64_t count_ = 0;
};

/// Coroutines wait here until it is opened; being asked to stop does not bother them.
class gate {
 public:
  net::awaitable<void> wait() {
    co_await net::async_initiate<net::use_awaitable_t<> const, void()>(enter{this}, net::use_awaitable);
  }
  void open() {
    std::vector<std::function<void()>> resume;
    {
      std::scoped_lock const lock(mutex_);
      open_ = true;
      resume.swap(waiting_);
    }
    for (auto& r : resume) r();
  }

 private:
  struct enter {
    gate* self;
    template <class Handler>
    void operator()(Handler handler) const {
      auto const executor = net::get_associated_executor(handler);
      auto const held = std::make_shared<Handler>(std::move(handler));
      auto const work =
          std::make_shared<net::executor_work_guard<std::remove_const_t<decltype(executor)>>>(executor);
      std::function<void()> resume = [held, work] {
        net::post(work->get_executor(), std::move(*held));
        work->reset();
      };
      {
        std::scoped_lock const lock(self->mutex_);
        if (!self->open_) return self->waiting_.push_back(std::move(resume));
      }
      resume();
    }
  };

  std::mutex mutex_;
  bool open_ = false;
  std::vector<std::function<void()>> waiting_;
};

/// An io_context with threads of its own, which run until it has nothing more to do.
class server {
 public:
  explicit server(int threads) : work_(net::make_work_guard(io)) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { io.run(); });
  }
  ~server() { join(); }
  /// Lets everything end.
  void join() {
    work_.reset();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }
  /// Leaves everything as it is.
  void stop() {
    io.stop();
    join();
  }

  net::io_context io;

 private:
  net::executor_work_guard<net::io_context::executor_type> work_;
  std::vector<std::thread> threads_;
};

/// A task that ends only if it is asked to stop, or destroyed.
inline net::awaitable<int> never() {
  net::steady_timer forever(co_await net::this_coro::executor, net::steady_timer::time_point::max());
  co_await forever.async_wait(net::use_awaitable);
  co_return -1;
}

inline net::awaitable<void> take_turns(unsigned turns) {
  auto const executor = co_await net::this_coro::executor;
  for (; turns > 0; --turns) co_await net::post(executor, net::use_awaitable);
}

inline net::awaitable<int> turns(unsigned n, int result) {
  co_await take_turns(n);
  co_return result;
}

/// `operation`, on a strand; `suspended` counts it once it has entered its flight and waits, or is through.
template <class T>
net::awaitable<T> entered(net::awaitable<T> operation, counter* suspended) {
  auto const strand = co_await net::this_coro::executor;
  net::post(strand,
            [suspended] { suspended->add(); });  // has its turn when this coroutine has let go of the strand
  co_return co_await std::move(operation);
}

/// What must hold when no call is in progress (rule 23).
inline void expect_balance(cacheflight::statistics const& books) {
  EXPECT_EQ(books.misses, books.started + books.max_keys_rejected);
  EXPECT_EQ(books.started, books.resolved + books.rejected + books.timed_out + books.cancelled);
  EXPECT_EQ(books.in_flight, 0U);
  EXPECT_EQ(books.waiters, 0U);
  EXPECT_EQ(books.detached, 0U);
}

/// Stress that does not join proves nothing.
inline void expect_joins(cacheflight::statistics const& books, double at_least = 0.5) {
  double const joined = static_cast<double>(books.hits) / static_cast<double>(books.hits + books.misses);
  std::printf("%llu calls, %.1f %% joined\n", static_cast<unsigned long long>(books.hits + books.misses),
              100 * joined);
  EXPECT_GE(joined, at_least);
}

}  // namespace stress
