// SPDX-License-Identifier: MIT
#pragma once

// What a task is: what it may take and return, how its arguments are bound, and what its result becomes.

#include <cacheflight/detail/recycling.hpp>
#include <cacheflight/stop_flag.hpp>
#include <cacheflight/task_context.hpp>

#include <concepts>
#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1 {
class run_options;
}

namespace cacheflight::inline v1::detail {

// How to tell what a task returns, for the error message when its front's header is missing. `await_ready`
// alone is no promise that any coroutine may await it: asio::awaitable lets only its own kind.
template <class R>
concept has_await_ready = requires(R&& r) { r.await_ready(); } || requires(R&& r) {
  std::forward<R>(r).operator co_await();
} || requires(R&& r) { operator co_await(std::forward<R>(r)); };
/// A coroutine, whoever may await it.
template <class R>
concept coroutine_like = requires { typename std::remove_cvref_t<R>::promise_type; };
template <class R>
concept sender_like = requires { typename std::remove_cvref_t<R>::sender_concept; } ||
                      requires { typename std::remove_cvref_t<R>::is_sender; };

/// Base of tasks that answer through a completion: `answering`. They are no functions of their arguments.
struct answers_later {};

/// A function with its arguments, bound as `std::jthread` binds them: decayed copies, invoked once, as
/// rvalues, with a leading `std::stop_token`, `stop_flag` or `task_context` if the function takes one.
template <class F, class... Args>
class bound_task {
 public:
  using function_type = F;
  static constexpr bool takes_token = std::is_invocable_v<F, std::stop_token, Args...>;
  static constexpr bool takes_flag = !takes_token && std::is_invocable_v<F, stop_flag, Args...>;
  static constexpr bool takes_context =
      !takes_token && !takes_flag && std::is_invocable_v<F, task_context, Args...>;
  static constexpr bool has_token = takes_token || takes_context;  // and may hang callbacks on it
  static constexpr bool can_be_told = takes_token || takes_flag || takes_context;
  static constexpr bool callable = can_be_told || std::is_invocable_v<F, Args...>;
  static_assert(callable || !(std::same_as<Args, run_options> || ...),
                "cacheflight: run_options come before the task: run(key, options, task, args...)");
  static_assert(
      callable || !std::is_base_of_v<answers_later, F>,
      "cacheflight: a task that answers through a completion is for start(key, task, callback) and for "
      "run_future(flights, key, task); what run returns to a coroutine waits for an awaitable");
  static_assert(
      callable || !(coroutine_like<F> || has_await_ready<F> || sender_like<F>),
      "cacheflight: this is what the task returns, not the task. Pass the function and its arguments: "
      "run(key, fetch, id), not run(key, fetch(id))");
  static_assert(
      callable,
      "cacheflight: the task cannot be called with these arguments: too few, too many, or of other types. "
      "Pass the function and its arguments, not what it returns. They are bound as std::async does it: as "
      "decayed copies, passed as rvalues; use std::ref for a reference.");

  using result = typename std::conditional_t<
      takes_token, std::invoke_result<F, std::stop_token, Args...>,
      std::conditional_t<takes_flag, std::invoke_result<F, stop_flag, Args...>,
                         std::conditional_t<takes_context, std::invoke_result<F, task_context, Args...>,
                                            std::invoke_result<F, Args...>>>>::type;

  template <class G, class... Bound>
  explicit bound_task(std::in_place_t, G&& function, Bound&&... arguments)
      : parts_(std::forward<G>(function), std::forward<Bound>(arguments)...) {}

  [[nodiscard]] F& function() noexcept { return std::get<0>(parts_); }

  /// Call once. `token` and `view` are ignored by functions that take none.
  result operator()(std::stop_token token, std::shared_ptr<flight_view> view = nullptr) {
    return std::apply(
        [&](F& function, Args&... arguments) -> result {
          if constexpr (takes_token)
            return std::invoke(std::move(function), std::move(token), std::move(arguments)...);
          else if constexpr (takes_flag)
            return std::invoke(std::move(function), stop_flag(std::move(token)), std::move(arguments)...);
          else if constexpr (takes_context)
            return std::invoke(std::move(function), task_context(std::move(token), std::move(view)),
                               std::move(arguments)...);
          else return std::invoke(std::move(function), std::move(arguments)...);
        },
        parts_);
  }

 private:
  std::tuple<F, Args...> parts_;
};

template <class F>
concept nullable_function = std::is_pointer_v<F> || std::is_member_pointer_v<F> ||
                            (std::is_class_v<F> && std::constructible_from<F, std::nullptr_t> &&
                             requires(F const& f) { static_cast<bool>(f); });

/// Refuses null tasks at once (rather than as an error of the flight, which others would share).
template <class F>
void require_task(F const& task) {
  if constexpr (nullable_function<F>)
    if (!static_cast<bool>(task)) throw std::invalid_argument("cacheflight: the task is null");
}

template <class F>
void require_callback(F const& callback) {
  if constexpr (nullable_function<F>)
    if (!static_cast<bool>(callback)) throw std::invalid_argument("cacheflight: the callback is null");
}

/// Base of tasks with an executor of their own. Each front understands one kind, and must not ignore another.
struct executor_bound {};
/// The task `function` with it.
template <class Place, class F>
struct placed : executor_bound {
  Place place;
  F function;

  placed(Place p, F f) : place(std::move(p)), function(std::move(f)) {}

  template <class... Args>
    requires std::is_invocable_v<F, Args...>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(std::move(function), std::forward<Args>(args)...);
  }
};
template <class F>
inline constexpr bool is_executor_bound = std::is_base_of_v<executor_bound, F>;

/// An object, so that a user's function with the same name is never a candidate. Other calls that pass on
/// what belongs to users are qualified for the same reason.
struct bind_task_function {
  template <class F, class... Args>
  [[nodiscard]] auto operator()(F&& task, Args&&... args) const {
    static_assert(
        std::constructible_from<std::decay_t<F>, F> &&
            (std::constructible_from<std::decay_t<Args>, Args> && ...),
        "cacheflight: the task, or an argument, can be neither copied nor moved into the call. Move it, pass "
        "std::ref to what outlives the flight, or a std::shared_ptr");
    detail::require_task<std::decay_t<F>>(task);
    return bound_task<std::decay_t<F>, std::decay_t<Args>...>(std::in_place, std::forward<F>(task),
                                                              std::forward<Args>(args)...);
  }
};
inline constexpr bind_task_function bind_task{};

/// What callers are told apart by (rule 8). `T` may be incomplete.
template <class T>
[[nodiscard]] std::type_info const& type_of() noexcept {
  return typeid(std::type_identity<T>);
}

/// Stands for the value of `void` tasks, which are no `std::shared_ptr<void>`.
struct no_value {};

/// What the callers get for a task that answers with a `U`: rule 6.
template <class U>
struct result_of_answer {
  static_assert(
      !(coroutine_like<U> || has_await_ready<U> || sender_like<U>),
      "cacheflight: what this task yields is an awaitable or a sender itself, for which nobody would wait. "
      "Await it inside the task, and return what it yields");
  static_assert(
      !std::is_reference_v<U>,
      "cacheflight: a task must not return a reference: the result is shared, and outlives the flight. "
      "Return a value or a std::shared_ptr.");
  using value_type = std::remove_cvref_t<U>;
  using type = std::shared_ptr<value_type const>;

  template <class V>
  [[nodiscard]] static type make(V&& answer) {
    return detail::make_shared_recycled<value_type>(std::forward<V>(answer));
  }
};
template <class U>
struct result_of_answer<std::shared_ptr<U>> {
  using value_type = std::remove_cv_t<U>;
  using type = std::shared_ptr<value_type const>;
  [[nodiscard]] static type make(std::shared_ptr<U> answer) noexcept { return answer; }
};
template <class U>
struct result_of_answer<std::shared_ptr<U> const> : result_of_answer<std::shared_ptr<U>> {};
template <>
struct result_of_answer<void> {
  using value_type = no_value;
  using type = void;
};

}  // namespace cacheflight::inline v1::detail
