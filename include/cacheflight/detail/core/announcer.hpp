// SPDX-License-Identifier: MIT
#pragma once

// Events on their way to the user's callback (rules 19, 22, 24, 25). When one is due is decided where its
// cause is, in core.hpp and telling.hpp.

#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/error.hpp>
#include <cacheflight/event.hpp>
#include <cacheflight/options.hpp>

#include <any>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>

namespace cacheflight::inline v1::detail {

template <class P>
class announcer {
 public:
  /// Keeps a reference to the callback.
  explicit announcer(options const& of) noexcept : callback_(of.on_event()) {}

  /// An event that is not a flight's last; `leaders`: the metadata of the flight's leader (rule 47). What the
  /// callback throws is counted, and passes nobody (rule 25).
  void deliver(event_type type, key_view key, std::uint64_t id, std::size_t waiters, std::any const& metadata,
               std::any const& leaders) noexcept {
    deliver(type, key, id, waiters, {}, nothing<std::exception_ptr>.object, metadata, leaders);
  }

  /// The last event of a flight, by its cause and not by the exception's type (rules 19 and 22).
  void deliver_last(flight<P>& f) noexcept {
    auto const end = [&](event_type type, std::exception_ptr const& error) {
      deliver(type, f.key(), f.id_, f.waiters_, P::clock::now() - f.started_, error, metadata_of(f),
              metadata_of(f));
    };
    switch (f.why()) {
      case cause::resolved: end(event_type::task_resolved, nothing<std::exception_ptr>.object); break;
      case cause::timed_out: end(event_type::task_timed_out, nothing<std::exception_ptr>.object); break;
      case cause::cancelled:
      case cause::cleared:
      case cause::drained:
      case cause::destroyed: end(event_type::task_cancelled, nothing<std::exception_ptr>.object); break;
      case cause::rejected: end(event_type::task_rejected, f.exception_); break;
      default: end(event_type::task_rejected, std::make_exception_ptr(abandoned_error(f.copy_key()))); break;
    }
  }

  [[nodiscard]] static std::any const& metadata_of(flight<P> const& f) noexcept {
    return f.metadata_ ? *f.metadata_ : nothing<std::any>.object;
  }

  /// A callback of the user's threw: this one, or a caller's (rule 25).
  void callback_failed() noexcept { failures_.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t callback_failures() const noexcept {
    return failures_.load(std::memory_order_relaxed);
  }

 private:
  void deliver(event_type type, key_view key, std::uint64_t id, std::size_t waiters,
               std::chrono::nanoseconds duration, std::exception_ptr const& error, std::any const& metadata,
               std::any const& leaders) noexcept {
    try {
      callback_(event{type, key.text, id, waiters, duration, error, metadata, key, leaders});
    } catch (...) {
      if (detail::unwinding())
        std::terminate();  // it cannot pass: its flight is still to be told, and its callers
      callback_failed();
    }
  }

  std::function<void(event const&)> const& callback_;
  std::atomic<std::uint64_t> failures_{0};
};

}  // namespace cacheflight::inline v1::detail
