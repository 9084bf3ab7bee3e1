// SPDX-License-Identifier: MIT
#pragma once

/// What the core takes from its surroundings: clock, mutex, threads. Tests replace it.

#include <cacheflight/detail/short_mutex.hpp>
#include <cacheflight/detail/thread_driver.hpp>

#include <bit>
#include <chrono>
#include <cstddef>
#include <thread>

namespace cacheflight::inline v1 {

/// Where another thread's step could matter: before a transition of the core; under the lock, after a caller
/// that has not suspended yet was told that it is released, which it may see at once; and before steps that
/// need no lock.
enum class core_step {
  enter,      ///< A call joins or leads.
  arm,        ///< A caller is about to be suspended.
  settle,     ///< A task has answered.
  leave,      ///< A caller leaves.
  cancel,     ///< `cancel` of one key.
  supersede,  ///< `supersede`, of one key or one part of the table.
  clear,      ///< `clear`, one part of the table.
  close,      ///< `close`, or a drain begins, one part of the table.
  drain,      ///< A caller waits for the end of all; or that ends.
  release,    ///< A waiter is released; under the lock.
  stoppable,  ///< A task has started and can be asked to stop; without the lock.
};

/// What the core takes from its surroundings. Tests replace it: a clock moved by hand, a mutex that yields to
/// a schedule explorer.
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

  /// Whether groups stay usable in a child process after `fork()`. Needs a `driver` with `before_fork` and
  /// `after_fork`.
  static constexpr bool forks = true;

  using thread_id = std::thread::id;  ///< Tells threads apart.
  [[nodiscard]] static thread_id this_thread() noexcept {
    return std::this_thread::get_id();
  }  ///< The caller's.
};

}  // namespace cacheflight::inline v1
