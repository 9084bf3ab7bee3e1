// SPDX-License-Identifier: MIT
#pragma once

// `async_run`: how an operation is initiated.

#include <cacheflight/detail/asio/relayed_caller.hpp>
#include <cacheflight/detail/asio/task_flight.hpp>
#include <cacheflight/group.hpp>

#include <cstddef>
#include <exception>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

template <class Result>
struct signature {
  using type = void(std::exception_ptr, Result);
};
template <>
struct signature<void> {
  using type = void(std::exception_ptr);
};

template <class Task>
struct awaitable_of;
template <class T, class Executor>
struct awaitable_of<net::awaitable<T, Executor>> {
  using answer = T;
  using executor_type = Executor;
};

template <class Group, class IoExecutor>
struct initiate_run {
  Group* flights;
  IoExecutor io;

  using executor_type = IoExecutor;
  [[nodiscard]] executor_type get_executor() const noexcept { return io; }

  template <class Handler, class K, class Task>
  void operator()(Handler&& handler, K key, run_options opts, Task task) const {
    using awaitable = awaitable_of<typename Task::result>;
    auto* const self = make_handler_caller<typename Group::platform_type, typename awaitable::answer>(
        std::decay_t<Handler>(std::forward<Handler>(handler)), io);
    std::exception_ptr failure;
    try {
      auto* const led = asio_front::enter<typename awaitable::answer>(*flights, key, *self, opts, task,
                                                                      typename awaitable::executor_type(io));
      self->watch(opts.stop_token());  // before the task has begun (rule 34)
      if (led) led->start();
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) self->fail(std::move(failure));
    else self->go();
  }
};

/// An executor, or a context that has one.
template <class T>
concept executor_like = net::execution::is_executor<T>::value;
template <class T>
concept context_like = std::is_convertible_v<T&, net::execution_context&> && requires(T& context) {
  { context.get_executor() } -> executor_like;
};

/// The task's arguments, and last the token.
template <class Group, class Executor, class K, class F, class Rest, std::size_t... I>
auto start_run(Group& flights, Executor const& ex, K&& key, run_options opts, F&& task, Rest rest,
               std::index_sequence<I...>) {
  auto bound = bind_task(std::forward<F>(task), std::get<I>(std::move(rest))...);
  using last_type = std::tuple_element_t<sizeof...(I), Rest>;
  using token = std::conditional_t<std::is_lvalue_reference_v<last_type>, last_type,
                                   std::remove_reference_t<last_type>>;
  using awaitable = typename decltype(bound)::result;
  static_assert(
      requires { typename awaitable_of<awaitable>::answer; },
      "cacheflight: async_run takes tasks that return asio::awaitable<T>");
  using result = typename result_of_answer<typename awaitable_of<awaitable>::answer>::type;
  std::remove_reference_t<token>& last = std::get<sizeof...(I)>(rest);
  return net::async_initiate<token, typename signature<result>::type>(
      initiate_run<Group, Executor>{&flights, ex}, last, access::bind_key<Group>(std::forward<K>(key)),
      std::move(opts), std::move(bound));
}
template <class Group, class Executor, class K, class F, class... Rest>
auto start_run(Group& flights, Executor const& ex, K&& key, run_options opts, F&& task, Rest&&... rest) {
  return start_run(flights, ex, std::forward<K>(key), std::move(opts), std::forward<F>(task),
                   std::forward_as_tuple(std::forward<Rest>(rest)...),
                   std::make_index_sequence<sizeof...(Rest) - 1>());
}

}  // namespace cacheflight::inline v1::detail::asio_front
