// SPDX-License-Identifier: MIT

// Groups that are drained while threads call (rules 58 and 59).

#include "../support/coroutines.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <string>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cacheflight_test::eager;
using cacheflight_test::lazy;

/// What happened in one round.
struct round {
  std::atomic<int> entered{0}, went_on{0}, running{0};
  std::atomic<bool> quiet{false};

  int task() {
    ++running;
    EXPECT_FALSE(quiet) << "a task runs in a group that is quiet";
    std::this_thread::yield();
    --running;
    return 1;
  }
};

void ask(cacheflight::group& flights, round& now, std::string const& key) {
  ++now.entered;
  try {
    (void)flights.run(key, [&] { return now.task(); });
  } catch (cacheflight::error const&) {  // closed, or cancelled
  }
  ++now.went_on;
}

void start(cacheflight::group& flights, round& now, std::string const& key) {
  ++now.entered;
  flights.start(
      key, [&] { return now.task(); },
      [&](std::exception_ptr, std::shared_ptr<int const>) { ++now.went_on; });
}

eager wait(cacheflight::group& flights, round& now, std::string key) {
  ++now.entered;
  try {
    (void)co_await flights.run(
        std::move(key), [](round& r) -> lazy<int> { co_return r.task(); }, std::ref(now));
  } catch (cacheflight::error const&) {
  }
  ++now.went_on;
}

TEST(R59_stress, a_group_is_quiet_when_it_was_drained) {
  int cancelled = 0;
  for (int n = 0; n < 300; ++n) {
    round now;
    cacheflight::group flights;
    std::latch begun(4);
    std::vector<std::jthread> threads;
    for (int who = 0; who < 3; ++who)
      threads.emplace_back([&, who] {
        begun.count_down();
        for (int i = 0; !flights.closed() || i < 20; ++i) {
          std::string const key = "k" + std::to_string((who + i) % 4);
          if (i % 3 == 0) ask(flights, now, key);
          else if (i % 3 == 1) start(flights, now, key);
          else wait(flights, now, key);
        }
      });
    threads.emplace_back([&] {
      begun.arrive_and_wait();
      if (n % 3 == 0 && !flights.drain(1us)) ++cancelled;
    });
    begun.wait();
    EXPECT_TRUE(flights.drain(1h) || n % 3 == 0);
    EXPECT_TRUE(flights.drain());
    now.quiet = true;
    EXPECT_EQ(now.running, 0);
    auto const books = flights.stats();
    EXPECT_EQ(books.in_flight + books.waiters + books.detached + books.superseded, 0u);
    threads.clear();
    EXPECT_EQ(now.went_on, now.entered);
    auto const end = flights.stats();
    EXPECT_EQ(end.misses, end.started + end.max_keys_rejected + end.closed_rejected);
    EXPECT_EQ(end.started, end.resolved + end.rejected + end.timed_out + end.cancelled);
  }
  std::printf("time was over in %d drains\n", cancelled);
}

}  // namespace
