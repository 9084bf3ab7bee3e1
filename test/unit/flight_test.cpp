// SPDX-License-Identifier: MIT
#include <cacheflight/detail/flight.hpp>
#include <cacheflight/options.hpp>
#include <cacheflight/platform.hpp>

#include <gtest/gtest.h>

#include <chrono>

namespace {

using namespace std::chrono_literals;
using cacheflight::detail::cause;
using cacheflight::detail::deadline_after;
using cacheflight::detail::no_limit;
using time_point = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

TEST(deadline_after, adds_what_the_clock_can_count) {
  EXPECT_EQ(deadline_after(time_point(5s), 3s), time_point(8s));
  EXPECT_EQ(deadline_after(time_point(-5s), 3s), time_point(-2s));
  EXPECT_EQ(deadline_after(time_point::max() - 2s, 1s), time_point::max() - 1s);
}

TEST(deadline_after, is_max_beyond_the_clocks_range_and_without_a_limit) {
  EXPECT_EQ(deadline_after(time_point::max() - 2s, 2s), time_point::max());
  EXPECT_EQ(deadline_after(time_point::max() - 2s, 3s), time_point::max());
  EXPECT_EQ(deadline_after(time_point(1s), no_limit), time_point::max());
  // The distance from a point before the epoch does not fit.
  EXPECT_EQ(deadline_after(time_point(-1h), no_limit), time_point::max());
  EXPECT_EQ(deadline_after(time_point::min(), 1s), time_point::min() + 1s);
}

TEST(doomed, is_what_ends_a_flight_while_its_task_runs) {
  for (cause const why : {cause::timed_out, cause::cancelled}) EXPECT_TRUE(cacheflight::detail::doomed(why));
  for (cause const why : {cause::open, cause::resolved, cause::rejected, cause::abandoned})
    EXPECT_FALSE(cacheflight::detail::doomed(why));
}

// Rule 65: a call that uses none of what few calls want has room for none of it.
#if defined(__x86_64__) && defined(__GLIBCXX__) && !defined(_GLIBCXX_DEBUG)
static_assert(sizeof(cacheflight::detail::flight<cacheflight::std_platform>) == 120);
static_assert(sizeof(cacheflight::detail::waiter<cacheflight::std_platform>) == 48);
static_assert(sizeof(cacheflight::run_options) == 48);
#endif

}  // namespace
