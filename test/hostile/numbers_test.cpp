// SPDX-License-Identifier: MIT
// A million keys in flight, a million callers of one key: nothing recurses, nothing costs more than its
// share, and what was taken is given back.
#include "../support/coroutines.hpp"
#include "support.hpp"
#include <cacheflight/coroutine.hpp>

#include <gtest/gtest.h>

#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <coroutine>
#include <cstdio>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace {

using namespace hostile;
using cacheflight::run_options;
using cacheflight_test::eager;

constexpr std::size_t million = scaled(1'000'000);

/// On a thread with a stack on which nothing can recurse a million times.
template <class F>
void on_small_stack(F body) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, sanitized ? 2 << 20 : 256 << 10), 0);
  pthread_t thread;
  auto const run = [](void* of) -> void* {
    (*static_cast<F*>(of))();
    return nullptr;
  };
  ASSERT_EQ(pthread_create(&thread, &attributes, run, &body), 0);
  EXPECT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

/// Bytes that are allocated; sanitizers do not tell.
[[nodiscard]] std::size_t allocated() {
  auto const heap = mallinfo2();
  return heap.uordblks + heap.hblkhd;
}

void expect_balanced(cacheflight::statistics const& s) {
  EXPECT_EQ(s.misses, s.started + s.max_keys_rejected);
  EXPECT_EQ(s.started, s.resolved + s.rejected + s.timed_out + s.cancelled);
  EXPECT_EQ(s.in_flight + s.waiters + s.detached, 0U);
}

// ---- a million keys ---------------------------------------------------------------------------------------

TEST(numbers, a_million_keys_in_flight_are_settled_cancelled_and_cleared) {
  on_small_stack([] {
    auto const key = [](std::size_t i) { return "a key of a usual length, number " + std::to_string(i); };
    tally got;
    std::vector<held<int>> tasks(million);
    std::size_t const before = allocated();
    auto flights = std::make_unique<cacheflight::group>();
    std::size_t const empty = allocated();
    for (std::size_t i = 0; i < million; ++i) flights->start(key(i), tasks[i].task(), got.callback());
    std::size_t const full = allocated();
    EXPECT_EQ(flights->size(), million);
    EXPECT_EQ(got.all(), 0U);

    std::size_t const settled = million / 3, cancelled = 2 * settled;
    for (std::size_t i = 0; i < settled; ++i) tasks[i].answer->set_value(static_cast<int>(i));
    EXPECT_EQ(got.values, settled);
    for (std::size_t i = settled; i < cancelled; ++i) EXPECT_TRUE(flights->cancel(key(i)));
    EXPECT_EQ(got.cancelled(), settled);
    flights->clear();
    EXPECT_EQ(got.cancelled(), million - settled);
    EXPECT_EQ(flights->size(), 0U);
    EXPECT_EQ(flights->stats().detached, million - settled);  // until their tasks let go
    for (auto& task : tasks) task.answer.reset();
    expect_balanced(flights->stats());
    EXPECT_EQ(got.all(), million);

    std::size_t const rest = allocated();
    flights.reset();
    std::size_t const after = allocated();
    if constexpr (!sanitized) {
      std::printf("%zu keys: %zu bytes each; at rest the group keeps %zu bytes per key that was up at once\n",
                  million, (full - empty) / million, (rest - empty) / million);
      EXPECT_GT(full - empty, million * 64);  // it is counted
      EXPECT_LE(rest - empty, million * 17);  // two buckets for each key
      EXPECT_LE(after, before + 65'536);
    }
  });
}

/// Keys that differ at their very end. A flight keeps one copy, a joiner and a result that outlives its
/// flight none.
TEST(numbers, a_hundred_thousand_keys_of_10_KB_are_in_flight_and_given_back) {
  on_small_stack([] {
    constexpr std::size_t count = scaled(100'000), size = 10'000;
    std::string key(size, 'k');
    auto const key_of = [&](std::size_t i) -> std::string const& {
      key.replace(size - 6, 6, std::to_string(100'000 + i));
      return key;
    };
    std::vector<held<int>> tasks(count);
    std::vector<std::shared_ptr<int const>> results(2 * count);
    std::size_t ended = 0;
    auto const callback = [&](std::exception_ptr const&, std::shared_ptr<int const> got) {
      results[ended++] = std::move(got);
    };
    std::size_t const before = allocated();
    auto flights = std::make_unique<cacheflight::group>();
    for (std::size_t i = 0; i < count; ++i) flights->start(key_of(i), tasks[i].task(), callback);
    std::size_t const full = allocated();
    for (std::size_t i = 0; i < count; ++i) flights->start(key_of(i), tasks[i].task(), callback);
    std::size_t const joined = allocated();
    EXPECT_EQ(flights->size(), count);
    EXPECT_EQ(flights->stats().hits, count);

    for (std::size_t i = 0; i < count / 2; ++i) tasks[i].answer->set_value(1);
    for (std::size_t i = count / 2; i < count * 3 / 4; ++i) EXPECT_TRUE(flights->cancel(key_of(i)));
    flights->clear();
    EXPECT_EQ(ended, 2 * count);
    EXPECT_EQ(std::ranges::count(results, nullptr), static_cast<std::ptrdiff_t>(count));
    for (auto& task : tasks) task.answer.reset();
    expect_balanced(flights->stats());
    flights.reset();
    std::size_t const after = allocated();
    if constexpr (!sanitized) {
      std::printf("%zu keys of %zu bytes: %zu bytes each, %zu for a joiner\n", count, size,
                  (full - before) / count, (joined - full) / count);
      EXPECT_GT(full - before, count * size);
      EXPECT_LE(full - before, count * (size + 1'000));
      EXPECT_LE(joined - full, count * 1'000);
      EXPECT_LE(after, before + count * 50);  // the results
    }
  });
}

TEST(numbers, a_quarter_of_a_million_flights_end_before_their_deadlines) {
  on_small_stack([] {
    using std::chrono::hours;
    using std::chrono::nanoseconds;
    constexpr std::size_t count = million / 4;
    cacheflight::group flights;
    tally got;
    std::vector<held<int>> tasks(count);
    std::vector<std::stop_source> stops;
    stops.reserve(count / 3 + 1);
    for (std::size_t i = 0; i < count; ++i) {
      auto opts = run_options().timeout(hours(1) + nanoseconds(i)).wait_timeout(hours(2) - nanoseconds(i));
      if (i % 3 == 1) opts.stop_token(stops.emplace_back().get_token());
      flights.start(std::to_string(i), std::move(opts), tasks[i].task(), got.callback());
    }
    EXPECT_EQ(flights.size(), count);
    for (std::size_t i = 0; i < count; i += 3) tasks[i].answer->set_value(1);
    for (auto& stop : stops) stop.request_stop();
    EXPECT_EQ(got.failed_with<cacheflight::caller_stopped_error>(), stops.size());
    flights.clear();
    for (auto& task : tasks) task.answer.reset();
    EXPECT_EQ(got.all(), count);
    expect_balanced(flights.stats());
    auto const next = cacheflight::detail::access::core(flights).run_due();
    EXPECT_EQ(next, std::chrono::steady_clock::time_point::max()) << "a deadline is left";
  });
}

// ---- a million callers ------------------------------------------------------------------------------------

enum class ending { settle, cancel, clear, destroy };

void expect_all_answered(ending how, std::size_t count) {
  tally got;
  held<int> task;
  auto flights = std::make_unique<cacheflight::group>();
  for (std::size_t i = 0; i < count; ++i) flights->start("key", task.task(), got.callback());
  EXPECT_EQ(flights->stats().waiters, count);
  EXPECT_EQ(got.all(), 0U);
  switch (how) {
    case ending::settle: task.answer->set_value(1); break;
    case ending::cancel: flights->cancel("key"); break;
    case ending::clear: flights->clear(); break;
    case ending::destroy: flights.reset(); break;
  }
  EXPECT_EQ(how == ending::settle ? got.values : got.cancelled(), count);
  task.answer.reset();
  if (flights) expect_balanced(flights->stats());
}

TEST(numbers, a_million_callbacks_of_one_flight_are_settled) {
  on_small_stack([] { expect_all_answered(ending::settle, million); });
}
TEST(numbers, a_million_callbacks_of_one_flight_are_cancelled) {
  on_small_stack([] { expect_all_answered(ending::cancel, million); });
}

TEST(numbers, so_are_those_of_one_that_is_cleared_or_loses_its_group) {
  on_small_stack([] {
    expect_all_answered(ending::clear, million / 10);
    expect_all_answered(ending::destroy, million / 10);
  });
}

/// What a coroutine waits for.
struct gate {
  std::coroutine_handle<>* waiting;
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) noexcept { *waiting = h; }
  int await_resume() noexcept { return 42; }
};
gate through(std::coroutine_handle<>* waiting) { return {waiting}; }

eager one_caller(cacheflight::group& flights, std::coroutine_handle<>* waiting, run_options opts,
                 tally* got) {
  auto operation = flights.run("key", std::move(opts), through, waiting);
  auto const answer = co_await std::move(operation);
  if (*answer == 42) ++got->values;
}

TEST(numbers, a_million_coroutines_of_one_flight_are_resumed) {
  on_small_stack([] {
    tally got;
    std::coroutine_handle<> waiting;
    cacheflight::group flights;
    for (std::size_t i = 0; i < million; ++i) one_caller(flights, &waiting, run_options(), &got);
    EXPECT_EQ(flights.stats().waiters, million);
    waiting.resume();
    EXPECT_EQ(got.values, million);
    expect_balanced(flights.stats());
  });
}

/// Each next call is made by the callback of the one before: a chain, not a crowd.
TEST(numbers, a_million_calls_from_each_others_callbacks) {
  on_small_stack([] {
    cacheflight::group flights;
    std::size_t left = million;
    std::function<void()> const next = [&] {
      flights.start(
          "key", [] { return 1; },
          [&](std::exception_ptr, auto const&) {
            if (--left) next();
          });
    };
    next();
    EXPECT_EQ(left, 0U);
    EXPECT_EQ(flights.stats().resolved, million);
  });
}

/// How long it takes until each of `count` callers has left a flight by itself, with the one that stays in
/// the middle.
double seconds_to_leave(std::size_t count) {
  tally got;
  held<int> task;
  cacheflight::group flights;
  std::vector<std::stop_source> stops(count);
  for (std::size_t i = 0; i < count; ++i) {
    if (i == count / 2) flights.start("key", task.task(), got.callback());
    flights.start("key", run_options().stop_token(stops[i].get_token()).wait_timeout(std::chrono::hours(1)),
                  task.task(), got.callback());
  }
  double const spent = seconds([&] {
    // From both ends: neither a list nor a heap may have to search.
    for (std::size_t i = 0; i < count; ++i) stops[i % 2 ? i / 2 : count - 1 - i / 2].request_stop();
  });
  EXPECT_EQ(got.failed_with<cacheflight::caller_stopped_error>(), count);
  EXPECT_EQ(flights.stats().waiters, 1U);
  task.answer->set_value(1);
  EXPECT_EQ(got.values, 1U);
  expect_balanced(flights.stats());
  return spent;
}

TEST(numbers, each_of_a_million_leaves_at_the_same_price) {
  double const few = seconds_to_leave(million / 10), many = seconds_to_leave(million);
  std::printf("%zu leave in %.3f s, %zu in %.3f s: %.1f times\n", million / 10, few, million, many,
              many / few);
  EXPECT_LT(many, 40 * few);  // ten times the callers; a search would make it a hundred times
}

}  // namespace
