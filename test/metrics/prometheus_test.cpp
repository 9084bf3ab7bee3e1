// SPDX-License-Identifier: MIT
// The metrics, read as Prometheus reads them: from the text.
#include "../support/manual_platform.hpp"
#include <cacheflight/callback.hpp>
#include <cacheflight/prometheus.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <prometheus/text_serializer.h>

#include <algorithm>
#include <any>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <latch>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cacheflight::completion;
using cacheflight::options;
using cacheflight::prometheus_metrics;
using cacheflight::run_options;
using cacheflight::task_durations;
using cacheflight_test::manual_group;
using cacheflight_test::pass;
using testing::HasSubstr;
using testing::Not;

using samples = std::map<std::string, double>;  // by name and labels, as they are in the text

std::string text_of(prometheus_metrics const& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.Collect());
}

/// Fails on what the format forbids: a metric announced twice, a series twice.
samples scrape(prometheus_metrics const& metrics) {
  samples all;
  std::set<std::string> announced;
  std::istringstream lines(text_of(metrics));
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      EXPECT_TRUE(announced.insert(line.substr(7, line.find(' ', 7) - 7)).second) << line;
    } else if (!line.starts_with("#")) {
      std::size_t const space = line.rfind(' ');
      EXPECT_TRUE(all.emplace(line.substr(0, space), std::stod(line.substr(space + 1))).second) << line;
    }
  }
  return all;
}

std::string in(char const* group, std::string const& metric) {
  return "cacheflight_" + metric + "{group=\"" + group + "\"}";
}

double sample(prometheus_metrics const& metrics, std::string const& series) {
  samples const all = scrape(metrics);
  auto const found = all.find(series);
  return found == all.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

/// Callers that wait for flights until the test ends them.
class desk {
 public:
  template <class Group>
  void ask(Group& flights, typename Group::key_type const& key, run_options opts = {}) {
    auto const task =
        cacheflight::answering<int>([this](completion<int> done) { open_.push_back(std::move(done)); });
    flights.start(key, std::move(opts), task, [](std::exception_ptr, std::shared_ptr<int const>) {});
  }
  void answer_all() {
    for (completion<int>& one : std::exchange(open_, {})) one.set_value(1);
  }
  void fail_all() {
    for (completion<int>& one : std::exchange(open_, {}))
      one.set_exception(std::make_exception_ptr(std::runtime_error("no")));
  }
  void drop_all() { open_.clear(); }

 private:
  std::vector<completion<int>> open_;
};

// Every kind of outcome, a different number of times each, so that no two metrics can be mistaken for each
// other.
TEST(prometheus, each_metric_is_the_number_it_says) {
  prometheus_metrics metrics;
  bool broken = false;
  task_durations const durations;
  manual_group flights{options().max_keys(12).on_event([&](cacheflight::event const& e) {
    durations(e);
    if (broken) throw std::runtime_error("callback");
  })};
  metrics.attach("users", flights, durations);
  desk callers, held;

  for (int i = 0; i < 2; ++i) callers.ask(flights, "resolved" + std::to_string(i));
  pass(flights, 40ms);
  callers.answer_all();
  for (int i = 0; i < 3; ++i) callers.ask(flights, "rejected" + std::to_string(i));
  callers.fail_all();
  callers.ask(flights, "abandoned");
  callers.drop_all();
  for (int i = 0; i < 5; ++i) held.ask(flights, "slow" + std::to_string(i), run_options().timeout(1s));
  pass(flights, 1s);
  for (int i = 0; i < 6; ++i) held.ask(flights, "cancelled" + std::to_string(i));
  flights.clear();
  for (int i = 0; i < 3; ++i) held.ask(flights, "superseded" + std::to_string(i));
  flights.supersede();
  for (int i = 0; i < 12; ++i) callers.ask(flights, "up" + std::to_string(i));
  for (int i = 0; i < 7; ++i) callers.ask(flights, "up0");
  for (int i = 0; i < 8; ++i) callers.ask(flights, "refused");
  for (int i = 0; i < 9; ++i)
    flights.start(
        "up0", [] { return std::string(); }, [](std::exception_ptr, std::shared_ptr<std::string const>) {});
  broken = true;
  for (int i = 0; i < 10; ++i) callers.ask(flights, "up1");
  broken = false;
  flights.close();
  for (int i = 0; i < 11; ++i) callers.ask(flights, "late");

  samples const expected{
      {in("users", "hit_total"), 7 + 10},
      {in("users", "miss_total"), 2 + 3 + 1 + 5 + 6 + 3 + 12 + 8 + 11},
      {in("users", "error_total"), 3 + 1},
      {in("users", "timeout_total"), 5},
      {in("users", "cancelled_total"), 6},
      {in("users", "max_keys_rejected_total"), 8},
      {in("users", "type_mismatch_total"), 9},
      {in("users", "callback_failures_total"), 10},
      {in("users", "active_keys"), 12},
      {in("users", "max_keys"), 12},
      {in("users", "waiters"), 3 + 12 + 7 + 10},
      {in("users", "detached_tasks"), 5 + 6},
      {in("users", "superseded_flights"), 3},
      {in("users", "closed_rejected_total"), 11},
  };
  samples found = scrape(metrics);
  std::erase_if(found, [](auto const& one) { return one.first.starts_with("cacheflight_task_duration_"); });
  EXPECT_EQ(found, expected);
  EXPECT_EQ(sample(metrics, in("users", "task_duration_ms_count")), 2)
      << "of tasks that returned a value only";
  EXPECT_EQ(sample(metrics, in("users", "task_duration_ms_sum")), 80);
  EXPECT_EQ(sample(metrics, in("users", "task_duration_seconds_count")), 2);
  EXPECT_EQ(sample(metrics, in("users", "task_duration_seconds_sum")), 0.08);

  callers.answer_all();
  held.drop_all();
  for (char const* gauge : {"active_keys", "superseded_flights", "waiters", "detached_tasks"})
    EXPECT_EQ(sample(metrics, in("users", gauge)), 0) << gauge;
}

TEST(prometheus, types_and_texts_are_announced) {
  prometheus_metrics metrics;
  manual_group flights;
  metrics.attach("users", flights);
  std::string const text = text_of(metrics);
  for (char const* counter : {"hit", "miss", "error", "timeout", "cancelled", "max_keys_rejected",
                              "closed_rejected", "type_mismatch", "callback_failures"}) {
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE cacheflight_") + counter + "_total counter\n"));
    EXPECT_THAT(text, HasSubstr(std::string("# HELP cacheflight_") + counter + "_total "));
  }
  for (char const* gauge : {"active_keys", "max_keys", "superseded_flights", "waiters", "detached_tasks"})
    EXPECT_THAT(text, HasSubstr(std::string("# TYPE cacheflight_") + gauge + " gauge\n"));
  EXPECT_THAT(text, HasSubstr("# TYPE cacheflight_task_duration_ms histogram\n"));
}

TEST(prometheus, no_limit_and_no_durations_are_no_series) {
  prometheus_metrics metrics;
  manual_group flights;
  metrics.attach("users", flights);
  EXPECT_THAT(text_of(metrics), Not(HasSubstr("cacheflight_max_keys{")));
  EXPECT_THAT(text_of(metrics), Not(HasSubstr("cacheflight_task_duration_ms_")));
  EXPECT_EQ(sample(metrics, in("users", "hit_total")), 0);
}

TEST(prometheus, without_an_event_callback_no_clock_is_read) {
  prometheus_metrics metrics;
  manual_group flights;
  metrics.attach("users", flights);
  desk callers;
  std::size_t const before = cacheflight_test::manual_clock::reads();
  callers.ask(flights, "key");
  callers.ask(flights, "key");
  callers.answer_all();
  EXPECT_EQ(sample(metrics, in("users", "hit_total")), 1);
  EXPECT_EQ(cacheflight_test::manual_clock::reads(), before);
}

TEST(prometheus, groups_of_all_kinds_share_one_text) {
  prometheus_metrics metrics;
  manual_group users{options().max_keys(3)};
  cacheflight::basic_group<int> numbers;
  cacheflight::group empty;
  metrics.attach("users", users);
  metrics.attach("numbers", numbers);
  metrics.attach("a \"quoted\\\n\" name", empty);
  desk callers;
  callers.ask(users, "key");
  callers.ask(numbers, 42);
  callers.ask(numbers, 42);
  callers.ask(numbers, 43);
  EXPECT_EQ(sample(metrics, in("users", "miss_total")), 1);
  EXPECT_EQ(sample(metrics, in("users", "max_keys")), 3);
  EXPECT_EQ(sample(metrics, in("numbers", "miss_total")), 2);
  EXPECT_EQ(sample(metrics, in("numbers", "waiters")), 3);
  EXPECT_EQ(sample(metrics, R"(cacheflight_miss_total{group="a \"quoted\\\n\" name"})"), 0);
  callers.answer_all();
}

TEST(prometheus, a_name_is_taken_until_it_is_detached) {
  prometheus_metrics metrics;
  manual_group first, second;
  metrics.attach("users", first);
  EXPECT_THROW(metrics.attach("users", second), std::invalid_argument);
  desk callers;
  callers.ask(first, "key");
  EXPECT_EQ(sample(metrics, in("users", "miss_total")), 1);
  EXPECT_TRUE(metrics.detach("users"));
  EXPECT_FALSE(metrics.detach("users"));
  EXPECT_TRUE(scrape(metrics).empty());
  metrics.attach("users", second);
  EXPECT_EQ(sample(metrics, in("users", "miss_total")), 0);
  callers.answer_all();
}

TEST(prometheus, a_group_that_is_gone_leaves_its_last_counts) {
  prometheus_metrics metrics;
  auto const alive = std::make_shared<int>();
  desk callers;
  {
    manual_group flights{options().max_keys(5).on_event([alive](cacheflight::event const&) {})};
    metrics.attach("users", flights);
    callers.ask(flights, "key");
  }
  EXPECT_EQ(sample(metrics, in("users", "detached_tasks")), 1);
  callers.answer_all();
  EXPECT_EQ(sample(metrics, in("users", "miss_total")), 1);
  EXPECT_EQ(sample(metrics, in("users", "cancelled_total")), 1);
  for (char const* gauge : {"active_keys", "superseded_flights", "waiters", "detached_tasks"})
    EXPECT_EQ(sample(metrics, in("users", gauge)), 0) << gauge;
  EXPECT_EQ(alive.use_count(), 2);
  metrics.detach("users");
  EXPECT_EQ(alive.use_count(), 1) << "what was kept for the counts is gone with them";
}

TEST(prometheus, a_group_outlives_its_metrics) {
  task_durations const durations;
  manual_group flights{options().on_event(durations)};
  desk callers;
  {
    prometheus_metrics metrics;
    metrics.attach("users", flights, durations);
    callers.ask(flights, "key");
  }
  callers.answer_all();
  EXPECT_EQ(durations.read().sample_count, 1);
}

// Freeing a group's books may run user code: what its on_event captured. That may use the metrics.
TEST(prometheus, detaching_frees_outside_of_the_lock) {
  prometheus_metrics metrics;
  std::size_t series = 1;
  auto const guard = [&metrics, &series](int* owned) {
    delete owned;
    series = scrape(metrics).size();
  };
  {
    std::shared_ptr<int> const captured(new int, guard);
    manual_group flights{options().on_event([captured](cacheflight::event const&) {})};
    metrics.attach("users", flights);
  }
  std::jthread other([&metrics] { metrics.detach("users"); });
  other.join();
  EXPECT_EQ(series, 0);
}

TEST(prometheus, no_key_is_in_the_text) {
  std::vector<std::string> const hostile{"secret",
                                         std::string("\0secret", 7),
                                         "secret\"} 1\ncacheflight_hit_total{group=\"secret",
                                         "secret\n# TYPE secret counter\nsecret 1\n",
                                         "secret\xff\xfe\xc0\x80",
                                         "secret" + std::string(1 << 20, 'x')};
  prometheus_metrics metrics;
  task_durations const durations;
  cacheflight::group flights{options().max_keys(hostile.size()).on_event(durations)};
  metrics.attach("users", flights, durations);
  samples const before = scrape(metrics);
  desk callers;
  for (std::string const& key : hostile)
    for (int i = 0; i < 2; ++i) callers.ask(flights, key, run_options().metadata(std::string("secret")));
  callers.ask(flights, "secret and refused");
  flights.start(hostile[0], [] { return 1.5; }, [](std::exception_ptr, std::shared_ptr<double const>) {});
  EXPECT_THAT(text_of(metrics), Not(HasSubstr("secret")));
  callers.answer_all();
  for (std::string const& key : hostile) callers.ask(flights, key);
  callers.fail_all();
  EXPECT_THAT(text_of(metrics), Not(HasSubstr("secret")));

  samples const after = scrape(metrics);
  EXPECT_EQ(after.at(in("users", "hit_total")), hostile.size());
  EXPECT_EQ(after.at(in("users", "error_total")), hostile.size());
  EXPECT_TRUE(std::ranges::equal(before, after, {}, &samples::value_type::first, &samples::value_type::first))
      << "keys make series";
}

TEST(prometheus, scrapes_meet_calls_and_groups_that_come_and_go) {
  prometheus_metrics metrics;
  task_durations const durations;
  cacheflight::group stays{options().on_event(durations)};
  metrics.attach("stays", stays, durations);
  std::atomic<int> seen = 0;  // scrapes that met a passing group
  std::jthread const scraper([&](std::stop_token const& stop) {
    for (double last = 0; !stop.stop_requested();) {
      samples const all = scrape(metrics);
      double const misses = all.at(in("stays", "miss_total"));
      EXPECT_GE(misses, last);
      EXPECT_EQ(all.at("cacheflight_task_duration_ms_bucket{group=\"stays\",le=\"+Inf\"}"),
                all.at(in("stays", "task_duration_ms_count")));
      last = misses;
      if (all.contains(in("passes", "hit_total"))) ++seen;
    }
  });
  auto const call = [](cacheflight::group& flights) {
    flights.start("key", [] { return 1; }, [](std::exception_ptr, std::shared_ptr<int const>) {});
  };
  int calls = 0;
  for (int round = 0; round < 200 || seen < 20; ++round) {
    std::optional<cacheflight::group> passes(std::in_place, options().on_event(durations));
    metrics.attach("passes", *passes, durations);
    call(*passes);
    call(stays), ++calls;
    if (round % 2) passes.reset();
    metrics.detach("passes");
  }
  EXPECT_EQ(sample(metrics, in("stays", "miss_total")), calls);
}

TEST(durations, a_bound_belongs_to_its_bucket) {
  task_durations const durations({1ms, 2500us, 10ms});
  manual_group flights{options().on_event(durations)};
  desk callers;
  for (auto const took :
       {0ns, 1'000'000ns, 1'000'001ns, 2'500'000ns, 10'000'000ns, 10'000'001ns, 3'600'000'000'000ns}) {
    callers.ask(flights, "key");
    pass(flights, took);
    callers.answer_all();
  }
  prometheus_metrics metrics;
  metrics.attach("users", flights, durations);
  auto const bucket = [&](char const* bound) {
    return sample(metrics,
                  "cacheflight_task_duration_ms_bucket{group=\"users\",le=\"" + std::string(bound) + "\"}");
  };
  EXPECT_EQ(bucket("1"), 2);
  EXPECT_EQ(bucket("2.5"), 4);
  EXPECT_EQ(bucket("10"), 5);
  EXPECT_EQ(bucket("+Inf"), 7);
  EXPECT_EQ(sample(metrics, in("users", "task_duration_ms_count")), 7);
  EXPECT_NEAR(sample(metrics, in("users", "task_duration_ms_sum")), 3'600'024.500002, 1e-6);
}

TEST(durations, are_found_where_the_group_has_them) {
  manual_group flights{options().on_event(task_durations())};
  prometheus_metrics metrics;
  metrics.attach("users", flights);
  desk callers;
  callers.ask(flights, "key");
  callers.answer_all();
  EXPECT_EQ(sample(metrics, in("users", "task_duration_ms_count")), 1);
}

TEST(durations, that_nothing_counts_are_refused_or_left_out) {
  task_durations const durations;
  prometheus_metrics metrics;
  manual_group silent;
  EXPECT_THROW(metrics.attach("silent", silent, durations), std::invalid_argument);
  metrics.attach("silent", silent);

  manual_group forgetful{options().on_event([](cacheflight::event const&) {})};
  metrics.attach("forgetful", forgetful, durations);
  EXPECT_EQ(sample(metrics, in("forgetful", "task_duration_ms_count")), 0)
      << "no task has returned a value yet";
  desk callers;
  callers.ask(forgetful, "key");
  callers.answer_all();
  EXPECT_THAT(text_of(metrics), Not(HasSubstr("duration_ms_count{group=\"forgetful\"}")));
  EXPECT_THAT(text_of(metrics), Not(HasSubstr("duration_seconds_count{group=\"forgetful\"}")));
}

TEST(durations, bounds_must_rise) {
  EXPECT_THROW(task_durations({2ms, 1ms}), std::invalid_argument);
  EXPECT_THROW(task_durations({1ms, 1ms}), std::invalid_argument);
  task_durations const none{std::vector<std::chrono::nanoseconds>()};
  EXPECT_TRUE(none.read().bucket.empty());
}

TEST(durations, none_is_lost_among_threads) {
  constexpr int threads = 4, each = 200'000;
  task_durations const durations({1us, 1ms});
  std::any const no_metadata;
  std::exception_ptr const no_error;
  std::latch start(threads);
  {
    std::vector<std::jthread> all;
    for (int t = 0; t < threads; ++t)
      all.emplace_back([&, copy = durations] {
        start.arrive_and_wait();
        for (int i = 0; i < each; ++i)
          copy({cacheflight::event_type::task_resolved,
                "",
                1,
                1,
                i % 2 ? 1us : 2us,
                no_error,
                no_metadata,
                {}});
      });
  }
  auto const found = durations.read();
  EXPECT_EQ(found.sample_count, threads * each);
  EXPECT_EQ(found.bucket[0].cumulative_count, threads * each / 2);
  EXPECT_EQ(found.bucket[1].cumulative_count, threads * each);
  EXPECT_DOUBLE_EQ(found.sample_sum, threads * each * 1.5 / 1000);
}

}  // namespace
