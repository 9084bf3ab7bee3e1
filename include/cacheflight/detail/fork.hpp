// SPDX-License-Identifier: MIT
#pragma once

// What stays usable in a child process after fork() (rule 38): only the thread that has called it goes on
// there, and what other threads had half done stays half done. So all locks are taken before, by that thread.

#include <cacheflight/detail/list.hpp>
#include <cacheflight/detail/process.hpp>

#include <atomic>
#include <mutex>
#include <new>

#if __has_include(<pthread.h>) && !defined(_WIN32)
#include <pthread.h>
#define CACHEFLIGHT_FORKS
#endif

namespace cacheflight::inline v1::detail {

/// What takes part in a fork while it is in the list of the process.
class forkable : list_node {
 public:
  /// Takes all locks.
  virtual void before_fork() noexcept = 0;
  /// Gives them back. `child`: in the new process, where no other thread is.
  virtual void after_fork(bool child) noexcept = 0;
  virtual ~forkable() = default;

 protected:
  forkable() = default;

  /// Throws `std::bad_alloc`.
  void join_forks() {
#ifdef CACHEFLIGHT_FORKS
    std::scoped_lock lock(all().mutex);
    if (!all().registered) {
      if (pthread_atfork([] { before(); }, [] { after(false); }, [] { after(true); }) != 0)
        throw std::bad_alloc();
      all().registered = true;
    }
    all().list.push_back(*this);
#endif
  }
  void leave_forks() noexcept {
#ifdef CACHEFLIGHT_FORKS
    std::scoped_lock lock(all().mutex);
    if (this->linked()) this->unlink();
#endif
  }

 private:
#ifdef CACHEFLIGHT_FORKS
  /// Held while a group is made or ends, and during a fork.
  class registry_mutex {
   public:
    void lock() noexcept {
      while (taken_.exchange(true, std::memory_order_acquire)) taken_.wait(true, std::memory_order_relaxed);
    }
    void unlock() noexcept {
      taken_.store(false, std::memory_order_release);
      taken_.notify_one();
    }

   private:
    std::atomic<bool> taken_{false};
  };
  struct registry {
    registry_mutex mutex;
    bool registered = false;
    detail::list<forkable> list;
  };
  /// Made with the first group, and never destroyed.
  [[nodiscard]] static registry& all() noexcept {
    alignas(registry) static constinit unsigned char memory[sizeof(registry)] = {};
    static registry* const one = ::new (static_cast<void*>(memory)) registry;
    return *one;
  }
  template <class F>
  static void for_each(F&& f) noexcept {
    detail::list<forkable> seen;
    while (forkable* const one = all().list.pop_front()) {
      f(*one);
      seen.push_back(*one);
    }
    all().list.splice(seen);
  }
  static void before() noexcept {
    all().mutex.lock();
    for_each([](forkable& one) { one.before_fork(); });
  }
  static void after(bool child) noexcept {
    for_each([child](forkable& one) { one.after_fork(child); });
    all().mutex.unlock();
  }
#endif
  friend class detail::list<forkable>;
};

/// Has `of` take part while it lives.
template <class Core>
class fork_handler final : forkable {
 public:
  /// Throws `std::bad_alloc`.
  explicit fork_handler(Core& of) : of_(of) { this->join_forks(); }
  ~fork_handler() override { this->leave_forks(); }

 private:
  void before_fork() noexcept override { of_.before_fork(); }
  void after_fork(bool child) noexcept override { of_.after_fork(child); }
  Core& of_;
};

}  // namespace cacheflight::inline v1::detail
