// SPDX-License-Identifier: MIT
#include "coroutine.hpp"
#include "floor.hpp"
#include "scenarios.hpp"
#include <cacheflight/coroutine.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bench {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t distinct = 4'096;

lazy at_once(std::size_t& executions) {
  ++executions;
  co_return 1;
}

lazy when_open(std::size_t& executions, gate& opens) {
  ++executions;
  co_await opens.wait();
  co_return 1;
}

/// A hand-written peer: mutex, map, and the handles of those who wait.
class naive_coroutines {
 public:
  struct flight {
    std::vector<std::coroutine_handle<>> waiting;
    int value = 0;
    bool done = false;
  };
  struct joined {
    std::mutex* mutex;
    flight* to;
    bool await_ready() noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> h) {
      std::scoped_lock const lock(*mutex);
      if (to->done) return false;
      to->waiting.push_back(h);
      return true;
    }
    void await_resume() noexcept {}
  };

  template <class Task>
  lazy run(std::string key, Task task) {
    std::unique_lock lock(mutex_);
    std::shared_ptr<flight>& place = flights_[key];
    bool const leads = !place;
    if (leads) place = std::make_shared<flight>();
    std::shared_ptr<flight> const mine = place;
    lock.unlock();
    if (!leads) {
      co_await joined{&mutex_, mine.get()};
      co_return mine->value;
    }
    int const value = co_await task();
    lock.lock();
    mine->value = value;
    mine->done = true;
    std::vector<std::coroutine_handle<>> const waiting = std::move(mine->waiting);
    flights_.erase(key);
    lock.unlock();
    for (auto const h : waiting) h.resume();
    co_return value;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_ptr<flight>> flights_;
};

// ---- miss: one coroutine that makes all the calls ----

struct tally {
  std::size_t executions = 0;
  std::size_t sum = 0;
};

detached floor_calls(floor_group& flights, floor_hash const& hash, bool timed, std::size_t calls, tally& t) {
  auto const& names = keys(distinct);
  for (std::size_t i = 0; i < calls; ++i) {
    std::string const& key = names[i % distinct];
    std::uint64_t const h = hash(key);
    floor_flight* const f = flights.enter(h, key, timed).first;
    f->value = co_await at_once(t.executions);
    t.sum += static_cast<std::size_t>(f->value);
    flights.end(h, f, timed);
  }
}

detached our_calls(cacheflight::group& flights, std::size_t calls, tally& t) {
  auto const& names = keys(distinct);
  for (std::size_t i = 0; i < calls; ++i) {
    std::shared_ptr<int const> const value =
        co_await flights.run(std::string_view(names[i % distinct]), at_once, std::ref(t.executions));
    t.sum += static_cast<std::size_t>(*value);
  }
}

detached our_timed_calls(cacheflight::group& flights, std::size_t calls, tally& t) {
  auto const& names = keys(distinct);
  for (std::size_t i = 0; i < calls; ++i) {
    std::shared_ptr<int const> const value =
        co_await flights.run(std::string_view(names[i % distinct]), cacheflight::run_options().timeout(5s),
                             at_once, std::ref(t.executions));
    t.sum += static_cast<std::size_t>(*value);
  }
}

detached naive_calls(naive_coroutines& flights, std::size_t calls, tally& t) {
  auto const& names = keys(distinct);
  auto const task = [&t] { return at_once(t.executions); };
  for (std::size_t i = 0; i < calls; ++i)
    t.sum += static_cast<std::size_t>(co_await flights.run(names[i % distinct], task));
}

template <class Calls>
void sequential(round& r, std::size_t calls, Calls&& make) {
  tally warm, t;
  make(distinct, warm);
  r.measure(calls, [&] { make(calls, t); });
  r.check("sum of the results", t.sum, calls);
  r.executed(t.executions, calls);
}

// ---- join: `count` coroutines wait for one key ----

/// A caller that is suspended and resumed; its node lives in its frame.
detached floor_caller(floor_group& flights, floor_hash const& hash, std::string const& key, gate& flight,
                      std::size_t& sum) {
  std::uint64_t const h = hash(key);
  floor_flight const* in = nullptr;
  gate::awaiter waits = flight.wait();
  (void)flights.joined(h, key, [&](floor_flight& f) { ++f.references, in = &f; });
  co_await waits;
  sum += static_cast<std::size_t>(in->value);
}

void floor_join(round& r, std::size_t count) {
  floor_hash const hash;
  floor_group flights;
  std::string const key = "user:42";
  std::size_t sum = 0, executions = 0;
  auto const all = [&] {
    gate flight;
    std::uint64_t const h = hash(key);
    floor_flight* const f = flights.enter(h, key).first;
    ++executions;
    for (std::size_t i = 0; i < count; ++i) floor_caller(flights, hash, key, flight, sum);
    f->value = 1;
    r.at_peak();
    flight.open();
    flights.end(h, f);
  };
  all();
  sum = executions = 0;
  r.measure(count, all);
  r.check("answers", sum, count);
  r.executed(executions, 1);
}

detached our_caller(cacheflight::group& flights, std::string const& key, gate& opens, tally& t) {
  std::shared_ptr<int const> const value =
      co_await flights.run(std::string_view(key), when_open, std::ref(t.executions), std::ref(opens));
  t.sum += static_cast<std::size_t>(*value);
}

detached naive_caller(naive_coroutines& flights, std::string const& key, gate& opens, tally& t) {
  auto const task = [&t, &opens] { return when_open(t.executions, opens); };
  t.sum += static_cast<std::size_t>(co_await flights.run(key, task));
}

template <class Group, class Caller>
void join(round& r, std::size_t count, Caller* caller) {
  Group flights;
  std::string const key = "user:42";
  tally t;
  auto const all = [&] {
    gate opens;
    for (std::size_t i = 0; i < count; ++i) caller(flights, key, opens, t);
    r.at_peak();
    opens.open();
  };
  all();
  t = {};
  r.measure(count, all);
  r.check("answers", t.sum, count);
  r.executed(t.executions, 1);
}

// ---- many keys up at once ----

detached floor_flier(floor_group& flights, floor_hash const& hash, std::string const& key, gate& opens,
                     tally& t) {
  std::uint64_t const h = hash(key);
  floor_flight* const f = flights.enter(h, key).first;
  f->value = co_await when_open(t.executions, opens);
  t.sum += static_cast<std::size_t>(f->value);
  flights.end(h, f);
}

template <class Caller>
void in_flight(round& r, std::size_t count, Caller&& caller) {
  auto const& names = keys(count);
  tally t;
  r.measure(count, [&] {
    gate opens;
    for (std::size_t i = 0; i < count; ++i) caller(names[i], opens, t);
    r.at_peak();
    opens.open();
  });
  r.check("answers", t.sum, count);
  r.executed(t.executions, count);
}

}  // namespace

void add_coroutines(suite& all, sizes const& size) {
  std::size_t const calls = size.calls();
  using enum role;
  std::string const least = "floor: coroutine";
  std::string const us = "CacheFlight, coroutine", naive = "naive: mutex, unordered_map, handles";

  for (bool const timed : {false, true}) {
    std::string const group = timed ? "coroutine miss, 5 s timeout armed" : "coroutine miss";
    all.add({group, least, floor, least}, [=](round& r) {
      floor_group flights;
      floor_hash const hash;
      sequential(r, calls, [&](std::size_t n, tally& t) { floor_calls(flights, hash, timed, n, t); });
    });
    all.add({group, us, ours, least}, [=](round& r) {
      cacheflight::group flights;
      sequential(r, calls, [&](std::size_t n, tally& t) {
        if (timed) our_timed_calls(flights, n, t);
        else our_calls(flights, n, t);
      });
    });
    if (!timed)
      all.add({group, naive, peer, least}, [=](round& r) {
        naive_coroutines flights;
        sequential(r, calls, [&](std::size_t n, tally& t) { naive_calls(flights, n, t); });
      });
  }

  for (std::size_t const count : {std::size_t{1'000}, std::size_t{100'000}, std::size_t{1'000'000}}) {
    if (count > size.largest()) break;
    std::string const group = "coroutine join, " + grouped(count) + " waiters";
    all.add({group, least, floor, least}, [=](round& r) { floor_join(r, count); });
    all.add({group, us, ours, least}, [=](round& r) { join<cacheflight::group>(r, count, our_caller); });
    all.add({group, naive, peer, least}, [=](round& r) { join<naive_coroutines>(r, count, naive_caller); });
  }

  for (std::size_t const count : {std::size_t{100'000}, std::size_t{1'000'000}}) {
    if (count > size.largest()) break;
    std::string const group = grouped(count) + " keys in flight, coroutines";
    all.add({group, least, floor, least}, [=](round& r) {
      floor_group flights;
      floor_hash const hash;
      in_flight(r, count, [&](std::string const& key, gate& opens, tally& t) {
        floor_flier(flights, hash, key, opens, t);
      });
    });
    all.add({group, us, ours, least}, [=](round& r) {
      cacheflight::group flights;
      in_flight(r, count,
                [&](std::string const& key, gate& opens, tally& t) { our_caller(flights, key, opens, t); });
    });
    all.add({group, naive, peer, least}, [=](round& r) {
      naive_coroutines flights;
      in_flight(r, count,
                [&](std::string const& key, gate& opens, tally& t) { naive_caller(flights, key, opens, t); });
    });
  }
}

}  // namespace bench
