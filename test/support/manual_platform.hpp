// SPDX-License-Identifier: MIT
#pragma once

// A platform in the tests' hands: a clock that moves when told to, no deadline thread, and a mutex that knows whether
// this thread holds it, so that user code under a lock of ours is caught wherever it runs.

#include <cacheflight/cacheflight.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <mutex>
#include <system_error>
#include <utility>

namespace cacheflight_test {

class manual_clock {
 public:
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<manual_clock>;
  static constexpr bool is_steady = true;

  static time_point now() noexcept {
    reads_.fetch_add(1, std::memory_order_relaxed);
    return time_point(duration(now_.load(std::memory_order_relaxed)));
  }
  static void advance(duration by) noexcept { now_.fetch_add(by.count(), std::memory_order_relaxed); }
  static std::size_t reads() noexcept { return reads_.load(std::memory_order_relaxed); }

 private:
  static inline std::atomic<rep> now_{1'000'000'000};
  static inline std::atomic<std::size_t> reads_{0};
};

class checked_mutex {
 public:
  void lock() {
    if (held_ != 0) ADD_FAILURE() << "a second lock of ours is taken while one is held";
    mutex_.lock();
    ++held_;
  }
  void unlock() {
    --held_;
    mutex_.unlock();
    if (after_unlock) std::exchange(after_unlock, nullptr)();
  }
  /// Runs once on this thread, when it has released the next lock: what another thread might do just then.
  static inline thread_local std::function<void()> after_unlock;
  static bool held_here() noexcept { return held_ != 0; }

 private:
  std::mutex mutex_;
  static inline thread_local int held_ = 0;
};

/// Rule 5: called from everything that is user code.
inline void expect_unlocked(char const* where) {
  if (checked_mutex::held_here()) ADD_FAILURE() << "user code under a lock of ours: " << where;
}

class manual_driver {
 public:
  using work_type = cacheflight::deadline_work<manual_clock>;

  void ensure(work_type&) {
    if (refuse) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    ++ensured;
  }
  void arm(manual_clock::time_point when) noexcept {
    if (when < wake) wake = when;
  }
  void rouse(work_type& work, manual_clock::time_point when) {
    ensure(work);
    arm(when);
  }
  void close() noexcept { closed = true; }

  static inline std::atomic<bool> refuse = false;  // "no thread to be had"
  static inline std::atomic<int> ensured = 0;
  manual_clock::time_point wake = manual_clock::time_point::max();
  bool closed = false;
};

struct manual_platform {
  using mutex = checked_mutex;
  using clock = manual_clock;
  using driver = manual_driver;
  static std::size_t shards() noexcept { return 2; }
  static void point(cacheflight::core_step step) noexcept {
    if (step == cacheflight::core_step::arm && before_arm) before_arm();
  }
  /// Called when this thread's caller is about to wait.
  static inline thread_local std::function<void()> before_arm;
};

using manual_group = cacheflight::basic_group<std::string, cacheflight::default_hash<std::string>,
                                              cacheflight::default_equal<std::string>, manual_platform>;

/// Time passes, and the deadline thread would have woken.
template <class Group>
void pass(Group& flights, std::chrono::nanoseconds by) {
  manual_clock::advance(by);
  (void)cacheflight::detail::access::core(flights).run_due();
}

}  // namespace cacheflight_test
