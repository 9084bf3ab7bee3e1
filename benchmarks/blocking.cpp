// SPDX-License-Identifier: MIT
#include "floor.hpp"
#include "naive.hpp"
#include "scenarios.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

namespace bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t distinct = 4'096;  // keys of the sequential scenarios: their texts fit into the cache

/// One thread, one call after the other, each with another key; the task completes at once.
template <class Call>
void sequential(round& r, std::size_t calls, Call&& call) {
  auto const& names = keys(distinct);
  std::size_t executions = 0;
  for (std::size_t i = 0; i < distinct; ++i) keep(call(names[i], executions));
  executions = 0;
  std::size_t sum = 0;
  r.measure(calls, [&] {
    for (std::size_t i = 0; i < calls; ++i)
      sum += static_cast<std::size_t>(call(names[i % distinct], executions));
  });
  r.check("sum of the results", sum, calls);
  r.executed(executions, calls);
}

void floor_miss(round& r, std::size_t calls, bool timed) {
  floor_hash const hash;
  floor_group flights;
  sequential(r, calls, [&](std::string const& key, std::size_t& executions) {
    std::uint64_t const h = hash(key);
    auto const [f, leads] = flights.enter(h, key, timed);
    ++executions;
    int const result = f->value = 1;
    flights.end(h, f, timed);
    return result;
  });
}

void blocking_miss(round& r, std::size_t calls, cacheflight::options const& opts = {}) {
  cacheflight::group flights(opts);
  sequential(r, calls, [&](std::string const& key, std::size_t& executions) {
    return *flights.run(key, [&executions] { return ++executions, 1; });
  });
}

void blocking_miss_timed(round& r, std::size_t calls) {
  cacheflight::group flights;
  sequential(r, calls, [&](std::string const& key, std::size_t& executions) {
    return *flights.run(key, cacheflight::run_options().timeout(5s),
                        [&executions] { return ++executions, 1; });
  });
}

void callback_miss(round& r, std::size_t calls) {
  cacheflight::group flights;
  sequential(r, calls, [&](std::string const& key, std::size_t& executions) {
    int result = 0;
    flights.start(
        key, [&executions] { return ++executions, 1; },
        [&result](std::exception_ptr, std::shared_ptr<int const> value) { result = *value; });
    return result;
  });
}

void naive_miss(round& r, std::size_t calls) {
  naive_group flights;
  sequential(r, calls, [&](std::string const& key, std::size_t& executions) {
    return flights.run(key, [&executions] { return ++executions, 1; });
  });
}

// ---- many keys up at once, then all complete ----

void floor_in_flight(round& r, std::size_t count) {
  auto const& names = keys(count);
  floor_hash const hash;
  struct entry {
    std::uint64_t hash;
    floor_flight* flight;
  };
  std::vector<entry> up(count);
  std::size_t executions = 0;
  r.measure(count, [&] {
    floor_group flights;
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t const h = hash(names[i]);
      up[i] = {h, flights.enter(h, names[i]).first};
      ++executions;
    }
    r.at_peak();
    for (entry const& e : up) flights.end(e.hash, e.flight);
  });
  r.executed(executions, count);
}

void callback_in_flight(round& r, std::size_t count) {
  auto const& names = keys(count);
  std::vector<cacheflight::completion<int>> up;
  up.reserve(count);
  std::size_t answered = 0;
  r.measure(count, [&] {
    cacheflight::group flights;
    auto const task = [&up](cacheflight::completion<int> done) { up.push_back(std::move(done)); };
    for (std::size_t i = 0; i < count; ++i)
      flights.start(names[i], cacheflight::answering<int>(task),
                    [&answered](std::exception_ptr, std::shared_ptr<int const> value) {
                      answered += static_cast<std::size_t>(*value);
                    });
    r.at_peak();
    for (auto& done : up) done.set_value(1);
    r.check("keys left", flights.size(), 0);
  });
  r.check("answers", answered, count);
  r.executed(up.size(), count);
}

void naive_in_flight(round& r, std::size_t count) {
  auto const& names = keys(count);
  std::vector<std::promise<int>> up;
  up.reserve(count);
  std::size_t answered = 0;
  r.measure(count, [&] {
    naive_group flights;
    for (std::size_t i = 0; i < count; ++i) up.push_back(flights.begin(names[i]));
    r.at_peak();
    for (std::size_t i = 0; i < count; ++i)
      answered += static_cast<std::size_t>(flights.end(names[i], std::move(up[i])));
  });
  r.executed(answered, count);
}

// ---- joining and leaving, without anybody who waits ----

/// `count` callers of one key, by callbacks; its task completes after all have joined.
void callback_join(round& r, std::size_t count, bool events) {
  std::atomic<std::size_t> seen{0};
  cacheflight::options opts;
  if (events)
    opts.on_event([&seen](cacheflight::event const&) { seen.fetch_add(1, std::memory_order_relaxed); });
  cacheflight::group flights(opts);
  std::string const key = "user:42";
  std::size_t executions = 0, answered = 0;
  std::vector<cacheflight::completion<int>> up;
  up.reserve(1);
  auto const all = [&] {
    for (std::size_t i = 0; i < count; ++i)
      flights.start(key, cacheflight::answering<int>([&](cacheflight::completion<int> done) {
                      ++executions;
                      up.push_back(std::move(done));
                    }),
                    [&answered](std::exception_ptr, std::shared_ptr<int const> value) {
                      answered += static_cast<std::size_t>(*value);
                    });
    r.at_peak();
    up.front().set_value(1);
    up.clear();
  };
  all();
  executions = answered = 0;
  r.measure(count, all);
  r.check("answers", answered, count);
  r.executed(executions, 1);
  if (events) r.check("events", seen, 2 * (count + 2));
}

/// `cancel(key)` while `count` keys are in flight.
void cancel_each(round& r, std::size_t count) {
  auto const& names = keys(count);
  std::size_t answered = 0, cancelled = 0;
  cacheflight::group flights;
  std::vector<cacheflight::completion<int>> up;
  up.reserve(count);
  auto const task = [&up](cacheflight::completion<int> done) { up.push_back(std::move(done)); };
  for (std::size_t i = 0; i < count; ++i)
    flights.start(names[i], cacheflight::answering<int>(task),
                  [&](std::exception_ptr error, std::shared_ptr<int const>) { answered += error ? 1U : 0U; });
  r.measure(count, [&] {
    for (std::size_t i = 0; i < count; ++i) cancelled += flights.cancel(names[i]) ? 1U : 0U;
  });
  r.check("answers", answered, count);
  r.check("cancelled", cancelled, count);
  r.executed(up.size(), count);
}

/// Each of `count` waiters of one key is stopped; one more stays.
void leave_each(round& r, std::size_t count) {
  std::string const key = "user:42";
  std::size_t left = 0, answered = 0;
  cacheflight::group flights;
  std::vector<cacheflight::completion<int>> up;
  auto const task = [&up](cacheflight::completion<int> done) { up.push_back(std::move(done)); };
  flights.start(key, cacheflight::answering<int>(task),
                [&](std::exception_ptr, std::shared_ptr<int const> value) { answered += value ? 1U : 0U; });
  std::vector<std::stop_source> stops(count);
  for (std::stop_source const& stop : stops)
    flights.start(key, cacheflight::run_options().stop_token(stop.get_token()),
                  cacheflight::answering<int>(task),
                  [&](std::exception_ptr error, std::shared_ptr<int const>) { left += error ? 1U : 0U; });
  r.measure(count, [&] {
    for (std::stop_source& stop : stops) stop.request_stop();
  });
  r.check("left", left, count);
  r.check("answered too early", answered, 0);
  r.executed(up.size(), 1);
  up.front().set_value(1);
  r.check("answered", answered, 1);
}

}  // namespace

void add_blocking(suite& all, sizes const& size) {
  std::size_t const calls = size.calls();
  using enum role;
  std::string const table = "floor: table";

  std::string group = "miss";
  all.add({group, table, floor, table}, [=](round& r) { floor_miss(r, calls, false); });
  all.add({group, "CacheFlight, blocking", ours, table}, [=](round& r) { blocking_miss(r, calls); });
  all.add({group, "CacheFlight, callback", ours, table}, [=](round& r) { callback_miss(r, calls); });
  all.add({group, "naive: mutex, unordered_map, shared_future", peer, table},
          [=](round& r) { naive_miss(r, calls); });

  group = "miss, 5 s timeout armed";
  all.add({group, table, floor, table}, [=](round& r) { floor_miss(r, calls, true); });
  all.add({group, "CacheFlight, blocking", ours, table}, [=](round& r) { blocking_miss_timed(r, calls); });

  group = "events (3 per miss, 1 per join)";
  all.add({group, "miss, off", floor, "miss, off"}, [=](round& r) { blocking_miss(r, calls); });
  all.add({group, "miss, a callback that counts", ours, "miss, off"}, [=](round& r) {
    std::atomic<std::size_t> seen{0};
    auto const count = [&seen](cacheflight::event const&) { seen.fetch_add(1, std::memory_order_relaxed); };
    blocking_miss(r, calls, cacheflight::options().on_event(count));
    r.check("events", seen, 3 * (calls + distinct));
  });
  all.add({group, "join by callback, off", floor, "join by callback, off"},
          [=](round& r) { callback_join(r, 1'000, false); });
  all.add({group, "join by callback, a callback that counts", ours, "join by callback, off"},
          [=](round& r) { callback_join(r, 1'000, true); });

  for (std::size_t const count : {std::size_t{100'000}, std::size_t{1'000'000}}) {
    if (count > size.largest()) break;
    group = grouped(count) + " keys in flight";
    all.add({group, table, floor, table}, [=](round& r) { floor_in_flight(r, count); });
    all.add({group, "CacheFlight, callback", ours, table}, [=](round& r) { callback_in_flight(r, count); });
    all.add({group, "naive: mutex, unordered_map, shared_future", peer, table},
            [=](round& r) { naive_in_flight(r, count); });
  }
  for (bool const leave : {false, true}) {
    group = leave ? "one waiter leaves, among" : "cancel of one key, among";
    for (std::size_t const count : {std::size_t{1'000}, std::size_t{100'000}})
      all.add({group, grouped(count), count == 1'000 ? floor : ours, "1,000"}, [=](round& r) {
        if (leave) leave_each(r, count);
        else cancel_each(r, count);
      });
  }
}

}  // namespace bench
