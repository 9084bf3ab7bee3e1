// SPDX-License-Identifier: MIT
#pragma once

// What an operation leaves in its handler's cancellation slot.

#include <cacheflight/detail/asio/asio.hpp>

#include <exception>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// Calls `cancel()` of what it points to, for any kind of cancellation that there is.
template <class Pointer>
struct canceller {
  Pointer self;
  explicit canceller(Pointer to) noexcept : self(std::move(to)) {}
  void operator()(net::cancellation_type type) const noexcept {
    if ((type & net::cancellation_type::all) != net::cancellation_type::none) self->cancel();
  }
};

/// From here on `to` can be cancelled through `slot`. Returns what kept it from that: then it cannot be.
template <class Slot, class Pointer>
[[nodiscard]] std::exception_ptr let_cancel(Slot slot, Pointer to) noexcept {
  if (!slot.is_connected()) return nullptr;
  try {
    slot.template emplace<canceller<Pointer>>(std::move(to));
  } catch (...) {
    return std::current_exception();
  }
  return nullptr;
}

}  // namespace cacheflight::inline v1::detail::asio_front
