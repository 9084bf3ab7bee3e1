// SPDX-License-Identifier: MIT
#pragma once

/// The errors of the library.

#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/type_identity.hpp>

#include <exception>
#include <string_view>
#include <system_error>
#include <utility>

namespace cacheflight::inline v1 {

/// Base of the errors that CacheFlight itself reports. An exception of the caller's task is never one of
/// these unless the task threw it: tasks' exceptions reach every waiter unchanged (contract rule 7).
///
/// `what()` is a fixed text and never contains the key (rule 32): it is safe to log. `key()` is there for
/// those who may see it. Making and copying one does not throw.
class CACHEFLIGHT_VISIBLE error : public std::exception {
 public:
  /// A fixed text, the same for every error of the type.
  [[nodiscard]] char const* what() const noexcept override { return what_; }

  /// The key of the call, for string-like keys; empty for keys of other types (see `key_as`), and when memory
  /// was too short to copy it.
  [[nodiscard]] std::string_view key() const noexcept { return key_.view.text; }

  /// The key of the call as an object of the group's key type; null if `Key` is another type or the key could
  /// not be copied.
  template <class Key>
  [[nodiscard]] Key const* key_as() const noexcept {
    return key_.view.as<Key>();
  }

 protected:
  /// For the library. `what` must live for ever.
  error(char const* what, detail::key_copy key) noexcept : what_(what), key_(std::move(key)) {}

 private:
  char const* what_;
  detail::key_copy key_;
};

/// Which of the two limits ran out (rules 17 and 18).
enum class CACHEFLIGHT_VISIBLE timeout_scope {
  flight,  ///< `timeout`: the task took too long. Every waiter of the flight gets this.
  wait     ///< `wait_timeout`: this caller did not want to wait any longer. Nobody else notices.
};

/// A time limit set through `options` or `run_options` ran out. A task's own exceptions never turn into this
/// (rule 19).
class CACHEFLIGHT_VISIBLE timeout_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  explicit timeout_error(timeout_scope scope, detail::key_copy key = {}) noexcept
      : error(
            scope == timeout_scope::flight
                ? "cacheflight: the task exceeded its timeout"
                : "cacheflight: the caller's wait_timeout ran out; the flight goes on if others wait for it",
            std::move(key)),
        scope_(scope) {}

  /// Whether the flight timed out or only this caller's wait did.
  [[nodiscard]] timeout_scope scope() const noexcept { return scope_; }

 private:
  timeout_scope scope_;
};

/// The call would have started a flight, but `options::max_keys` keys are in flight already (rule 21).
/// Joining always works.
class CACHEFLIGHT_VISIBLE max_keys_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  explicit max_keys_error(detail::key_copy key = {}) noexcept
      : error("cacheflight: max_keys flights are up; try again later or raise options::max_keys",
              std::move(key)) {}
};

/// The call would have started a flight, but its group is closed: `close()` or `drain()` was called (rule
/// 58). Joining works until the last flight has ended.
class CACHEFLIGHT_VISIBLE closed_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  explicit closed_error(detail::key_copy key = {}) noexcept
      : error("cacheflight: the group is closed and starts no flights any more", std::move(key)) {}
};

/// The call would wait for itself: a blocking `drain` inside what it waits for, a task or a callback (rule
/// 59).
class CACHEFLIGHT_VISIBLE deadlock_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  deadlock_error() noexcept
      : error("cacheflight: drain was called inside what it waits for: a task, a callback or an event", {}) {}
};

/// What has cancelled a flight.
enum class cancel_reason : unsigned char {
  cancel,    ///< `cancel(key)`.
  clear,     ///< `clear()`.
  drain,     ///< The time limit of a `drain`.
  destroyed  ///< Its group was destroyed.
};

/// The flight was cancelled: by `cancel(key)`, `clear()`, the end of a drain's time, or the group's
/// destruction (rule 13). Not to be
/// confused with "you were cancelled", which every front reports in its own ecosystem's words (rule 14).
class CACHEFLIGHT_VISIBLE cancelled_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  explicit cancelled_error(detail::key_copy key = {}, cancel_reason reason = cancel_reason::cancel)
      : error(reason == cancel_reason::cancel  ? "cacheflight: the flight was cancelled"
              : reason == cancel_reason::clear ? "cacheflight: the flight was cancelled by clear()"
              : reason == cancel_reason::drain
                  ? "cacheflight: the flight was cancelled: drain()'s time is over"
                  : "cacheflight: the flight was cancelled with its group",
              std::move(key)),
        reason_(reason) {}

  /// Who has cancelled it: a request to its key, to all keys, a drain that has waited enough, or the end of
  /// the group.
  [[nodiscard]] cancel_reason reason() const noexcept { return reason_; }

 private:
  cancel_reason reason_;
};

/// A flight for this key is up, but its task yields another type than this call's (rule 8). The flight is
/// untouched.
class CACHEFLIGHT_VISIBLE type_mismatch_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  explicit type_mismatch_error(detail::key_copy key = {}) noexcept
      : error(
            "cacheflight: a flight with another result type has this key; put what shapes the result into "
            "the key",
            std::move(key)) {}
};

/// The task can no longer answer: its coroutine was destroyed, its executor is gone, or its callback was
/// dropped (rule 9).
class CACHEFLIGHT_VISIBLE abandoned_error : public error {
 public:
  /// For the library, and for tests of code that handles it.
  explicit abandoned_error(detail::key_copy key = {}) noexcept
      : error("cacheflight: the task was destroyed before it answered", std::move(key)) {}
};

/// This caller was cancelled, through its own `std::stop_token`; the flight goes on if others wait for it.
/// Its code is `std::errc::operation_canceled`, but the type is its own, so that such an error of the task is
/// not taken for it (rule 14). The Asio front has `caller_cancelled_error` instead.
class CACHEFLIGHT_VISIBLE caller_stopped_error : public std::system_error {
 public:
  /// For the library, and for tests of code that handles it.
  caller_stopped_error()
      : std::system_error(std::make_error_code(std::errc::operation_canceled),
                          "cacheflight: this caller was stopped") {}
};

}  // namespace cacheflight::inline v1
