// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <utility>

#if defined(__linux__) && !defined(__ANDROID__)
#include <pthread.h>
#endif

namespace cacheflight::inline v1 {

/// What a deadline driver drives: the core.
template <class Clock>
class deadline_work {
 public:
  using time_point = typename Clock::time_point;  ///< Of the platform's clock.
  /// Does what is due now; returns when the next thing is due, `time_point::max()` if nothing is.
  virtual time_point run_due() noexcept = 0;
  /// Keeps this alive until it is released.
  virtual void retain() noexcept = 0;
  /// Lets go, possibly destroying the driver that calls it.
  virtual void release() noexcept = 0;

 protected:
  ~deadline_work() = default;
};

namespace detail {

/// Leaves the core to its other thread for a moment.
inline void relax() noexcept {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
  __builtin_ia32_pause();
#elif defined(__GNUC__) && (defined(__aarch64__) || defined(__arm__))
  asm volatile("yield");
#endif
}

/// Sleeps for a moment. No thread is cancelled meanwhile (rule 39): who waits for a lock of ours cannot be unwound.
inline void rest() noexcept {
#if defined(__linux__) && !defined(__ANDROID__)
  int before = PTHREAD_CANCEL_ENABLE;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
#endif
  std::this_thread::sleep_for(std::chrono::microseconds(50));
#if defined(__linux__) && !defined(__ANDROID__)
  pthread_setcancelstate(before, nullptr);
#endif
}

/// For critical sections of a few dozen instructions, which is what a shard's are. Who finds it taken stays away from it
/// for a microsecond or so, and longer each time, then yields, then sleeps for short whiles. So the other side makes
/// several calls with the lock in its cache, instead of one each in turns; and a holder that was preempted, whatever its
/// priority, goes on. Taking it is one atomic exchange, giving it back a store; `std::mutex` takes two exchanges and two
/// calls.
class short_mutex {
 public:
  short_mutex() = default;
  short_mutex(short_mutex const&) = delete;
  short_mutex& operator=(short_mutex const&) = delete;

  void lock() noexcept {
    if (taken_.exchange(true, std::memory_order_acquire)) [[unlikely]]
      wait();
  }
  void unlock() noexcept { taken_.store(false, std::memory_order_release); }

 private:
  [[gnu::noinline, gnu::cold]] void wait() noexcept {
    for (int round = 0;; round += round < last_round) {
      if (round < 4)
        for (int i = 0; i < 64 << round; ++i) relax();
      else if (round < last_round) std::this_thread::yield();
      else rest();
      if (!taken_.load(std::memory_order_relaxed) && !taken_.exchange(true, std::memory_order_acquire)) return;
    }
  }

  static constexpr int last_round = 20;
  std::atomic<bool> taken_{false};
};

}  // namespace detail

/// One thread that sleeps until the next deadline; started when the first is armed.
template <class Clock>
class thread_driver {
 public:
  using time_point = typename Clock::time_point;  ///< Of the platform's clock.

  /// Starts the thread if it is not up. Throws `std::system_error` if it cannot be started. The work, and this with it,
  /// lives as long as the thread.
  void ensure(deadline_work<Clock>& work) {
    if (up_.load(std::memory_order_acquire)) return;
    std::scoped_lock lock(mutex_);
    start(work);
  }

  /// `ensure` and `arm` in one step: for what can come after `close`, when the thread may be about to end.
  void rouse(deadline_work<Clock>& work, time_point when) {
    std::scoped_lock lock(mutex_);
    start(work);
    bring_forward(when);
  }

  /// Something is due at `when`. Cheap unless that is earlier than what the thread sleeps for. Call it after the
  /// deadline can be seen by `run_due`: the thread announces "wake me for anything" before it looks, so a deadline is
  /// either seen or wakes it.
  void arm(time_point when) noexcept {
    if (when >= wake_.load(std::memory_order_acquire)) return;
    std::scoped_lock lock(mutex_);
    bring_forward(when);
  }

  /// Nothing will be armed any more. Returns when no user code runs on the thread, unless called on it. If refused
  /// hand-overs are still to be tried again, the thread stays for them and ends by itself.
  void close() noexcept {
    std::unique_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
    std::thread thread = std::move(thread_);
    if (!thread.joinable()) return;
    if (thread.get_id() == std::this_thread::get_id()) return thread.detach();
    changed_.wait(lock, [&] { return done_ || lingers_; });
    bool const done = done_;
    lock.unlock();  // what ends with the thread may still arm
    if (done) thread.join();
    else thread.detach();
  }

 private:
  /// Under the lock.
  void bring_forward(time_point when) noexcept {
    if (when >= wake_.load(std::memory_order_relaxed)) return;
    wake_.store(when, std::memory_order_release);
    changed_.notify_all();
  }

  void start(deadline_work<Clock>& work) {
    if (up_.load(std::memory_order_relaxed)) return;
    work.retain();
    try {
      thread_ = std::thread([this, &work]() noexcept { loop(work); });
    } catch (...) {
      work.release();
      throw;
    }
    if (closed_) thread_.detach();  // started for what was refused after the group went: it ends by itself
    up_.store(true, std::memory_order_release);
  }

  void loop(deadline_work<Clock>& work) noexcept {
    for (bool last_rounds = false;;) {
      wake_.store(time_point::max(), std::memory_order_release);
      time_point const next = work.run_due();
      std::unique_lock lock(mutex_);
      if (next < wake_.load(std::memory_order_relaxed)) wake_.store(next, std::memory_order_release);
      if (closed_) {
        if (!std::exchange(last_rounds, true)) continue;  // this round's answer may be older than close()
        if (wake_.load(std::memory_order_relaxed) == time_point::max()) {
          up_.store(false, std::memory_order_relaxed);
          done_ = true;
          changed_.notify_all();
          break;
        }
        lingers_ = true;
        changed_.notify_all();
      }
      while (closed_ == lingers_) {
        time_point const wake = wake_.load(std::memory_order_relaxed);
        if (wake == time_point::max()) changed_.wait(lock);
        else if (Clock::now() < wake) changed_.wait_until(lock, wake);
        else break;
      }
    }
    work.release();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::atomic<time_point> wake_{time_point::max()};
  std::atomic<bool> up_{false};
  std::thread thread_;
  bool closed_ = false, lingers_ = false, done_ = false;
};

/// Where another thread's step could matter: before a transition of the core; under the lock, after a caller that has
/// not suspended yet was told that it is released, which it may see at once; and before steps that need no lock.
enum class core_step {
  enter,      ///< A call joins or leads.
  arm,        ///< A caller is about to be suspended.
  settle,     ///< A task has answered.
  leave,      ///< A caller leaves.
  cancel,     ///< `cancel` of one key.
  clear,      ///< `clear`, one part of the table.
  release,    ///< A waiter is released; under the lock.
  stoppable,  ///< A task has started and can be asked to stop; without the lock.
};

/// What the core takes from its surroundings. Tests replace it: a clock moved by hand, a mutex that yields to a
/// schedule explorer.
struct std_platform {
  using mutex = detail::short_mutex;        ///< Guards one part of the table.
  using clock = std::chrono::steady_clock;  ///< What deadlines and durations are measured with.
  using driver = thread_driver<clock>;      ///< Calls `deadline_work::run_due` when something is due.

  /// How many independently locked parts a group's table has: a power of two.
  [[nodiscard]] static std::size_t shards() noexcept {
    static std::size_t const count = std::bit_ceil(std::size_t{std::thread::hardware_concurrency()} * 4 + 1);
    return count < 8 ? 8 : count > 256 ? 256 : count;
  }

  /// Called before each step.
  static void point(core_step) noexcept {}
};

}  // namespace cacheflight::inline v1
