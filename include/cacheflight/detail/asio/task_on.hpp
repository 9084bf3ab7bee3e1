// SPDX-License-Identifier: MIT
#pragma once

// A task with an executor of its own.

#include <cacheflight/detail/asio/asio.hpp>
#include <cacheflight/detail/task.hpp>

namespace cacheflight::inline v1::detail::asio_front {

/// A task with an executor of its own; see `on`.
template <class Executor, class F>
struct task_on : placed<Executor, F> {
  using placed<Executor, F>::placed;
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
  return task.place;
}

}  // namespace cacheflight::inline v1::detail::asio_front
