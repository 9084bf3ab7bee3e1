// SPDX-License-Identifier: MIT
#pragma once

/// What a task can ask about its flight while it runs.

#include <cacheflight/detail/flight_view.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

namespace cacheflight::inline v1 {

/// A task whose first parameter is one gets it, as it would get a `std::stop_token` (rule 48); one that could
/// take either gets the token. (A task that answers through a `completion` has its stop token there.)
///
/// It can be copied, and asked at any time from any thread. What it answers changes as callers come and go.
/// It may outlive its flight, and keeps neither that nor its group, key or result; it knows nothing then.
/// Making one takes memory: without, the flight ends with `std::bad_alloc`.
class task_context {
 public:
  /// Of no flight.
  task_context() noexcept = default;

  /// The task is to stop: what it would have got instead of this. In Asio it is requested on the task's own
  /// executor (rule 45).
  [[nodiscard]] std::stop_token const& stop_token() const noexcept { return stop_; }

  /// As in `event::flight_id`; 0 if there is no flight.
  [[nodiscard]] std::uint64_t flight_id() const noexcept { return view_ ? view_->id() : 0; }

  /// How many callers wait now; 0 when the flight has ended.
  [[nodiscard]] std::size_t waiters() const noexcept { return view_ ? view_->read().waiters : 0; }

  /// The latest moment at which anybody who waits now still will: work that cannot be done by then need not
  /// begin, and a statement that the task sends may be limited by it. That is the flight's own timeout, or
  /// the last of the callers' `wait_timeout`s if that is sooner; empty if somebody waits without limit, or
  /// when the flight has ended. A caller who comes later may wait longer. Among more than 64 callers it is
  /// taken for granted that one has no limit. By the group's clock. Linear in the number of callers up to
  /// that.
  [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> deadline() const noexcept {
    return view_ ? view_->read().deadline : std::nullopt;
  }

  /// For the library.
  [[nodiscard]] std::shared_ptr<detail::flight_view> const& view() const noexcept { return view_; }
  /// For the library.
  task_context(std::stop_token stop, std::shared_ptr<detail::flight_view> view) noexcept
      : stop_(std::move(stop)), view_(std::move(view)) {}

 private:
  std::stop_token stop_{};
  std::shared_ptr<detail::flight_view> view_;
};

}  // namespace cacheflight::inline v1
