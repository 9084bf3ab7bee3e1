// SPDX-License-Identifier: MIT
#pragma once

/// The front for every C++20 coroutine: tasks that return an awaitable. Any coroutine type may await `run`,
/// and the task may return any awaitable that any coroutine may await:
///
///     std::shared_ptr<user const> u = co_await flights.run("user:" + id, fetch_user, id);
///
/// Who resumes whom. The task is started by the leader, on its thread, and runs wherever what it awaits
/// resumes it. Waiters resume on the thread that ends their wait: inside the call that settles or cancels the
/// flight, on a helper thread of the group after a timeout, inside `request_stop` if they are stopped.
/// `co_await flights.run(…).resume_on(scheduler)` resumes on the scheduler's terms instead: any callable that
/// takes a copyable `void()` and calls it once. If it throws, without having called it, it is asked again; if
/// it drops the function, the coroutine is never resumed. From when the scheduler has the function until it
/// was called or dropped, the coroutine must not be destroyed. A leader whose task completed inside the
/// starting call goes on without having been suspended.
///
/// Turns. A coroutine that is resumed by the thread that ends its wait has its turn until it suspends again
/// or ends. Turns do not nest: those that are due inside one, on the same stack, come when it is over. So
/// until then it must not block for another's turn: a callback of `start`, say. `resume_on` takes no turn,
/// waits for none and holds up none. `<cacheflight/callback.hpp>` says what that means for event loops and
/// fibers. A task that is started is no turn: what is due inside of it goes on at once.
///
/// Unwinding that is no exception (a thread that exits or is cancelled, a stackful coroutine that is shut
/// down) is caught by coroutines, as everything is, and goes no further: the flight ends as abandoned, and a
/// thread's exit ends the program.
///
/// Leaving. `run_options::stop_token` makes the caller leave at once with `caller_stopped_error`. A coroutine
/// that is destroyed while it is suspended in `run` has left: on any thread until its flight is decided, or
/// its own wait is over; from then on in sequence with its resumption. A resumed coroutine may destroy
/// others.
///
/// Results. What the task's awaitable yields by value is the result; what it yields by rvalue reference is
/// moved into it; an lvalue reference, as a shared task yields, is refused, because it is to something that
/// is not ours.
///
/// Lifetime. What `run` returns is lazy: nothing happens until it is awaited, as an rvalue or as an lvalue;
/// until then the group, and a key passed as `std::string_view` or literal, must live. It is also the waiter,
/// so awaited where it is, usually in the awaiting coroutine's frame: joining allocates nothing, and to
/// destroy it is to leave. Awaited a second time it throws `std::logic_error`.
///
/// Errors are thrown from the `co_await` expression, as by the blocking front.

#include <cacheflight/detail/coroutine/drain_operation.hpp>
#include <cacheflight/detail/coroutine/operation.hpp>
#include <cacheflight/detail/coroutine/task.hpp>
#include <cacheflight/group.hpp>

#include <chrono>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

/// Tasks that return an awaitable: `run` returns an awaitable of `std::shared_ptr<T const>` (`void` for
/// `void`), `T` being what the task's awaitable yields.
template <detail::coroutine_front::awaitable Returned>
  requires(!detail::sender_like<Returned>)
struct front<Returned> {
  template <class Group, class K, class Options, class Task>
  [[nodiscard]] static auto run(Group& flights, K&& key, Options&& opts, Task&& task) {
    using namespace detail::coroutine_front;
    return operation<Group, std::remove_cvref_t<K>, std::remove_cvref_t<Options>, std::remove_cvref_t<Task>,
                     no_scheduler>(std::addressof(flights), std::move(key), std::move(opts), std::move(task),
                                   no_scheduler());
  }
};

/// Closes the group, and waits until it is quiet, as `basic_group::drain` says, without blocking a thread:
/// `bool const quiet = co_await cacheflight::when_drained(flights);` The coroutine goes on at once if nothing
/// is up, otherwise on the thread that ends the last flight, and takes its turn there; with
/// `.resume_on(scheduler)` on that one's terms. It may be destroyed while it waits. Lazy: the group must live
/// until it is awaited. Not to be awaited by what it waits for, a task or a caller that holds up a task.
template <class Key, class Hash, class Equal, class Platform>
[[nodiscard("cacheflight: co_await what when_drained returns, or nothing is closed")]] auto when_drained(
    basic_group<Key, Hash, Equal, Platform>& flights) {
  return detail::coroutine_front::drain_operation<Platform>(detail::access::core(flights), detail::no_limit);
}
/// The same, for at most so long, as `basic_group::drain(timeout)` says; then it is resumed on a helper
/// thread of the group. Throws `std::invalid_argument` at once if the time is zero or negative.
template <class Key, class Hash, class Equal, class Platform, class Rep, class Period>
[[nodiscard("cacheflight: co_await what when_drained returns, or nothing is closed")]] auto when_drained(
    basic_group<Key, Hash, Equal, Platform>& flights, std::chrono::duration<Rep, Period> timeout) {
  return detail::coroutine_front::drain_operation<Platform>(
      detail::access::core(flights), detail::checked_limit(timeout, "when_drained's timeout"));
}

}  // namespace cacheflight::inline v1
