// SPDX-License-Identifier: MIT
#pragma once

// `async_run`: how an operation is initiated.

#include <cacheflight/detail/asio/relayed_caller.hpp>
#include <cacheflight/detail/asio/task_flight.hpp>
#include <cacheflight/group.hpp>

#include <exception>
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

template <class Group, class Executor, class K, class F, class Token>
auto start_run(Group& flights, Executor const& ex, K&& key, run_options opts, F&& task, Token&& token) {
  auto bound = bind_task(std::forward<F>(task));
  using awaitable = typename decltype(bound)::result;
  static_assert(
      requires { typename awaitable_of<awaitable>::answer; },
      "cacheflight: async_run takes tasks that return asio::awaitable<T>");
  using result = typename result_of_answer<typename awaitable_of<awaitable>::answer>::type;
  return net::async_initiate<Token, typename signature<result>::type>(
      initiate_run<Group, Executor>{&flights, ex}, token, access::bind_key<Group>(std::forward<K>(key)),
      std::move(opts), std::move(bound));
}

}  // namespace cacheflight::inline v1::detail::asio_front
