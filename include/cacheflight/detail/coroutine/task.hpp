// SPDX-License-Identifier: MIT
#pragma once

// A task that returns an awaitable: what it yields, and the flight that awaits it.

#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/recycling.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <coroutine>
#include <exception>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::coroutine_front {

template <class A>
concept awaiter = requires(A& a, std::coroutine_handle<> h) {
  a.await_ready();
  a.await_suspend(h);
  a.await_resume();
};

template <class A>
decltype(auto) awaiter_of(A&& a) {
  if constexpr (requires { std::forward<A>(a).operator co_await(); })
    return std::forward<A>(a).operator co_await();
  else if constexpr (requires { operator co_await(std::forward<A>(a)); })
    return operator co_await(std::forward<A>(a));
  else return std::forward<A>(a);
}

/// What any coroutine may await; `asio::awaitable` is not.
template <class A>
concept awaitable =
    has_await_ready<A> &&
    awaiter<std::remove_reference_t<decltype(coroutine_front::awaiter_of(std::declval<A>()))>>;

/// What is yielded by rvalue reference is ours to move from.
template <class R>
struct owned_answer {
  using type = R;
  static_assert(
      !std::is_lvalue_reference_v<R>,
      "cacheflight: this task's awaitable yields an lvalue reference, as a shared task does: to a result "
      "that is not the flight's. Return a coroutine that awaits it and returns a copy, or a std::shared_ptr");
};
template <class R>
struct owned_answer<R&&> {
  using type = std::remove_cv_t<R>;
};
template <awaitable A>
using answer_of =
    typename owned_answer<decltype(coroutine_front::awaiter_of(std::declval<A>()).await_resume())>::type;

/// A coroutine that belongs to nobody: starts at once, frees itself.
struct detached {
  struct promise_type : recycled {
    detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

template <class P, class Key, class Task>
class awaitable_flight final : public simple_flight<P, Key, Task, answer_of<typename Task::result>> {
  using answer = answer_of<typename Task::result>;
  using base = simple_flight<P, Key, Task, answer>;
  static_assert(
      !is_executor_bound<typename Task::function_type>,
      "cacheflight: a coroutine is started on the leader's thread; let it go where it should run by itself");

 public:
  using core_type = core<P>;
  using base::base;

  /// Consumes the task's reference: the flight may be gone afterwards.
  void start() noexcept {
    if (!this->may_start()) return;
    try {
      drive(this);
    } catch (...) {  // no memory for the coroutine
      this->unwind(cause::rejected, nullptr, std::current_exception());
    }
  }

 private:
  /// In the frame that runs the task. If it is destroyed before it has settled, the task can no longer
  /// answer.
  class settling {
   public:
    explicit settling(awaitable_flight* flight) noexcept : flight_(flight) {}
    settling(settling const&) = delete;
    settling& operator=(settling const&) = delete;
    ~settling() {
      if (flight_) settle(cause::abandoned, nullptr, nullptr);
    }
    void settle(cause why, std::shared_ptr<void const>&& value, std::exception_ptr&& failure) noexcept {
      std::exchange(flight_, nullptr)->unwind(why, std::move(value), std::move(failure));
    }

   private:
    awaitable_flight* flight_;
  };

  static detached drive(awaitable_flight* self) {
    settling end(self);
    cause why = cause::resolved;
    std::shared_ptr<void const> value;
    std::exception_ptr failure;
    try {
      if constexpr (std::is_void_v<answer>) {
        co_await self->invoke();
      } else {
        answer got = co_await self->invoke();
        value = base::result::make(std::move(got));
      }
    } catch (...) {
      why = unwinding() ? cause::abandoned : cause::rejected;
      if (why == cause::rejected) failure = std::current_exception();
    }
    end.settle(why, std::move(value), std::move(failure));
  }
};

}  // namespace cacheflight::inline v1::detail::coroutine_front
