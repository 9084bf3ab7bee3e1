// SPDX-License-Identifier: MIT
#pragma once

// Strands: whether an executor is one, and how to reach it so that a refusal leaves it whole; and whether
// posting to an executor runs code of Asio's only.

#include <cacheflight/detail/asio/asio.hpp>

#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// Whether functions on an executor never run at the same time, as far as can be told.
template <class Executor>
inline constexpr bool is_strand = false;
template <class Inner>
inline constexpr bool is_strand<net::strand<Inner>> = true;

/// Calls `f` with the strand that `ex` is, or with `ex`.
///
/// A strand of Asio's queues a function before it asks its inner executor to run it, and is stuck for good if
/// that throws. So whatever goes to a strand from elsewhere is first posted to the inner executor, which
/// refuses cleanly, and dispatched to the strand from there, where only the allocation before the queueing
/// can throw.
template <class Executor, class F>
auto with_strand(Executor const& ex, F&& f) {
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    if (auto const* io = ex.template target<net::strand<net::io_context::executor_type>>()) return f(*io);
    if (auto const* pool = ex.template target<net::strand<net::thread_pool::executor_type>>())
      return f(*pool);
    if (auto const* any = ex.template target<net::strand<net::any_io_executor>>()) return f(*any);
  }
  return f(ex);
}

/// A function on its way to a strand, in its inner executor's queue. `F` has `attempt()`: an object that is
/// made before the strand is given the function, and whose `refused()` is called in the handler of what that
/// threw. It throws that on if it is the function's own.
template <class Strand, class F>
struct on_its_way {
  Strand strand;
  F f;
  void operator()() {
    auto attempt = f.attempt();
    try {
      net::dispatch(strand, std::move(f));
    } catch (...) {
      attempt.refused();
    }
  }
};

/// Posts `f` to `ex`; as said above if that is a strand. Throws what refuses it, which has then destroyed it.
template <class Executor, class F>
void post_by_strand(Executor const& ex, F f) {
  asio_front::with_strand(ex, [&]<class Found>(Found const& found) {
    if constexpr (is_strand<Found>)
      net::post(found.get_inner_executor(), on_its_way<Found, F>{found, std::move(f)});
    else net::post(found, std::move(f));
  });
}

/// Whether this is a thread of `ex`'s context, as far as can be told: what is dispatched runs at once.
template <class Executor>
[[nodiscard]] bool runs_here(Executor const& ex) noexcept {
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    if (auto const* io = ex.template target<net::io_context::executor_type>())
      return io->running_in_this_thread();
    if (auto const* pool = ex.template target<net::thread_pool::executor_type>())
      return pool->running_in_this_thread();
  } else if constexpr (requires { ex.running_in_this_thread(); }) {
    return ex.running_in_this_thread();
  }
  return false;
}

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

/// Where a task runs, and is asked to stop (rule 45).
template <class Executor>
struct serialized {
  Executor executor;    ///< `ex`, or a strand on it.
  bool serial = false;  ///< `executor` is a strand.

  explicit serialized(Executor ex) : executor(std::move(ex)) {
    if constexpr (is_strand<Executor>) {
      serial = true;
    } else if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
      serial = true;
      if (auto const* io = executor.template target<net::io_context::executor_type>()) {
        executor = net::make_strand(*io);
      } else if (asio_front::with_strand(executor,
                                         []<class Found>(Found const&) { return is_strand<Found>; })) {
        // is one already
      } else if (auto const* pool = executor.template target<net::thread_pool::executor_type>()) {
        executor = net::make_strand(*pool);
      } else {
        executor = net::make_strand(executor);
      }
    } else if constexpr (std::is_convertible_v<net::strand<Executor>, Executor>) {
      executor = net::make_strand(executor);
      serial = true;
    }
  }
};

}  // namespace cacheflight::inline v1::detail::asio_front
