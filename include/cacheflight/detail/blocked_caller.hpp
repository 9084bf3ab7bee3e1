// SPDX-License-Identifier: MIT
#pragma once

// A caller that is a thread, and sleeps.

#include <cacheflight/detail/nesting.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/short_mutex.hpp>
#include <cacheflight/error.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

namespace cacheflight::inline v1::detail {

/// Where a thread sleeps, once. It may be destroyed as soon as `sleep` has returned: who wakes does not
/// touch it after unlocking, and the sleeper locks after that. Not one for each thread: a thread-local
/// that is destroyed takes memory that nobody can be told is missing, and is gone when other thread-locals
/// are destroyed (rule 38).
class parker {
 public:
  void sleep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return awake_; });
  }
  void wake() noexcept {
    std::scoped_lock lock(mutex_);
    awake_ = true;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool awake_ = false;
};

template <class P>
class blocked_caller final : public waiter<P> {
 public:
  /// `at`: the frame that waits.
  explicit blocked_caller(stack_address at) noexcept : waiter<P>(true), at_(at) {}
  ~blocked_caller() {
    if (this->joined()) [[unlikely]]
      unwound();
  }

  /// Returns when the outcome is there. Many are within a moment, in which no thread can be put to sleep and
  /// woken.
  void wait() {
    for (int turns = 0; turns < 64; ++turns) {
      if (core<P>::released(*this)) return;
      relax();
    }
    parker_.emplace();
    sleeps_ = core<P>::arm(*this);
    if (sleeps_) parker_->sleep();
    sleeps_ = false;
  }

  template <class T>
  [[nodiscard]] std::shared_ptr<T const> outcome() {
    finish_guard<P> const at_exit(*this);
    if (this->how_left() == departure::left) throw ready_made<caller_stopped_error>();
    return detail::outcome_of<T>(*this);
  }

 private:
  /// While its task ran or while it waited (rule 39): has left.
  [[gnu::noinline, gnu::cold]] void unwound() noexcept {
    if (core<P>::withdraw(*this)) return;
    if (sleeps_) parker_->sleep();  // it was released; who wakes it needs the parker
    core<P>::finish(*this);
  }

  [[nodiscard]] void const* place() const noexcept override { return &anywhere; }
  [[nodiscard]] bool hand_over(typename waiter<P>::waiters&) noexcept override {
    parker_->wake();
    return true;
  }

  [[nodiscard]] std::uintptr_t blocks_at() const noexcept override { return at_; }

  static constexpr char anywhere = 0;
  stack_address const at_;
  std::optional<parker> parker_;  // made when it goes to sleep
  bool sleeps_ = false;           // it will be woken
};

}  // namespace cacheflight::inline v1::detail
