// SPDX-License-Identifier: MIT
#pragma once

// The scenarios of the Python original, in the coroutines and on the loop of another library. `Library` has
// - task<T>: its coroutine type, of the task and of its callers;
// - sleep(duration): an awaitable, the pace of asking again, which orders nothing;
// - spawn(task<void>): starts it, for nobody;
// - run(task<void>): the same, and keeps its loop running until `stop()`;
// - post(f): has the loop call f, from any thread.

#include <cacheflight/coroutine.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <stop_token>
#include <string>

namespace libraries {

using namespace std::chrono_literals;

struct counts {
  bool go = false;  // the task goes on: all callers have entered
  int executions = 0, stopped = 0;
  int values = 0, refused = 0, timed_out = 0, left = 0, others = 0;
  std::set<void const*> objects;
  [[nodiscard]] int answers() const { return values + refused + timed_out + left + others; }
};

template <class Library>
class scenarios {
  template <class T>
  using task = typename Library::template task<T>;

 public:
  /// How many failed.
  int run() {
    Library::run(all());
    std::printf("%d failed\n", failed_);
    return failed_;
  }

 private:
  static task<std::string> fetch(std::stop_token stop, std::reference_wrapper<counts> n, bool fails) {
    ++n.get().executions;
    while (!n.get().go) {
      co_await Library::sleep(1ms);
      if (!stop.stop_requested()) continue;
      ++n.get().stopped;
      throw std::runtime_error("stopped");
    }
    if (fails) throw std::runtime_error("upstream refused");
    co_return std::string("answer");
  }

  task<void> call(std::string key, cacheflight::run_options opts, counts& n, bool fails = false) {
    try {
      std::shared_ptr<std::string const> const answer =
          co_await flights_.run(std::move(key), std::move(opts), fetch, std::ref(n), fails)
              .resume_on(on_loop);
      n.objects.insert(answer.get());
      ++n.values;
    } catch (cacheflight::timeout_error const&) {
      ++n.timed_out;
    } catch (cacheflight::max_keys_error const&) {
      ++n.others;
    } catch (cacheflight::caller_stopped_error const&) {
      ++n.left;
    } catch (std::runtime_error const&) {
      ++n.refused;
    }
  }

  static void on_loop(std::function<void()> f) { Library::post(std::move(f)); }

  void expect(char const* what, bool is) {
    std::printf("%s: %s\n", is ? "  ok" : "FAIL", what);
    failed_ += !is;
  }

  task<void> answered(counts& n, int callers) {
    while (n.answers() < callers) co_await Library::sleep(1ms);
  }
  /// So many more calls than before have joined, led or been refused.
  task<void> entered(std::uint64_t calls) {
    calls_ += calls;
    for (cacheflight::statistics now; now = flights_.stats(), now.hits + now.misses < calls_;)
      co_await Library::sleep(1ms);
  }
  task<void> quiet() {
    while (flights_.stats().in_flight + flights_.stats().detached != 0) co_await Library::sleep(1ms);
  }

  task<void> all() {
    using cacheflight::run_options;
    {
      counts n;
      for (int i = 0; i < 150; ++i) Library::spawn(call("key", {}, n));
      co_await entered(150);
      n.go = true;
      co_await answered(n, 150);
      expect("one execution for 150 callers, one object",
             n.executions == 1 && n.values == 150 && n.objects.size() == 1);
    }
    {
      counts n;
      std::stop_source one;
      for (int i = 0; i < 9; ++i) Library::spawn(call("key", {}, n));
      Library::spawn(call("key", run_options().stop_token(one.get_token()), n));
      co_await entered(10);
      one.request_stop();
      co_await answered(n, 1);
      n.go = true;
      co_await answered(n, 10);
      expect("one leaves, the others are answered",
             n.left == 1 && n.values == 9 && n.executions == 1 && n.stopped == 0);
    }
    {
      counts n;
      std::stop_source each;
      for (int i = 0; i < 10; ++i) Library::spawn(call("key", run_options().stop_token(each.get_token()), n));
      co_await entered(10);
      each.request_stop();
      co_await answered(n, 10);
      bool const at_once = flights_.stats().in_flight == 0;
      co_await quiet();
      expect("all leave, and the task stops", n.left == 10 && at_once && n.executions == 1 && n.stopped == 1);
    }
    {
      counts n;
      for (int i = 0; i < 150; ++i) Library::spawn(call("key", {}, n, true));
      co_await entered(150);
      n.go = true;
      co_await answered(n, 150);
      expect("an error goes to all", n.executions == 1 && n.refused == 150);
    }
    {
      counts n;
      for (auto const* key : {"first", "second", "third"}) Library::spawn(call(key, {}, n));
      co_await entered(3);
      n.go = true;
      co_await answered(n, 3);
      expect("the cap on keys", n.executions == 2 && n.values == 2 && n.others == 1);
    }
    {
      counts n;
      for (int i = 0; i < 10; ++i) Library::spawn(call("key", run_options().timeout(500ms), n));
      co_await entered(10);
      co_await answered(n, 10);
      co_await quiet();
      expect("a timeout goes to all, and the task stops",
             n.timed_out == 10 && n.executions == 1 && n.stopped == 1);
    }
    Library::stop();
  }

  cacheflight::group flights_{cacheflight::options().max_keys(2)};
  std::uint64_t calls_ = 0;
  int failed_ = 0;
};

}  // namespace libraries
