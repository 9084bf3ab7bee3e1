// SPDX-License-Identifier: MIT
#pragma once

// A task with an executor of its own.

#include <cacheflight/detail/asio/asio.hpp>
#include <cacheflight/detail/task.hpp>

#include <functional>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// A task with an executor of its own; see `on`.
template <class Executor, class F>
struct task_on : executor_bound {
  Executor executor;
  F function;

  task_on(Executor ex, F f) : executor(std::move(ex)), function(std::move(f)) {}

  template <class... Args>
    requires std::is_invocable_v<F, Args...>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(std::move(function), std::forward<Args>(args)...);
  }
};

template <class F, class Executor>
[[nodiscard]] Executor executor_of(F&, Executor const& otherwise) {
  static_assert(!is_executor_bound<F>,
                "cacheflight: a task that returns asio::awaitable runs on an executor of Asio's: "
                "cacheflight::on(executor, task)");
  return otherwise;
}
template <class Own, class F, class Executor>
[[nodiscard]] Executor executor_of(task_on<Own, F>& task, Executor const&) {
  return task.executor;
}

}  // namespace cacheflight::inline v1::detail::asio_front
