// SPDX-License-Identifier: MIT
// Durations, caps and callables at the ends of their range.
#include "support.hpp"
#include <cacheflight/blocking.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace hostile;
using cacheflight::run_options;
using nanoseconds = std::chrono::nanoseconds;

template <class Duration>
void expect_refused(Duration value) {
  EXPECT_THROW(run_options().timeout(value), std::invalid_argument);
  EXPECT_THROW(run_options().wait_timeout(value), std::invalid_argument);
  EXPECT_THROW(cacheflight::options().default_timeout(value), std::invalid_argument);
}

TEST(extremes, R20_durations_that_are_not_positive_are_refused) {
  expect_refused(nanoseconds::zero());
  expect_refused(nanoseconds(-1));
  expect_refused(nanoseconds::min());
  expect_refused(std::chrono::hours::min());
  expect_refused(std::chrono::years::min());
  expect_refused(std::chrono::duration<double>(-1e300));
  expect_refused(std::chrono::duration<double>(-std::numeric_limits<double>::infinity()));
  expect_refused(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()));
}

/// None of these ends anything: the task answers first, then its callers are called.
template <class Duration>
void expect_endless(Duration value) {
  cacheflight::group flights(cacheflight::options().default_timeout(value));
  held<int> task;
  tally got;
  flights.start("key", run_options().wait_timeout(value), task.task(), got.callback());
  flights.start("key", run_options().timeout(value).wait_timeout(value), task.task(), got.callback());
  (void)cacheflight::detail::access::core(flights).run_due();  // what is due now
  EXPECT_EQ(got.all(), 0U);
  ASSERT_TRUE(task.answer);
  task.answer->set_value(1);
  EXPECT_EQ(got.values, 2U);
  EXPECT_EQ(flights.stats().timed_out, 0U);
}

TEST(extremes, R20_durations_beyond_the_clock_mean_none) {
  expect_endless(nanoseconds::max());
  expect_endless(nanoseconds::max() - nanoseconds(1));
  expect_endless(std::chrono::microseconds::max());
  expect_endless(std::chrono::hours::max());
  expect_endless(std::chrono::years::max());
  expect_endless(std::chrono::duration<double>(1e300));
  expect_endless(std::chrono::duration<double>(std::numeric_limits<double>::infinity()));
  expect_endless(std::chrono::duration<unsigned char, std::ratio<86'400'000>>(255));
  expect_endless(std::chrono::hours(24 * 365 * 200));
}

TEST(extremes, R20_the_shortest_durations_end_at_once) {
  for (auto const& opts : {run_options().timeout(nanoseconds(1)), run_options().wait_timeout(nanoseconds(1)),
                           run_options().timeout(std::chrono::duration<double>(1e-300))}) {
    cacheflight::group flights;
    for (int round = 0; round < 100; ++round) {  // from the second on, a thread that sleeps must be woken
      held<int> task;
      std::promise<std::exception_ptr> failure;
      auto got = failure.get_future();
      flights.start("key", opts, task.task(),
                    [&](std::exception_ptr e, auto const&) { failure.set_value(e); });
      ASSERT_EQ(got.wait_for(std::chrono::seconds(60)), std::future_status::ready);
      EXPECT_TRUE(is<cacheflight::timeout_error>(got.get()));
      EXPECT_FALSE(flights.has("key"));
    }
  }
}

TEST(extremes, R21_caps) {
  EXPECT_THROW(cacheflight::options().max_keys(0), std::invalid_argument);
  for (std::size_t const cap : {std::size_t{1}, std::numeric_limits<std::size_t>::max()}) {
    cacheflight::group flights(cacheflight::options().max_keys(cap));
    tally got;
    held<int> one, two;
    for (int round = 0; round < 3; ++round) {
      flights.start("one", one.task(), got.callback());
      flights.start("two", two.task(), got.callback());
      flights.start("one", two.task(), got.callback());
      EXPECT_EQ(flights.size(), cap == 1 ? 1U : 2U);
      flights.clear();
      one.answer.reset();
      two.answer.reset();
    }
    EXPECT_EQ(got.failures, 9U);
    EXPECT_EQ(flights.stats().cancelled, cap == 1 ? 3U : 6U);
    EXPECT_EQ(flights.stats().max_keys_rejected, cap == 1 ? 3U : 0U);
  }
}

TEST(extremes, thousands_of_groups_at_once) {
  constexpr std::size_t count = sanitized ? 4'096 : 65'536;
  tally got;
  std::vector<held<int>> tasks(count);
  {
    std::vector<std::unique_ptr<cacheflight::group>> groups;
    for (std::size_t i = 0; i < count; ++i) {
      groups.push_back(std::make_unique<cacheflight::group>());
      groups.back()->start("key", tasks[i].task(), got.callback());
    }
    for (std::size_t i = 0; i < count; i += 2) tasks[i].answer->set_value(1);
    EXPECT_EQ(got.values, count / 2);
    for (auto const& g : groups) EXPECT_LE(g->size(), 1U);
  }
  EXPECT_EQ(got.cancelled(), count / 2);  // with their groups
}

constexpr int levels = 1'000;

int blocking_level(cacheflight::group& flights, int level) {
  if (level == levels) return level;
  return *flights.run("level " + std::to_string(level), blocking_level, std::ref(flights), level + 1);
}

TEST(extremes, a_thousand_blocking_calls_inside_each_other) {
  cacheflight::group flights;
  EXPECT_EQ(blocking_level(flights, 0), levels);
  EXPECT_EQ(flights.stats().resolved, std::size_t{levels});
}

void callback_level(cacheflight::group& flights, int level, int& deepest, int& called) {
  deepest = level;
  if (level == levels) return;
  flights.start(
      "level " + std::to_string(level),
      [&, level] {
        callback_level(flights, level + 1, deepest, called);
        return level;
      },
      [&called](std::exception_ptr e, auto const&) { called += e ? 0 : 1; });
}

TEST(extremes, a_thousand_calls_with_callbacks_inside_each_other) {
  cacheflight::group flights;
  int deepest = 0, called = 0;
  callback_level(flights, 0, deepest, called);
  EXPECT_EQ(deepest, levels);
  EXPECT_EQ(called, levels);
  EXPECT_EQ(flights.size(), 0U);
}

TEST(extremes, what_is_null_is_refused_at_once) {
  cacheflight::group flights;
  tally got;
  std::function<int()> no_task;
  std::function<void(std::exception_ptr, std::shared_ptr<int const>)> no_callback;
  int (*no_function)() = nullptr;
  int (std::string::*no_member)() const = nullptr;
  auto const task = [] { return 1; };
  EXPECT_THROW((void)flights.run("key", no_task), std::invalid_argument);
  EXPECT_THROW((void)flights.run("key", no_function), std::invalid_argument);
  EXPECT_THROW((void)flights.run("key", no_member, std::string()), std::invalid_argument);
  EXPECT_THROW(flights.start("key", no_task, got.callback()), std::invalid_argument);
  EXPECT_THROW(flights.start("key", task, no_callback), std::invalid_argument);
  EXPECT_THROW((void)cacheflight::answering<int>(std::function<void(cacheflight::completion<int>)>()),
               std::invalid_argument);
  EXPECT_THROW((void)cacheflight::via([](auto) {}, no_callback), std::invalid_argument);
  EXPECT_THROW((void)cacheflight::on([](auto) {}, no_task), std::invalid_argument);
  EXPECT_THROW(cacheflight::options().on_event({}), std::invalid_argument);
  EXPECT_THROW((void)flights.has(static_cast<char const*>(nullptr)), std::invalid_argument);
  EXPECT_THROW((void)flights.cancel(static_cast<char const*>(nullptr)), std::invalid_argument);
  EXPECT_THROW((void)flights.run(static_cast<char const*>(nullptr), task), std::invalid_argument);
  EXPECT_THROW(flights.start(static_cast<char const*>(nullptr), task, got.callback()), std::invalid_argument);
  EXPECT_EQ(flights.stats().misses, 0U);
  EXPECT_EQ(got.all(), 0U);
}

/// What a scheduler or an executor that is null throws is the caller's, or the flight's, outcome.
TEST(extremes, an_executor_that_is_null_fails_the_flight) {
  cacheflight::group flights;
  std::function<void(cacheflight::work)> no_executor;
  EXPECT_THROW((void)flights.run("key", cacheflight::on(no_executor, [] { return 1; })),
               std::bad_function_call);
  EXPECT_EQ(flights.stats().rejected, 1U);
}

}  // namespace
