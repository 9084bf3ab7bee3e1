// SPDX-License-Identifier: MIT
#pragma once

// A platform in the tests' hands: a clock that moves when told to, no deadline thread, and a mutex that knows
// whether this thread holds it, so that user code under a lock of ours is caught wherever it runs.

#include <cacheflight/cacheflight.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <system_error>
#include <thread>
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
    if (after_unlock()) std::exchange(after_unlock(), nullptr)();
  }
  /// Runs once on this thread, when it has released the next lock: what another thread might do just then.
  // In functions: g++ for Windows defines what initializes such members once in each file.
  static std::function<void()>& after_unlock() {
    static thread_local std::function<void()> f;
    return f;
  }
  static bool held_here() noexcept { return held_ != 0; }

 private:
  std::mutex mutex_;
  static inline thread_local int held_ = 0;
};

/// This thread keeps time (rule 33).
inline thread_local bool on_time_thread = false;

/// Rules 5 and 33: called from everything that is user code.
inline void expect_unlocked(char const* where) {
  if (on_time_thread) ADD_FAILURE() << "user code on the thread that keeps time: " << where;
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
    if (checked_mutex::held_here())
      ADD_FAILURE() << "a driver is told under a lock of ours";  // it has one of its own
    if (when < wake) wake = when;
  }
  void rouse(work_type& work, manual_clock::time_point when) {
    ensure(work);
    arm(when);
  }
  void close() noexcept { closed = true; }
  template <class Predicate>
  void await(Predicate over) noexcept {
    std::unique_lock lock(mutex_);
    told_.wait(lock, over);
  }
  void tell() noexcept {
    std::scoped_lock lock(mutex_);
    told_.notify_all();
  }

  static inline std::atomic<bool> refuse = false;  // "no thread to be had"
  static inline std::atomic<int> ensured = 0;
  manual_clock::time_point wake = manual_clock::time_point::max();
  bool closed = false;

 private:
  std::mutex mutex_;
  std::condition_variable told_;
};

struct manual_platform {
  using mutex = checked_mutex;
  using clock = manual_clock;
  using driver = manual_driver;
  static std::size_t shards() noexcept { return 2; }
  static void point(cacheflight::core_step step) noexcept {
    if (step == cacheflight::core_step::arm && before_arm()) before_arm()();
  }
  static constexpr bool forks = false;
  using thread_id = std::thread::id;
  static thread_id this_thread() noexcept { return std::this_thread::get_id(); }
  /// Called when this thread's caller is about to wait.
  static std::function<void()>& before_arm() {
    static thread_local std::function<void()> f;
    return f;
  }
};

using manual_group = cacheflight::basic_group<std::string, cacheflight::default_hash<std::string>,
                                              cacheflight::default_equal<std::string>, manual_platform>;

/// What the thread that keeps time does now, and nothing of what it leaves to helpers. Returns when it would
/// wake.
template <class Core>
manual_clock::time_point keep_time(Core& core) {
  bool const before = std::exchange(on_time_thread, true);
  manual_clock::time_point const next = core.run_due();
  on_time_thread = before;
  return next;
}
/// The same, and then what helpers do.
template <class Core>
manual_clock::time_point run_threads(Core& core) {
  core.driver().wake = manual_clock::time_point::max();
  core.driver().arm(keep_time(core));
  while (core.run_job()) {
  }
  return core.driver().wake;
}

/// Time passes, and the threads of the group would have woken.
template <class Group>
void pass(Group& flights, std::chrono::nanoseconds by) {
  manual_clock::advance(by);
  (void)run_threads(cacheflight::detail::access::core(flights));
}

}  // namespace cacheflight_test
