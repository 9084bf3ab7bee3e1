// SPDX-License-Identifier: MIT
#pragma once

// A platform for one thread, as cheap as can be: a clock and a deadline thread that the program drives, and a
// mutex that only knows whether it is held.

#include "../support/ticking_clock.hpp"
#include <cacheflight/cacheflight.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>

namespace cacheflight_model {

struct thread_refused : std::exception {
  char const* what() const noexcept override { return "no thread to be had"; }
};

/// What the program sets, and what the core did.
struct surroundings {
  std::size_t shards = 1;
  bool one_hash = false;   // every key has the same hash
  int refuse_threads = 0;  // how often the deadline thread cannot be started
  int held = 0;            // locks
  bool locked_twice = false;
  int cores = 0;  // alive
  int rouses = 0;
  bool last_rouse_failed = false;
};
inline surroundings here;

using clock = cacheflight_test::ticking_clock;

class lone_mutex {
 public:
  void lock() noexcept {
    if (++here.held != 1) here.locked_twice = true;
  }
  void unlock() noexcept { --here.held; }
};

class hand_driver {
 public:
  using work_type = cacheflight::deadline_work<clock>;

  hand_driver() noexcept { ++here.cores; }
  hand_driver(hand_driver const&) = delete;
  hand_driver& operator=(hand_driver const&) = delete;
  ~hand_driver() { --here.cores; }

  void ensure(work_type&) const {
    if (here.refuse_threads == 0) return;
    --here.refuse_threads;
    throw thread_refused();
  }
  void arm(clock::time_point when) noexcept {
    if (when < wake) wake = when;
  }
  void rouse(work_type& work, clock::time_point when) {
    ++here.rouses;
    here.last_rouse_failed = true;
    ensure(work);
    here.last_rouse_failed = false;
    arm(when);
  }
  void close() const noexcept {}
  template <class Predicate>
  void await(Predicate over) const noexcept {
    if (!over()) std::terminate();  // one thread: nobody else is in the middle of anything
  }
  void tell() const noexcept {}

  clock::time_point wake = clock::time_point::max();
};

struct lone_platform {
  using mutex = lone_mutex;
  using clock = cacheflight_model::clock;
  using driver = hand_driver;
  static std::size_t shards() noexcept { return here.shards; }
  static void point(cacheflight::core_step) noexcept {}
  static constexpr bool forks = false;
  using thread_id = int;
  static thread_id this_thread() noexcept { return 0; }
};

/// Fixed, so that a program does the same every time.
struct plain_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view key) const noexcept {
    return here.one_hash ? 1 : static_cast<unsigned char>(key.back());
  }
};

using group_type =
    cacheflight::basic_group<std::string, plain_hash, cacheflight::string_equal, lone_platform>;
using core_type = cacheflight::detail::core<lone_platform>;

/// The value that tasks yield.
struct answer {
  int number;
  explicit answer(int n) noexcept : number(n) { ++alive; }
  answer(answer&& other) noexcept : number(other.number) { ++alive; }
  answer(answer const&) = delete;
  answer& operator=(answer const&) = delete;
  ~answer() {
    if (here.held) here.locked_twice = true;
    --alive;
  }
  static inline int alive = 0;
};

}  // namespace cacheflight_model
