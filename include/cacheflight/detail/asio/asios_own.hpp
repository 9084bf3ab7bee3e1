// SPDX-License-Identifier: MIT
#pragma once

// Whether posting to an executor runs code of Asio's only.

#include <cacheflight/detail/asio/asio.hpp>

#include <cstdint>
#include <memory>
#include <type_traits>

namespace cacheflight::inline v1::detail::asio_front {

/// Whether posting there runs nobody's code but Asio's, as far as can be told: contexts of Asio's with the
/// standard allocator, and strands of them.
template <class Executor>
struct own_executor {
  [[nodiscard]] static bool holds_for(Executor const&) noexcept { return false; }
};
template <class Executor>
[[nodiscard]] bool asios_own(Executor const& ex) noexcept {
  return own_executor<Executor>::holds_for(ex);
}

template <std::uintptr_t Bits>
struct own_executor<net::io_context::basic_executor_type<std::allocator<void>, Bits>> {
  [[nodiscard]] static bool holds_for(
      net::io_context::basic_executor_type<std::allocator<void>, Bits> const&) noexcept {
    return true;
  }
};
template <unsigned int Bits>
struct own_executor<net::thread_pool::basic_executor_type<std::allocator<void>, Bits>> {
  [[nodiscard]] static bool holds_for(
      net::thread_pool::basic_executor_type<std::allocator<void>, Bits> const&) noexcept {
    return true;
  }
};
template <class Blocking, class Relationship>
struct own_executor<net::basic_system_executor<Blocking, Relationship, std::allocator<void>>> {
  [[nodiscard]] static bool holds_for(
      net::basic_system_executor<Blocking, Relationship, std::allocator<void>> const&) noexcept {
    return true;
  }
};
template <class Inner>
struct own_executor<net::strand<Inner>> {
  [[nodiscard]] static bool holds_for(net::strand<Inner> const& ex) noexcept {
    return asios_own(ex.get_inner_executor());
  }
};
template <>
struct own_executor<net::any_io_executor> {
  [[nodiscard]] static bool holds_for(net::any_io_executor const& ex) noexcept {
    using io = net::io_context::executor_type;
    using pool = net::thread_pool::executor_type;
    using property = net::execution::outstanding_work_t::tracked_t;
    return holds<io, pool, net::system_executor,
                 std::decay_t<typename net::require_result<io, property>::type>,
                 std::decay_t<typename net::require_result<pool, property>::type>, net::any_io_executor>(ex);
  }

 private:
  template <class... Inner>
  [[nodiscard]] static bool holds(net::any_io_executor const& ex) noexcept {
    return ((is<Inner>(ex) || is<net::strand<Inner>>(ex)) || ...);
  }
  template <class Target>
  [[nodiscard]] static bool is(net::any_io_executor const& ex) noexcept {
    auto const* const target = ex.target<Target>();
    return target && asios_own(*target);
  }
};

}  // namespace cacheflight::inline v1::detail::asio_front
