// SPDX-License-Identifier: MIT
#pragma once

/// The words of P2300 that `<cacheflight/sender.hpp>` needs, as one of three libraries has them: stdexec if
/// it was included before, or if `CACHEFLIGHT_STDEXEC` is defined; the standard library's own where it has
/// senders; otherwise stand-ins of the same names. The names are those of C++26; the ones of the proposal
/// (`sender_t`, ...) are kept. Each library's are in an inline namespace of their own, so that a program may
/// have files with either.

#include <cacheflight/detail/task.hpp>

#include <stop_token>
#include <type_traits>
#include <utility>
#include <version>

#if defined(CACHEFLIGHT_STDEXEC) && !defined(STDEXEC)
#include <stdexec/execution.hpp>
#endif
#if !defined(STDEXEC) && defined(__cpp_lib_senders)
#include <execution>
#endif

#if defined(STDEXEC)
#define CACHEFLIGHT_SENDER_LIBRARY of_stdexec
#elif defined(__cpp_lib_senders)
#define CACHEFLIGHT_SENDER_LIBRARY of_std
#else
#define CACHEFLIGHT_SENDER_LIBRARY of_none
#endif

namespace cacheflight::inline v1 {

/// The vocabulary of P2300 that the sender front needs.
namespace execution {
/// That of the library that is there.
inline namespace CACHEFLIGHT_SENDER_LIBRARY {
#if defined(STDEXEC)
using ::STDEXEC::completion_signatures;
using ::STDEXEC::get_stop_token_t;
using ::STDEXEC::operation_state_tag;
using ::STDEXEC::receiver_tag;
using ::STDEXEC::sender_tag;
using ::STDEXEC::set_error_t;
using ::STDEXEC::set_stopped_t;
using ::STDEXEC::set_value_t;
#elif defined(__cpp_lib_senders)
using std::get_stop_token_t;
using std::execution::completion_signatures;
using std::execution::operation_state_tag;
using std::execution::receiver_tag;
using std::execution::sender_tag;
using std::execution::set_error_t;
using std::execution::set_stopped_t;
using std::execution::set_value_t;
#else
struct sender_tag {};           ///< Marks a sender.
struct receiver_tag {};         ///< Marks a receiver.
struct operation_state_tag {};  ///< Marks an operation state.
struct set_value_t {};          ///< The signature of a value.
struct set_error_t {};          ///< The signature of an error.
struct set_stopped_t {};        ///< The signature of having been stopped.
struct get_stop_token_t {};     ///< The query for an environment's stop token.
/// How a sender may complete.
template <class... Signatures>
struct completion_signatures {};
#endif
using sender_t = sender_tag;                    ///< The name in P2300.
using receiver_t = receiver_tag;                ///< The name in P2300.
using operation_state_t = operation_state_tag;  ///< The name in P2300.
}  // namespace CACHEFLIGHT_SENDER_LIBRARY
}  // namespace execution

namespace detail::sender_front {
inline namespace CACHEFLIGHT_SENDER_LIBRARY {

/// `std::stop_token`, with the member that stoppable tokens have since C++26.
struct stop_token : std::stop_token {
  template <class F>
  using callback_type = std::stop_callback<F>;
};

/// What a task's sender may ask about where it runs: when to stop, and a scheduler to come back to, which is
/// where it is, because a flight has no place of its own.
struct task_environment {
  std::stop_source const* stop;
  [[nodiscard]] stop_token query(execution::get_stop_token_t) const noexcept { return {stop->get_token()}; }
#if defined(STDEXEC)
  [[nodiscard]] ::STDEXEC::inline_scheduler query(::STDEXEC::get_scheduler_t) const noexcept { return {}; }
  [[nodiscard]] ::STDEXEC::inline_scheduler query(::STDEXEC::get_start_scheduler_t) const noexcept {
    return {};
  }
#elif defined(__cpp_lib_senders)
  [[nodiscard]] std::execution::inline_scheduler query(std::execution::get_scheduler_t) const noexcept {
    return {};
  }
#endif
};

#if defined(STDEXEC)
template <class S>
using signatures_of = ::STDEXEC::completion_signatures_of_t<S, task_environment>;
// A coroutine that this library makes a sender of says so nowhere; one that any coroutine can await is
// awaited.
template <class S>
concept sender = (sender_like<S> || !has_await_ready<S>) && ::STDEXEC::sender_in<S, task_environment>;
inline constexpr auto connect = ::STDEXEC::connect;
inline constexpr auto start = ::STDEXEC::start;
#elif defined(__cpp_lib_senders)
template <class S>
using signatures_of = std::execution::completion_signatures_of_t<S, task_environment>;
template <class S>
concept sender = (sender_like<S> || !has_await_ready<S>) && std::execution::sender_in<S, task_environment>;
inline constexpr auto connect = std::execution::connect;
inline constexpr auto start = std::execution::start;
#else
template <class S>
concept computes_signatures =
    requires { std::remove_cvref_t<S>::template get_completion_signatures<S, task_environment>(); };
template <class S>
struct signatures {
  using type = typename std::remove_cvref_t<S>::completion_signatures;
};
template <computes_signatures S>
struct signatures<S> {
  using type = decltype(std::remove_cvref_t<S>::template get_completion_signatures<S, task_environment>());
};
template <class S>
using signatures_of = typename signatures<S>::type;
template <class S>
concept sender = sender_like<S> && requires { typename signatures_of<S>; };
template <class S, class Receiver>
[[nodiscard]] auto connect(S&& sender, Receiver receiver) {
  return std::forward<S>(sender).connect(std::move(receiver));
}
template <class Operation>
void start(Operation& operation) noexcept {
  operation.start();
}
#endif

}  // namespace CACHEFLIGHT_SENDER_LIBRARY
}  // namespace detail::sender_front
}  // namespace cacheflight::inline v1
