// SPDX-License-Identifier: MIT
#pragma once

/// What `options::on_event` is told.

#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/process.hpp>

#include <any>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <string_view>

namespace cacheflight::inline v1 {

/// What happened. For one flight, in this order whatever the threads do: `miss`, `task_started`, then exactly
/// one of `task_resolved`, `task_rejected`, `task_timed_out`, `task_cancelled` (rule 22).
enum class event_type : std::uint8_t {
  hit,   ///< A caller joined a flight. Before the flight's last event, and before that call completes.
  miss,  ///< A caller found no flight for its key.
  task_started,       ///< The flight is admitted. It may be cancelled before its task runs.
  task_resolved,      ///< The task returned a value.
  task_rejected,      ///< The task threw, or was abandoned. `event::error` says what.
  task_timed_out,     ///< `timeout` ran out.
  task_cancelled,     ///< `cancel`, `clear`, `drain`, the group's destruction, or the last waiter left.
  max_keys_rejected,  ///< The miss was refused: `max_keys` flights are up. `event::flight_id` is 0.
  closed_rejected,    ///< The miss was refused: the group is closed. `event::flight_id` is 0.
};

/// The event's name, spelled as the enumerator.
[[nodiscard]] constexpr char const* to_string(event_type type) noexcept {
  switch (type) {
    case event_type::hit: return "hit";
    case event_type::miss: return "miss";
    case event_type::task_started: return "task_started";
    case event_type::task_resolved: return "task_resolved";
    case event_type::task_rejected: return "task_rejected";
    case event_type::task_timed_out: return "task_timed_out";
    case event_type::task_cancelled: return "task_cancelled";
    case event_type::max_keys_rejected: return "max_keys_rejected";
    case event_type::closed_rejected: return "closed_rejected";
  }
  return "unknown";
}

/// What `options::on_event` is called with. Views: everything in it is valid during the callback only (rule
/// 24).
///
/// Never log `key` or `metadata` as they are if they can hold secrets or personal data: redact first.
struct event {
  event_type type;  ///< What happened; says which of the members below mean something.
  /// The key, for string-like keys; empty for keys of other types (see `key_as`). Arbitrary bytes.
  std::string_view key;
  /// Unique within the group; 0 if there is no flight.
  std::uint64_t flight_id;
  /// How many callers wait for the flight: after the join for `hit`, when it settled for the last event.
  std::size_t waiters;
  /// From the leader's call to the end of the flight; zero for events that are not a flight's last.
  std::chrono::nanoseconds duration;
  /// `task_rejected`: the exception that every waiter gets. Null otherwise.
  std::exception_ptr const& error;
  /// `run_options::metadata` of the call whose event it is: the leader's on a flight's own events, the
  /// joiner's on its `hit`.
  std::any const& metadata;

  /// The key as an object of the group's key type; null if `Key` is another type.
  template <class Key>
  [[nodiscard]] Key const* key_as() const noexcept {
    return key_object.as<Key>();
  }

  detail::key_view key_object;  ///< Behind `key` and `key_as`.

  /// The metadata of the call that leads the flight, on all of its events: on a `hit` beside the joiner's
  /// own, so that a trace can link the two (rule 47). Empty if there is no flight.
  std::any const& leader_metadata = detail::nothing<std::any>.object;
};

}  // namespace cacheflight::inline v1
