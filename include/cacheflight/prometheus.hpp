// SPDX-License-Identifier: MIT
#pragma once

/// Groups as Prometheus sees them, on prometheus-cpp 1.0 or newer (CMake: `cacheflight::prometheus`).
///
///     auto const metrics = std::make_shared<cacheflight::prometheus_metrics>();  // one for the program
///     exposer.RegisterCollectable(metrics);  // prometheus-cpp's own server, or:
///     std::string text = prometheus::TextSerializer().Serialize(metrics->Collect());
///
///     cacheflight::group
///     users{cacheflight::options().max_keys(10'000).on_event(cacheflight::task_durations())};
///     metrics->attach("users", users);                                           // one line for each group
///
/// Each series has one label, `group`, the name given to `attach`; nothing here ever sees a key's bytes.

#include <cacheflight/event.hpp>
#include <cacheflight/group.hpp>

#include <prometheus/client_metric.h>
#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <ratio>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace cacheflight::inline v1 {

/// How long the tasks took that returned a value (`task_resolved`), counted in buckets: what
/// `options::on_event` is given, alone or from within another callback (`durations(event)`). A handle: copies
/// count into the same buckets, which live as long as any of them.
///
/// Thread safety: all members may be called from any thread at any time. Counting is lock-free: two relaxed
/// additions for a flight.
///
/// Cost: what there is to pay for is mostly that there is an `on_event` at all: clock reads, and the delivery
/// of each event. A flight whose task completes at once takes 214 ns of CPU time instead of 90, a join 114
/// instead of 94; the counting itself is 13 ns of a flight's (g++ 12 -O2, medians of one run;
/// test/metrics/cost.cpp).
class task_durations {
 public:
  /// Thirteen bounds from 1 ms to 10 s.
  task_durations() : task_durations(default_bounds()) {}

  /// One bucket for the durations up to and including each bound, and one for longer ones. Throws
  /// `std::invalid_argument` unless the bounds rise from one to the next. Groups that are to be added up in
  /// one query need the same bounds.
  explicit task_durations(std::vector<std::chrono::nanoseconds> upper_bounds)
      : counts_(std::make_shared<counts>(std::move(upper_bounds))) {}

  /// Counts the event if it is a `task_resolved`.
  void operator()(event const& e) const noexcept {
    if (e.type == event_type::task_resolved) counts_->add(e.duration);
  }

  /// What was counted so far, in milliseconds or in another unit (`std::ratio<1>`: seconds). `sample_count`
  /// is the sum of the buckets; the sum of the durations may lack what is being counted at this moment.
  template <class Unit = std::milli>
  [[nodiscard]] ::prometheus::ClientMetric::Histogram read() const {
    auto const in_unit = [](std::chrono::nanoseconds value) {
      return std::chrono::duration<double, Unit>(value).count();
    };
    ::prometheus::ClientMetric::Histogram all;
    for (std::size_t i = 0; i < counts_->bounds.size(); ++i) {
      all.sample_count += counts_->buckets[i].load(std::memory_order_relaxed);
      all.bucket.push_back({all.sample_count, in_unit(counts_->bounds[i])});
    }
    all.sample_count += counts_->buckets.back().load(std::memory_order_relaxed);
    all.sample_sum = in_unit(std::chrono::nanoseconds(counts_->sum.load(std::memory_order_relaxed)));
    return all;
  }

 private:
  [[nodiscard]] static std::vector<std::chrono::nanoseconds> default_bounds() {
    using namespace std::chrono_literals;
    return {1ms, 2'500us, 5ms, 10ms, 25ms, 50ms, 100ms, 250ms, 500ms, 1s, 2'500ms, 5s, 10s};
  }

  struct counts {
    explicit counts(std::vector<std::chrono::nanoseconds> upper_bounds)
        : bounds(std::move(upper_bounds)), buckets(bounds.size() + 1) {
      if (std::ranges::adjacent_find(bounds, std::ranges::greater_equal{}) != bounds.end())
        throw std::invalid_argument("cacheflight: the bounds of a histogram must rise");
    }

    void add(std::chrono::nanoseconds duration) noexcept {
      auto const bucket = std::ranges::lower_bound(bounds, duration) - bounds.begin();
      buckets[static_cast<std::size_t>(bucket)].fetch_add(1, std::memory_order_relaxed);
      sum.fetch_add(duration.count(), std::memory_order_relaxed);
    }

    std::vector<std::chrono::nanoseconds> const bounds;
    std::vector<std::atomic<std::uint64_t>> buckets;
    std::atomic<std::chrono::nanoseconds::rep> sum{0};
  };

  std::shared_ptr<counts> counts_;
};

/// The metrics of all groups that were attached: what a `prometheus::Exposer` collects. One for a program, so
/// that each metric is announced once, with a series for each group.
///
///     cacheflight_hit_total                counter    calls that joined a flight
///     cacheflight_miss_total               counter    calls that found none
///     cacheflight_error_total              counter    flights whose task threw, or was abandoned
///     cacheflight_timeout_total            counter    flights that exceeded their timeout
///     cacheflight_cancelled_total          counter    flights that were cancelled, or that all callers left
///     cacheflight_max_keys_rejected_total  counter    misses refused at max_keys
///     cacheflight_closed_rejected_total    counter    misses refused because the group is closed
///     cacheflight_type_mismatch_total      counter    calls refused: the flight has another result type
///     cacheflight_callback_failures_total  counter    times that on_event threw
///     cacheflight_active_keys              gauge      flights that can be joined now
///     cacheflight_max_keys                 gauge      their limit; no series for a group without one
///     cacheflight_waiters                  gauge      callers waiting now
///     cacheflight_superseded_flights       gauge      flights that go on and cannot be joined any more
///     cacheflight_detached_tasks           gauge      tasks that were asked to stop and go on
///     cacheflight_task_duration_seconds    histogram  of tasks that returned a value, with `task_durations`
///     cacheflight_task_duration_ms         histogram  the same in milliseconds
///
/// All but the histogram come from the group's own books, read when Prometheus asks: attaching costs calls
/// nothing. The values of one group are of one reading of its `stats()`; they are as exact as that is.
///
/// Thread safety: every member function may be called from any thread at any time.
///
/// Lifetime: neither has to outlive the other. A group that is gone leaves its last counts, which stay as
/// they are until `detach`. Its books are kept for that, and its `on_event` with them: a callback that owns
/// the metrics would keep both for ever.
class prometheus_metrics final : public ::prometheus::Collectable {
 public:
  /// Adds the group, under a name that people choose and that is UTF-8. `durations`: what its `on_event`
  /// hands events on to, if that is not `task_durations` itself. Throws `std::invalid_argument` if the name
  /// is taken (two series would be one to Prometheus), or if there are `durations` and no `on_event` that
  /// could count them.
  template <class Key, class Hash, class Equal, class Platform>
  void attach(std::string name, basic_group<Key, Hash, Equal, Platform> const& flights,
              std::optional<task_durations> durations = std::nullopt) {
    auto& core = detail::access::core(flights);
    auto const& on_event = core.settings().on_event();
    if (auto const* const own = on_event.template target<task_durations>(); own && !durations)
      durations = *own;
    if (durations && !on_event)
      throw std::invalid_argument(
          "cacheflight: nothing counts these durations: give them to the group's on_event");
    core.retain();
    std::shared_ptr<std::remove_reference_t<decltype(core)>> kept(&core, [](auto* c) { c->release(); });
    source added{[kept] { return kept->stats(); }, core.settings().max_keys(), std::move(durations)};
    std::scoped_lock const lock(mutex_);
    if (!sources_.try_emplace(std::move(name), std::move(added)).second)
      throw std::invalid_argument("cacheflight: a group of that name is attached already");
  }

  /// Takes the group's series away; a group of the same name may then be attached. Returns false if there is
  /// none.
  bool detach(std::string const& name) {
    source_map::node_type removed;  // outlives the lock: the group's `on_event` may be destroyed with it
    std::scoped_lock const lock(mutex_);
    removed = sources_.extract(name);
    return !removed.empty();
  }

  /// Reads the books of each group. Called by prometheus-cpp.
  [[nodiscard]] std::vector<::prometheus::MetricFamily> Collect() const override {
    using ::prometheus::ClientMetric;
    using ::prometheus::MetricFamily;
    using ::prometheus::MetricType;
    std::scoped_lock const lock(mutex_);
    std::map<std::string, statistics> books;
    for (auto const& [name, of] : sources_) books.emplace(name, of.stats());

    std::vector<MetricFamily> all;
    auto const announce = [&all](char const* name, char const* help, MetricType type) {
      all.push_back({std::string("cacheflight_") + name, help, type, {}});
    };
    auto const series = [&all](std::string const& name) -> ClientMetric& {
      ClientMetric& added = all.back().metric.emplace_back();
      added.label.push_back({"group", name});
      return added;
    };
    for (auto const& [name, help, count] : counters) {
      announce(name, help, MetricType::Counter);
      for (auto const& [owner, book] : books) series(owner).counter.value = static_cast<double>(book.*count);
    }
    for (auto const& [name, help, count] : gauges) {
      announce(name, help, MetricType::Gauge);
      for (auto const& [owner, book] : books) series(owner).gauge.value = static_cast<double>(book.*count);
    }
    announce("max_keys", "The limit of cacheflight_active_keys.", MetricType::Gauge);
    for (auto const& [owner, of] : sources_)
      if (of.max_keys != 0) series(owner).gauge.value = static_cast<double>(of.max_keys);
    auto const histograms = [&]<class Unit>(char const* name, char const* help, Unit) {
      announce(name, help, MetricType::Histogram);
      for (auto const& [owner, of] : sources_) {
        if (!of.durations) continue;
        auto counted = of.durations->template read<Unit>();
        // None rather than one that says that there were no tasks: its on_event does not hand on what it is
        // given.
        if (counted.sample_count != 0 || books.at(owner).resolved == 0)
          series(owner).histogram = std::move(counted);
      }
    };
    histograms("task_duration_seconds", "Seconds that tasks took which returned a value.", std::ratio<1>());
    histograms("task_duration_ms", "Milliseconds that tasks took which returned a value.", std::milli());
    return all;
  }

 private:
  struct source {
    std::function<statistics()> stats;  // keeps the core
    std::size_t max_keys;
    std::optional<task_durations> durations;
  };
  using source_map = std::map<std::string, source>;

  template <class Count>
  struct description {
    char const* name;
    char const* help;
    Count statistics::* count;
  };
  static constexpr description<std::uint64_t> counters[] = {
      {"hit_total", "Calls that joined a flight.", &statistics::hits},
      {"miss_total", "Calls that found no flight.", &statistics::misses},
      {"error_total", "Flights whose task threw, or was abandoned.", &statistics::rejected},
      {"timeout_total", "Flights that exceeded their timeout.", &statistics::timed_out},
      {"cancelled_total", "Flights that were cancelled, or that all callers left.", &statistics::cancelled},
      {"max_keys_rejected_total", "Misses refused because max_keys flights were up.",
       &statistics::max_keys_rejected},
      {"closed_rejected_total", "Misses refused because the group is closed.", &statistics::closed_rejected},
      {"type_mismatch_total", "Calls refused because the flight has another result type.",
       &statistics::type_mismatches},
      {"callback_failures_total", "Times that on_event threw.", &statistics::callback_failures},
  };
  static constexpr description<std::size_t> gauges[] = {
      {"active_keys", "Flights that can be joined now.", &statistics::in_flight},
      {"waiters", "Callers waiting now.", &statistics::waiters},
      {"superseded_flights", "Flights that go on and cannot be joined any more.", &statistics::superseded},
      {"detached_tasks", "Tasks that were asked to stop and have not ended yet.", &statistics::detached},
  };

  mutable std::mutex mutex_;
  source_map sources_;  // by the group's name; guarded by mutex_
};

}  // namespace cacheflight::inline v1
