// SPDX-License-Identifier: MIT
#pragma once

/// The books of a group: `basic_group::stats()`.

#include <cstddef>
#include <cstdint>

namespace cacheflight::inline v1 {

/// The books of a group (rule 23). When no call is in progress they balance: `misses == started +
/// max_keys_rejected + closed_rejected` and `started == resolved + rejected + timed_out + cancelled`.
struct statistics {
  std::uint64_t hits = 0;               ///< Calls that joined a flight.
  std::uint64_t misses = 0;             ///< Calls that found none.
  std::uint64_t started = 0;            ///< Flights admitted.
  std::uint64_t resolved = 0;           ///< Flights that ended with a value,
  std::uint64_t rejected = 0;           ///< with the task's exception, or abandoned,
  std::uint64_t timed_out = 0;          ///< by their timeout,
  std::uint64_t cancelled = 0;          ///< by `cancel`, `clear`, `drain`, or when the last waiter left.
  std::uint64_t max_keys_rejected = 0;  ///< Misses refused at the cap.
  std::uint64_t closed_rejected = 0;    ///< Misses refused because the group is closed (rule 58).
  std::uint64_t type_mismatches =
      0;  ///< Calls refused because the flight's result type differs; neither hits nor misses.
  std::uint64_t callback_failures = 0;  ///< Times that `on_event` threw.
  std::size_t in_flight = 0;            ///< Joinable flights now.
  std::size_t superseded = 0;           ///< Flights that nobody can join any more and that go on (rule 49).
  std::size_t waiters = 0;              ///< Callers waiting for both.
  std::size_t detached = 0;             ///< Tasks that were asked to stop and have not unwound yet.
};

}  // namespace cacheflight::inline v1
