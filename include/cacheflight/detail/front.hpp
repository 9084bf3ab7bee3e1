// SPDX-License-Identifier: MIT
#pragma once

// How `run` and `start` find their front, and what they say if there is none.

#include <cacheflight/detail/task.hpp>
#include <cacheflight/options.hpp>

#include <concepts>
#include <type_traits>

namespace cacheflight::inline v1 {

/// How `run` treats tasks that return `Returned`. The fronts specialise it, one each, with constraints that
/// exclude each other; the core leaves it undefined, so that a missing header is an error and never another
/// meaning.
///
/// A front has `static auto run(Group&, Key&&, Options&&, bound_task&&)`, with `run_options` or
/// `detail::no_options`.
template <class Returned>
struct front;

namespace detail {

template <class T>
concept complete = requires { sizeof(T); };
template <class Returned>
concept has_front = complete<front<Returned>>;

/// What `start` means; the callback front defines it.
template <class Group>
struct callback_entry;

template <class T>
concept options_argument = std::same_as<std::remove_cvref_t<T>, run_options>;

/// Options in the wrong place, or of the wrong kind.
template <class K, class F>
consteval void require_order() {
  static_assert(!options_argument<K>,
                "cacheflight: run_options come after the key: run(key, options, task, args...)");
  static_assert(
      !std::same_as<std::remove_cvref_t<F>, options> && !std::same_as<std::remove_cvref_t<K>, options>,
      "cacheflight: options are the group's, given to its constructor; a call takes run_options");
}

/// Says which header is missing.
template <class Returned>
consteval void explain_missing_front() {
  constexpr bool awaitable = has_await_ready<Returned>, sender = sender_like<Returned>;
  constexpr bool coroutine = coroutine_like<Returned>;
  static_assert(!awaitable,
                "cacheflight: this task returns an awaitable whose front is not included: #include "
                "<cacheflight/asio.hpp> for asio::awaitable, <cacheflight/coroutine.hpp> for all "
                "others.");
  static_assert(!sender, "cacheflight: this task returns a sender: #include <cacheflight/sender.hpp>.");
  static_assert(
      awaitable || sender || !coroutine,
      "cacheflight: this task returns a coroutine that only coroutines of its own library can await. "
      "Return one of a type that any coroutine can await, or run it where its library says and return "
      "its result.");
  static_assert(
      awaitable || sender || coroutine,
      "cacheflight: this task returns a plain value: #include <cacheflight/blocking.hpp>, for callers "
      "that block. In a coroutine server, return an awaitable.");
}

}  // namespace detail
}  // namespace cacheflight::inline v1
