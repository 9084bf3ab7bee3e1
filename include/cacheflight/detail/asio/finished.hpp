// SPDX-License-Identifier: MIT
#pragma once

// How `co_spawn` is told that a task's coroutine has nobody to call.

#include <cacheflight/detail/asio/asio.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

template <class Flight>
struct release_flight {
  void operator()(Flight* f) const noexcept { Flight::core_type::release(*f); }
};
template <class Flight>
using flight_reference = std::unique_ptr<Flight, release_flight<Flight>>;

/// An asynchronous operation that completes inside its initiation.
struct at_once {
  struct initiation {
    template <class Handler>
    void operator()(Handler&& handler) const {
      std::decay_t<Handler> taken(std::forward<Handler>(handler));
      std::move(taken)();
    }
  };
  template <class Token>
  auto operator()(Token&& token) const
      -> decltype(net::async_initiate<Token, void()>(std::declval<initiation>(), token)) {
    return net::async_initiate<Token, void()>(initiation(), token);
  }
};

/// Completion handler of a task's coroutine: keeps the signal as long as the coroutine. See
/// `associated_executor` below.
template <class Flight>
struct finished {
  using cancellation_slot_type = net::cancellation_slot;
  flight_reference<Flight> flight;
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept {
    return flight->signal_.slot();
  }
  void operator()(std::exception_ptr) noexcept {}
};

}  // namespace cacheflight::inline v1::detail::asio_front

/// A finished task has nobody to call, so it needs no turn of anybody's: `co_spawn` calls the handler where
/// it is, rather than keep work for the task's executor and dispatch to it. As for a handler without an
/// executor, a cancellation is emitted at once, here on the task's executor, instead of being dispatched
/// there as a raw pointer.
template <class Flight, class Otherwise>
struct cacheflight::detail::asio_front::net::associated_executor<
    cacheflight::detail::asio_front::finished<Flight>, Otherwise> {
  using asio_associated_executor_is_unspecialised = void;
  using type = cacheflight::detail::asio_front::net::system_executor;
  [[nodiscard]] static type get(cacheflight::detail::asio_front::finished<Flight> const&) noexcept {
    return {};
  }
  [[nodiscard]] static type get(cacheflight::detail::asio_front::finished<Flight> const&,
                                Otherwise const&) noexcept {
    return {};
  }
};
