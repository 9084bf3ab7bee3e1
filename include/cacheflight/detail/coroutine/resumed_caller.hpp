// SPDX-License-Identifier: MIT
#pragma once

// A coroutine that waits, and is resumed by who ends its wait, or by a scheduler.

#include <cacheflight/detail/turns.hpp>
#include <cacheflight/detail/unwinding.hpp>

#include <coroutine>
#include <exception>
#include <stdexcept>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::coroutine_front {

struct no_scheduler {};

/// Lives in the frame of the coroutine that it resumes.
template <class P, class Scheduler>
class resumed_caller : public inline_caller<P> {
 protected:
  static constexpr bool takes_turns = std::is_same_v<Scheduler, no_scheduler>;

  explicit resumed_caller(Scheduler s) : scheduler_(std::move(s)) {}
  ~resumed_caller() = default;

  [[nodiscard]] void const* place() const noexcept override {
    // Who is resumed by a scheduler may destroy others that are about to be.
    if constexpr (takes_turns) return inline_caller<P>::place();
    else return nullptr;
  }
  [[nodiscard]] bool hand_over(typename waiter<P>::waiters& others) noexcept override {
    if constexpr (takes_turns) {
      this->queue_turns(others);
    } else {
      if (this->is_starting_here()) return true;
      try {
        auto scheduler = scheduler_;
        scheduler([caller = caller_]() noexcept { caller.resume(); });
      } catch (...) {
        if (unwinding())
          std::terminate();  // it cannot pass through who ends the wait, and would be lost here
        return false;
      }
    }
    return true;
  }
  void take_turn() noexcept override { caller_.resume(); }

  /// It waits from here on. Throws `std::logic_error` the second time.
  void waits(std::coroutine_handle<> caller, char const* twice) {
    if (caller_) throw std::logic_error(twice);
    caller_ = caller;
  }

  std::coroutine_handle<> caller_;
  [[no_unique_address]] Scheduler scheduler_;
};

}  // namespace cacheflight::inline v1::detail::coroutine_front
