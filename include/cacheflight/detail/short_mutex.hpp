// SPDX-License-Identifier: MIT
#pragma once

// How a thread of ours waits for a moment, and the lock that does.

#include <atomic>
#include <chrono>
#include <thread>

#if defined(__linux__) && !defined(__ANDROID__)
#include <pthread.h>
#endif

namespace cacheflight::inline v1::detail {

/// Leaves the core to its other thread for a moment.
inline void relax() noexcept {
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__i386__))
  __builtin_ia32_pause();
#elif defined(__GNUC__) && (defined(__aarch64__) || defined(__arm__))
  asm volatile("yield");
#endif
}

/// Sleeps for a moment. No thread is cancelled meanwhile (rule 39): who waits for a lock of ours cannot be
/// unwound.
inline void rest(std::chrono::microseconds moment = std::chrono::microseconds(50)) noexcept {
#if defined(__linux__) && !defined(__ANDROID__)
  int before = PTHREAD_CANCEL_ENABLE;
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
#endif
  std::this_thread::sleep_for(moment);
#if defined(__linux__) && !defined(__ANDROID__)
  pthread_setcancelstate(before, nullptr);
#endif
}

/// For critical sections of a few dozen instructions, which is what a shard's are. Who finds it taken stays
/// away from it for a microsecond or so, and longer each time, then yields, then sleeps for short whiles. So
/// the other side makes several calls with the lock in its cache, instead of one each in turns; and a holder
/// that was preempted, whatever its priority, goes on. Taking it is one atomic exchange, giving it back a
/// store; `std::mutex` takes two exchanges and two calls.
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
      if (!taken_.load(std::memory_order_relaxed) && !taken_.exchange(true, std::memory_order_acquire))
        return;
    }
  }

  static constexpr int last_round = 20;
  std::atomic<bool> taken_{false};
};

}  // namespace cacheflight::inline v1::detail
