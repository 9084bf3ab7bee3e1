// SPDX-License-Identifier: MIT
#pragma once

// `async_drain`: how the operation is initiated.

#include <cacheflight/detail/asio/relayed_caller.hpp>
#include <cacheflight/group.hpp>

#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

template <class P, class IoExecutor>
struct initiate_drain {
  core<P>* of;
  IoExecutor io;

  using executor_type = IoExecutor;
  [[nodiscard]] executor_type get_executor() const noexcept { return io; }

  template <class Handler>
  void operator()(Handler&& handler, limit timeout) const {
    auto* const self =
        make_handler_caller<P, whether_drained>(std::decay_t<Handler>(std::forward<Handler>(handler)), io);
    std::exception_ptr failure;
    try {
      of->drain(*self, std::make_unique<drain_flight<P>>(), timeout, false);
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) self->fail(std::move(failure));
    else self->go();
  }
};

template <class P, class Executor, class Token>
auto start_drain(core<P>& of, Executor const& ex, limit timeout, Token&& token) {
  return net::async_initiate<Token, void(std::exception_ptr, bool)>(initiate_drain<P, Executor>{&of, ex},
                                                                    token, timeout);
}

}  // namespace cacheflight::inline v1::detail::asio_front
