// SPDX-License-Identifier: MIT
#pragma once

// Who settles a flight whose task was handed to an executor: one, once (rule 9).

#include <atomic>
#include <utility>

namespace cacheflight::inline v1::detail {

/// Who settles a flight whose task was handed to something that may run it, refuse it, drop it, or (a strand
/// of Asio's) keep it after having refused it. Whoever is told `true` settles; exactly one is.
class launch {
 public:
  /// The task is about to run. False: the flight has been settled without it; do nothing.
  [[nodiscard]] bool begin() noexcept {
    state before = state::starting;
    return state_.compare_exchange_strong(before, state::running, std::memory_order_acq_rel) ||
           (before == state::started &&
            state_.compare_exchange_strong(before, state::running, std::memory_order_acq_rel));
  }

  /// The task, running or not, was destroyed. True: its flight is abandoned.
  [[nodiscard]] bool dropped() noexcept {
    state before = state::starting;
    if (state_.compare_exchange_strong(before, state::lost, std::memory_order_acq_rel))
      return false;  // `handed_over` will tell
    return state_.exchange(state::settled, std::memory_order_acq_rel) != state::settled;
  }

  /// The task has answered. True: for the first time.
  [[nodiscard]] bool answered() noexcept {
    return state_.exchange(state::settled, std::memory_order_acq_rel) != state::settled;
  }

  /// The attempt to hand the task over is through. True: it will never run; settle as refused, or as
  /// abandoned if it was not refused.
  [[nodiscard]] bool handed_over(bool refused) noexcept {
    state before = state::starting;
    if (state_.compare_exchange_strong(before, refused ? state::settled : state::started,
                                       std::memory_order_acq_rel))
      return refused;
    return before == state::lost;
  }

 private:
  enum class state : unsigned char { starting, started, running, lost, settled };
  std::atomic<state> state_{state::starting};
};

/// What the function object or coroutine frame that runs a task holds of its flight. If it is destroyed
/// before it has settled, the task can no longer answer.
template <class Flight>
class task_reference {
 public:
  explicit task_reference(Flight* flight) noexcept : flight_(flight) { flight_->retain(); }
  task_reference(task_reference&& other) noexcept : flight_(std::exchange(other.flight_, nullptr)) {}
  task_reference& operator=(task_reference&&) = delete;
  ~task_reference() {
    if (!flight_) return;
    flight_->dropped();
    Flight::core_type::release(*flight_);
  }
  [[nodiscard]] Flight* operator->() const noexcept { return flight_; }

 private:
  Flight* flight_;
};

}  // namespace cacheflight::inline v1::detail
