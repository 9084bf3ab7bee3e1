// SPDX-License-Identifier: MIT
#pragma once

/// A stop request for tasks that compute: a flag to ask for it.

#include <stop_token>
#include <utility>

namespace cacheflight::inline v1 {

/// Whether a task is to stop, for a task that computes and polls: it is set at once, by whatever thread ends
/// the flight. A task whose first parameter is one gets it, as it would get a `std::stop_token`. No callback
/// can be hung on it, so nothing of the task's ever runs elsewhere because of it.
///
/// In Asio a `std::stop_token` is requested on the task's own executor instead, where its callbacks are safe
/// (rule 45); a task that occupies that executor would never see it.
class stop_flag {
 public:
  /// Never set.
  stop_flag() noexcept = default;
  /// Set when `token` is.
  explicit stop_flag(std::stop_token token) noexcept : token_(std::move(token)) {}

  /// The task is to stop. Any thread may ask.
  [[nodiscard]] bool stop_requested() const noexcept { return token_.stop_requested(); }

 private:
  std::stop_token token_;
};

}  // namespace cacheflight::inline v1
