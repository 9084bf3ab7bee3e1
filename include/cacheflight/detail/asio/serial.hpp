// SPDX-License-Identifier: MIT
#pragma once

// Strands: whether an executor is one, and how to reach it so that a refusal leaves it whole.

#include <cacheflight/detail/asio/asio.hpp>

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
