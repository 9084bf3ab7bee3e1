// SPDX-License-Identifier: MIT
#pragma once

// A small harness: Google Benchmark runs one scenario to its end before the next begins, so that whatever
// else the machine does in between looks like a difference between them. Here all take turns, round by round.
// A round prints samples; table.py makes medians of them, together with those of the programs in other
// languages.

#include "allocations.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <optional>
#include <random>
#include <regex>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace bench {

enum class role { floor, ours, peer };

/// One row of the table.
struct row {
  std::string group;
  std::string name;
  bench::role role = role::peer;
  std::string floor{};      ///< The row of the same group that this one is compared with.
  bool counts_heap = true;  ///< Off where other threads allocate.
};

/// One round of one row: what the scenario reports of it.
class round {
 public:
  explicit round(bool counts_heap) : counts_heap_(counts_heap) {}

  /// Runs `body`, which makes `calls` calls, and measures it. Prepare before, check afterwards.
  template <class Body>
  void measure(std::size_t calls, Body&& body) {
    calls_ = calls;
    if (counts_heap_) {
      heap_counter const counter;
      counter_ = &counter;
      body();
      used_ = counter.now();
      counter_ = nullptr;
      return;
    }
    auto const start = clock::now();
    body();
    elapsed_ = clock::now() - start;
  }

  /// Inside of `measure`: the moment at which the most memory is held.
  void at_peak() {
    if (counter_) peak_ = counter_->now().held;
  }

  /// A result that is not what the scenario means would make its time meaningless.
  void check(char const* what, std::size_t is, std::size_t should_be) const {
    if (is != should_be)
      throw std::runtime_error(std::string(what) + ": " + std::to_string(is) + " instead of " +
                               std::to_string(should_be));
  }
  /// How often tasks ran.
  void executed(std::size_t is, std::size_t should_be) { check("executions", executions_ = is, should_be); }
  /// The same where it depends on the threads' schedule.
  void executed(std::size_t is) { executions_ = is; }

 private:
  friend class suite;
  using clock = std::chrono::steady_clock;

  bool counts_heap_;
  heap_counter const* counter_ = nullptr;
  std::size_t calls_ = 0;
  std::size_t executions_ = 0;
  clock::duration elapsed_{};
  heap_use used_{};
  std::optional<std::ptrdiff_t> peak_;
};

class suite {
 public:
  void add(row what, std::function<void(round&)> scenario) {
    entries_.push_back({std::move(what), std::move(scenario)});
  }

  /// Every scenario whose "group / name" matches, once to count its memory and `rounds` times for its speed,
  /// in an order that changes from round to round; a short one several times in a round. Returns whether all
  /// results were right.
  bool run(std::size_t rounds, std::string const& only) {
    std::regex const wanted(only, std::regex::icase);
    std::vector<entry*> chosen;
    for (entry& e : entries_)
      if (std::regex_search(e.what.group + " / " + e.what.name, wanted)) chosen.push_back(&e);
    bool right = true;
    for (entry* e : chosen) print_row(e->what);
    for (entry* e : chosen)
      if (e->what.counts_heap) right &= one(*e, true);
    std::minstd_rand order(static_cast<unsigned>(std::random_device{}()));
    for (std::size_t i = 0; i < rounds; ++i) {
      for (std::size_t left = chosen.size(); left > 1; --left)
        std::swap(chosen[left - 1], chosen[order() % left]);
      for (entry* e : chosen) right &= samples(*e);
    }
    return right;
  }

 private:
  struct entry {
    row what;
    std::function<void(round&)> scenario;
  };

  // The lines, fields separated by tabs. table.py and go/main.go know them as well.
  static void print_row(row const& r) {
    char const* const role = r.role == role::floor ? "floor" : r.role == role::ours ? "ours" : "peer";
    std::printf("row\t%s\t%s\t%s\t%s\n", r.group.c_str(), r.name.c_str(), role, r.floor.c_str());
  }
  static bool samples(entry& e) {
    bool right = true;
    auto const until = round::clock::now() + std::chrono::milliseconds(20);
    for (int i = 0; i < 10 && right && (i == 0 || round::clock::now() < until); ++i) right = one(e, false);
    return right;
  }
  static bool one(entry& e, bool heap) {
    round r(heap);
    try {
      e.scenario(r);
    } catch (std::exception const& error) {
      std::printf("wrong\t%s\t%s\t%s\n", e.what.group.c_str(), e.what.name.c_str(), error.what());
      return false;
    }
    auto const calls = static_cast<double>(r.calls_);
    if (heap) {
      std::printf("heap\t%s\t%s\t%.4f\t%.2f\n", e.what.group.c_str(), e.what.name.c_str(),
                  static_cast<double>(r.used_.allocations) / calls,
                  static_cast<double>(r.used_.bytes) / calls);
      if (r.peak_)
        std::printf("peak\t%s\t%s\t%.2f\n", e.what.group.c_str(), e.what.name.c_str(),
                    static_cast<double>(*r.peak_) / calls);
    } else {
      auto const ns = std::chrono::duration<double, std::nano>(r.elapsed_).count();
      std::printf("time\t%s\t%s\t%.3f\t%zu\t%zu\n", e.what.group.c_str(), e.what.name.c_str(), ns / calls,
                  r.calls_, r.executions_);
    }
    std::fflush(stdout);
    return true;
  }

  std::vector<entry> entries_;
};

/// Distinct keys that fit into `std::string` itself, "user:0000000" and so on; at least `count` of them, a
/// million at most. Not to be called while something is measured that has not called it before.
[[nodiscard]] std::vector<std::string> const& keys(std::size_t count);

/// Keeps the optimizer from leaving out what is computed only to be measured.
template <class T>
void keep(T const& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

}  // namespace bench
