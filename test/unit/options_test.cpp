// SPDX-License-Identifier: MIT
#include <cacheflight/options.hpp>

#include <gtest/gtest.h>

#include <any>
#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <ratio>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace {

using cacheflight::options;
using cacheflight::run_options;
using namespace std::chrono_literals;
using std::chrono::nanoseconds;

constexpr nanoseconds none = nanoseconds::max();

/// What `refused()` says when it throws `std::invalid_argument`; empty if it does not.
template <class F>
std::string refusal(F refused) {
  try {
    refused();
  } catch (std::invalid_argument const& e) {
    return e.what();
  }
  return {};
}

bool contains(std::string const& text, std::string const& part) {
  return text.find(part) != std::string::npos;
}

/// Each option that takes a duration, with how to set and to read it.
struct duration_option {
  char const* name;
  std::function<void(std::chrono::duration<double>)> set_floating;
  std::function<nanoseconds(nanoseconds)> set;
};

duration_option const duration_options[] = {
    {"default_timeout", [](auto d) { options().default_timeout(d); },
     [](nanoseconds d) { return options().default_timeout(d).default_timeout(); }},
    {"wait_timeout", [](auto d) { run_options().wait_timeout(d); },
     [](nanoseconds d) { return run_options().wait_timeout(d).wait_timeout(); }},
    {"timeout", [](auto d) { run_options().timeout(d); },
     [](nanoseconds d) { return run_options().timeout(d).timeout_or(7ns); }},
};

/// Counts in halves.
struct halves {
  long long count = 0;
  operator long double() const { return static_cast<long double>(count) / 2; }
};

TEST(options, R36_durations_of_any_period_are_right) {
  using std::ratio;
  constexpr std::intmax_t most = (std::numeric_limits<std::intmax_t>::max)();
  auto const limit = [](auto duration) { return run_options().timeout(duration).timeout_or(7ns); };
  using std::chrono::duration;
  EXPECT_EQ(limit(duration<int, std::exa>(1)), none);
  EXPECT_EQ(limit(duration<long long, ratio<most>>(1)), none);
  EXPECT_EQ(limit(duration<std::uint64_t, std::exa>(1)), none);
  EXPECT_EQ(limit(duration<double, std::exa>(1e-18)), 1s);
  EXPECT_EQ(limit(duration<int, ratio<1, most>>(1)), 1ns);
  EXPECT_EQ(limit(duration<long long, ratio<1, most>>(most)), 1s);
  EXPECT_EQ(limit(duration<long long, std::atto>(most)), 9'223'372'036ns);
  EXPECT_EQ(limit(duration<int, std::pico>(1)), 1ns);
  EXPECT_EQ(limit(duration<int, std::pico>(2'500)), 2ns);
  EXPECT_EQ(limit(duration<int, ratio<1, 3>>(3)), 1s);
  EXPECT_EQ(limit(duration<int, ratio<1, 60>>(30)), 500ms);
  EXPECT_EQ(limit(duration<signed char, ratio<86'400>>(100)), 8'640'000s);
  EXPECT_EQ(limit(duration<unsigned, std::milli>(1'500)), 1'500ms);
  EXPECT_EQ(limit(duration<float>(0.5F)), 500ms);
  EXPECT_EQ(limit(duration<long double, std::nano>(0.25L)), 1ns);
  EXPECT_EQ(limit(duration<double>(std::numeric_limits<double>::infinity())), none);
  EXPECT_EQ(limit(duration<double, std::nano>(std::numeric_limits<double>::denorm_min())), 1ns);
  EXPECT_EQ(limit(duration<halves>(halves{3})), 1'500ms);
  EXPECT_EQ(limit(duration<long long>(most / 1'000'000'000)), std::chrono::seconds(9'223'372'036));
  EXPECT_EQ(limit(duration<long long>(most / 1'000'000'000 + 1)), none);
  EXPECT_THROW((void)limit(duration<int, std::exa>(0)), std::invalid_argument);
  EXPECT_THROW((void)limit(duration<long long, std::exa>(-1)), std::invalid_argument);
  EXPECT_THROW((void)limit(duration<int, std::atto>(-1)), std::invalid_argument);
  EXPECT_THROW((void)limit(duration<double, std::exa>(-1e-300)), std::invalid_argument);
}

TEST(options, have_no_cap_no_timeout_and_no_events_by_default) {
  options const defaults;
  EXPECT_EQ(defaults.max_keys(), 0U);
  EXPECT_EQ(defaults.default_timeout(), none);
  EXPECT_FALSE(defaults.on_event());
}

TEST(options, are_chainable) {
  options const opts = options().max_keys(3).default_timeout(5s).on_event([](cacheflight::event const&) {});
  EXPECT_EQ(opts.max_keys(), 3U);
  EXPECT_EQ(opts.default_timeout(), 5s);
  EXPECT_TRUE(opts.on_event());
}

TEST(options, refuse_max_keys_of_zero) {
  EXPECT_TRUE(contains(refusal([] { options().max_keys(0); }), "max_keys"));
  EXPECT_TRUE(contains(refusal([] { options().max_keys(-1); }), "max_keys"));
  EXPECT_EQ(options().max_keys(1).max_keys(), 1U);
  auto const most = std::numeric_limits<std::size_t>::max();
  EXPECT_EQ(options().max_keys(most).max_keys(), most);
}

TEST(options, refuse_an_empty_on_event) {
  EXPECT_TRUE(contains(refusal([] { options().on_event(nullptr); }), "on_event"));
  EXPECT_TRUE(contains(refusal([] { options().on_event(std::function<void(cacheflight::event const&)>()); }),
                       "on_event"));
  void (*const null_function)(cacheflight::event const&) = nullptr;
  EXPECT_TRUE(contains(refusal([&] { options().on_event(null_function); }), "on_event"));
}

TEST(options, refuse_durations_that_are_not_positive) {
  for (auto const& option : duration_options) {
    std::string const text = std::string(" ") + option.name + " must be positive";
    for (nanoseconds const bad : {0ns, -1ns, nanoseconds::min()})
      EXPECT_TRUE(contains(refusal([&] { option.set(bad); }), text)) << option.name << ' ' << bad.count();
    for (double const bad : {0.0, -0.0, -1e-12, -1e300, -std::numeric_limits<double>::infinity(),
                             std::numeric_limits<double>::quiet_NaN()})
      EXPECT_TRUE(contains(refusal([&] { option.set_floating(std::chrono::duration<double>(bad)); }), text))
          << option.name << ' ' << bad;
  }
}

TEST(options, a_refused_value_changes_nothing) {
  options opts;
  opts.max_keys(3).default_timeout(2s);
  EXPECT_THROW(opts.max_keys(0), std::invalid_argument);
  EXPECT_THROW(opts.default_timeout(0s), std::invalid_argument);
  EXPECT_EQ(opts.max_keys(), 3U);
  EXPECT_EQ(opts.default_timeout(), 2s);
}

TEST(options, keep_every_nanosecond) {
  for (auto const& option : duration_options)
    for (nanoseconds const exact : {1ns, 999ns, nanoseconds(1h), 123'456'789'012'345'678ns, none - 1'000ns})
      EXPECT_EQ(option.set(exact), exact) << option.name;
}

TEST(options, durations_beyond_the_clock_mean_none) {
  EXPECT_EQ(options().default_timeout(std::chrono::hours::max()).default_timeout(), none);
  EXPECT_EQ(options().default_timeout(std::chrono::duration<double>(1e300)).default_timeout(), none);
  EXPECT_EQ(options()
                .default_timeout(std::chrono::duration<double>(std::numeric_limits<double>::infinity()))
                .default_timeout(),
            none);
  EXPECT_EQ(
      run_options().timeout(std::chrono::duration<std::int64_t, std::ratio<31556952>>(300)).timeout_or(7ns),
      none);
  EXPECT_EQ(run_options().wait_timeout(nanoseconds::max()).wait_timeout(), none);
  EXPECT_EQ(run_options().wait_timeout(std::chrono::years(291)).wait_timeout(), std::chrono::years(291));
}

TEST(options, what_is_shorter_than_a_nanosecond_is_one_nanosecond) {
  using picoseconds = std::chrono::duration<std::int64_t, std::pico>;
  EXPECT_EQ(run_options().timeout(picoseconds(1)).timeout_or(7ns), 1ns);
  EXPECT_EQ(run_options().wait_timeout(std::chrono::duration<double>(1e-300)).wait_timeout(), 1ns);
  EXPECT_EQ(options().default_timeout(picoseconds(2'999)).default_timeout(), 2ns);
}

TEST(options, take_floating_durations) {
  EXPECT_EQ(options().default_timeout(std::chrono::duration<double>(0.25)).default_timeout(), 250ms);
  EXPECT_EQ(run_options().timeout(std::chrono::duration<float, std::milli>(1.5F)).timeout_or(7ns), 1'500us);
}

TEST(run_options, ask_for_nothing_by_default) {
  run_options const defaults;
  EXPECT_EQ(defaults.timeout_or(5s), 5s);  // the group's
  EXPECT_EQ(defaults.wait_timeout(), none);
  EXPECT_FALSE(defaults.metadata().has_value());
}

TEST(run_options, no_timeout_overrides_the_groups_default_and_the_last_word_counts) {
  EXPECT_EQ(run_options().no_timeout().timeout_or(5s), none);
  EXPECT_EQ(run_options().timeout(2s).timeout_or(5s), 2s);
  EXPECT_EQ(run_options().timeout(2s).no_timeout().timeout_or(5s), none);
  EXPECT_EQ(run_options().no_timeout().timeout(2s).timeout_or(5s), 2s);
  EXPECT_EQ(run_options().timeout(std::chrono::hours::max()).timeout_or(5s), none);
}

TEST(run_options, hold_any_metadata) {
  run_options opts = run_options().metadata(std::string("request 7")).wait_timeout(1s);
  EXPECT_EQ(std::any_cast<std::string>(opts.metadata()), "request 7");
  run_options const copy = opts;
  EXPECT_EQ(std::any_cast<std::string>(opts.take_metadata()), "request 7");
  EXPECT_EQ(std::any_cast<std::string>(copy.metadata()), "request 7");
  EXPECT_EQ(copy.wait_timeout(), 1s);
}

// g++ 12 destroys aggregates twice inside co_await: these are none, and no braces make one.
static_assert(!std::is_aggregate_v<options> && !std::is_aggregate_v<run_options>);
static_assert(std::is_nothrow_move_constructible_v<options> &&
              std::is_nothrow_move_constructible_v<run_options>);
static_assert(std::is_copy_constructible_v<options> && std::is_copy_assignable_v<run_options>);

}  // namespace
