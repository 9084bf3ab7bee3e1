// SPDX-License-Identifier: MIT
#pragma once

/// The Boost.Asio front: tasks that return `asio::awaitable<T>`.
///
/// - In a coroutine: `auto user = co_await flights.run("user:" + id, fetch_user, id);` The result of `run` is
///   itself an `asio::awaitable`, so it works with `co_spawn` and `awaitable_operators`. It is lazy: nothing
///   happens until it is awaited, and until then the group, and a key passed as `std::string_view` or
///   literal, must live.
/// - From anywhere else: `async_run(flights, executor, key, [run_options,] task, args..., token)`.
///
/// Executors. The task runs on the leader's executor (`async_run`: on the given one) unless it is wrapped
/// with `on(executor, task)`: on that executor itself if it is a strand, else on a strand of its own there,
/// because asking it to stop must not race with it. So where each connection has a strand, a task runs on
/// that of the connection that leads, and is held up, for all of its callers, by what that connection
/// computes; `on(context, task)` gives it a strand of its own. Every caller resumes on its own executor, by a
/// post, and never inside the call that settled the flight. A leader whose task completes inside its starting
/// call goes on without being suspended. A task that has not begun when its flight ends never begins, however
/// long it was queued. For work on another thread inside a task there is `offload`.
///
/// Cancellation. A caller that is cancelled through its cancellation slot (total, partial or terminal) leaves
/// alone and at once with `caller_cancelled_error`; the others keep waiting, also when it was the leader.
/// When the last one leaves, and when the flight is cancelled or times out, the task is asked to stop where
/// it runs: on its own serialized executor, first through its `std::stop_token` if it takes one, then through
/// the per-operation cancellation of its coroutine (all types). So a stop callback may use what the task
/// uses, and a slow one holds up whoever else runs there. A `stop_flag`, for a task that computes, is set at
/// once instead. If `T`'s awaitable has a concrete executor type that is not a strand (`awaitable<T,
/// io_context::executor_type>`), nothing can serialize: the token is requested on that executor, by whichever
/// of its threads, and the per-operation cancellation is left out. `run_options::stop_token` cancels a caller
/// like its slot does, from any thread.
///
/// Contexts. Destroying an execution context destroys the callers that wait on it (they leave) and the tasks
/// that run on it (their flights end as abandoned); callers on other contexts are answered. A context that
/// merely stopped answers nobody on it; flights led on it are bounded by their timeouts. With `async_run` a
/// caller is on the context of its operation and on that of its handler: if the handler's is destroyed, the
/// handler is; if only the other is, the handler is answered on its own executor. (An executor that functions
/// cannot be posted to, say an `any_completion_executor`, does not tell its context, which must outlive the
/// operation.) Calls may be made while their context is being destroyed, from a handler's destructor.
///
/// Out of memory. The call fails alone, or that is the flight's outcome (rules 9, 10, 31), with these
/// exceptions, which are Asio 1.26's: making the task's strand does not survive a failed allocation (lead on
/// a strand, or use `on` with one, to make none); a strand or a coroutine that must post from its destructor
/// ends the program; and when a task's coroutine is through and its flight settled, `std::bad_alloc` can
/// leave the context's `run`. A strand whose inner executor is `any_io_executor` can get stuck; name the
/// executor's type. Handlers must not throw when they are moved. The error of a call that entered no flight
/// leaves the context's `run` if its handler's own executor and then the operation's refuse the handler.
///
/// A coroutine that was cancelled before it awaits `run` gets Asio's own `operation_aborted`: Asio throws it
/// at the `co_await`, before anything of ours is called. An `io_context` with
/// `BOOST_ASIO_CONCURRENCY_HINT_UNSAFE` cannot be used: other threads post to it, those that keep time among
/// them.
///
/// Boost 1.81 or newer; standalone Asio 1.26 or newer if `CACHEFLIGHT_STANDALONE_ASIO` is defined.

#include <cacheflight/detail/asio/async_drain.hpp>
#include <cacheflight/detail/asio/async_run.hpp>
#include <cacheflight/detail/asio/coroutine_caller.hpp>
#include <cacheflight/detail/asio/offload.hpp>
#include <cacheflight/detail/asio/task_on.hpp>
#include <cacheflight/group.hpp>

#include <chrono>
#include <memory>
#include <utility>

namespace cacheflight::inline v1 {

template <class... Arguments>
inline constexpr bool detail::included<detail::asio_header, Arguments...> = true;

/// This caller was cancelled, through its own cancellation slot; the flight goes on if others wait for it.
/// Its code is `asio::error::operation_aborted`, but the type is its own, so that an `operation_aborted` of
/// the task is not taken for it (rule 14).
class CACHEFLIGHT_VISIBLE caller_cancelled_error : public detail::asio_front::system_error {
 public:
  /// For the library, and for tests of code that handles it.
  caller_cancelled_error()
      : detail::asio_front::system_error(detail::asio_front::net::error::operation_aborted,
                                         "cacheflight: this caller was cancelled") {}
};

/// Tasks that return `asio::awaitable<T, Executor>`: `run` returns an `asio::awaitable` of `std::shared_ptr<T
/// const>` (`void` for `void`).
template <class T, class Executor>
struct front<detail::asio_front::net::awaitable<T, Executor>> {
  template <class Group, class K, class Task>
  [[nodiscard]] static auto run(Group& flights, K&& key, run_options&& opts, Task&& task) {
    return detail::asio_front::await_run<T, Executor>(std::addressof(flights), std::move(key),
                                                      std::move(opts), std::move(task));
  }
};

/// `task`, to be run on `executor` instead of the leader's: `flights.run(key,
/// cacheflight::on(pool.get_executor(), load), id)`. On a strand of its own there, unless `executor` is a
/// strand.
template <class Executor, class F>
  requires(detail::asio_front::executor_like<Executor>)
[[nodiscard]] auto on(Executor executor, F task) {
  detail::require_task(task);
  return detail::asio_front::task_on<Executor, F>(std::move(executor), std::move(task));
}
/// The same for the executor of a context: `cacheflight::on(pool, load)`.
template <class Context, class F>
  requires(detail::asio_front::context_like<Context>)
[[nodiscard]] auto on(Context& context, F task) {
  return cacheflight::on(context.get_executor(), std::move(task));
}

/// Runs a plain function on another executor, and waits for it: `co_await cacheflight::offload(pool, render,
/// page)`, in a task or in any other coroutine of Asio's. What `f(args...)` returns or throws is what the
/// `co_await` does; move-only results and `void` work, references do not. `f` and `args` are bound as `run`
/// binds them, and destroyed on `executor` when `f` has returned. The coroutine is then resumed on its own
/// executor, by a post, or goes on without being suspended if `f` was through before.
///
/// Cancelling the coroutine (all types) only sets a flag: the `co_await` lasts until `f` has returned, and
/// answers with what `f` answered. `f` gets it if its first parameter is a `stop_flag`, to poll, or a
/// `std::stop_token`, whose callbacks run on the coroutine's executor while `f` runs. An `f` that has not
/// begun by then never begins: it is `operation_aborted`. If the coroutine is destroyed, with its context,
/// the flag is set as well, and `f` goes on alone.
///
/// If `executor` refuses `f`, what it throws is thrown; if it drops `f` (a pool that was stopped and is
/// destroyed), it is `abandoned_error`. A pool that was merely stopped answers nobody. A coroutine whose
/// executor refuses it is tried again from `executor`'s thread, which waits there; one whose strand refuses
/// it, once it has come to its context, is tried there once more, and then destroyed, with `std::bad_alloc`
/// out of the context's `run`.
///
/// Use this instead of `co_await co_spawn(pool, ...)`, which ends the program on Boost 1.81 when it is
/// cancelled, and of `post(bind_executor(pool, ...))`, after which the coroutine runs beside its own
/// cancellation (rule 45). To run a whole task elsewhere use `on`. `AwaitableExecutor`: that of the awaiting
/// coroutine's type, if it is not `any_io_executor`.
template <class AwaitableExecutor = detail::asio_front::net::any_io_executor, class Executor, class F,
          class... Args>
  requires(detail::asio_front::executor_like<Executor>)
[[nodiscard("cacheflight: co_await what offload returns, or nothing runs")]] auto offload(
    Executor const& executor, F&& f, Args&&... args) {
  return detail::asio_front::await_offloaded<AwaitableExecutor>(
      executor, detail::bind_task(std::forward<F>(f), std::forward<Args>(args)...));
}
/// The same on the executor of a context: `cacheflight::offload(pool, render, page)`.
template <class AwaitableExecutor = detail::asio_front::net::any_io_executor, class Context, class F,
          class... Args>
  requires(detail::asio_front::context_like<Context>)
[[nodiscard("cacheflight: co_await what offload returns, or nothing runs")]] auto offload(Context& context,
                                                                                          F&& f,
                                                                                          Args&&... args) {
  return cacheflight::offload<AwaitableExecutor>(context.get_executor(), std::forward<F>(f),
                                                 std::forward<Args>(args)...);
}

/// `flights.run(key, task, args...)` for completion tokens: callbacks, `use_future`, `use_awaitable`,
/// `deferred`, `as_tuple`, bound slots, executors and allocators. `args_and_token`: the task's arguments,
/// bound as `run` binds them, and last the token.
///
/// The completion signature is `void(std::exception_ptr, std::shared_ptr<T const>)`,
/// `void(std::exception_ptr)` for `void`. The handler runs once, on its associated executor (`executor` if it
/// has none), never inside this call; all memory of the operation, obtained from its associated allocator, is
/// freed before. The task runs on `executor`. Per-operation cancellation: total, partial and terminal, with
/// `caller_cancelled_error`. A null task throws `std::invalid_argument`, a key that is refused what
/// `group::run` says; every other error of the call reaches the handler, except that `std::bad_alloc` is
/// thrown when there is no memory to reach it.
///
/// A completion is posted to `executor`, where the handler's cancellation slot is given up, and dispatched
/// from there to the handler's associated executor, if that is another one. So a handler of the
/// `system_executor`, such as `use_future`'s, is called on a thread of `executor`, and a slot is used on
/// `executor` only, as with Asio's own operations.
///
/// Tokens that need a newer Asio: with Boost 1.81 `co_await` takes no `deferred` operation of this signature
/// (1.82 does; `op(deferred)(use_awaitable)` compiles), and `yield_context` takes no `std::exception_ptr`.
/// `redirect_error` has no use for an `std::exception_ptr`: it leaves it to the handler; use `as_tuple`.
///
/// A borrowed key (`std::string_view`, literal) and the group must live until the operation is initiated:
/// with lazy tokens (`deferred`, `use_awaitable`) until it is awaited.
template <class Key, class Hash, class Equal, class Platform, class Executor, class K, class F,
          class... ArgsAndToken>
  requires(detail::asio_front::executor_like<Executor> && sizeof...(ArgsAndToken) > 0)
auto async_run(basic_group<Key, Hash, Equal, Platform>& flights, Executor const& executor, K&& key,
               run_options opts, F&& task, ArgsAndToken&&... args_and_token) {
  return detail::asio_front::start_run(flights, executor, std::forward<K>(key), std::move(opts),
                                       std::forward<F>(task), std::forward<ArgsAndToken>(args_and_token)...);
}
/// The same, without options.
template <class Key, class Hash, class Equal, class Platform, class Executor, class K, class F,
          class... ArgsAndToken>
  requires(detail::asio_front::executor_like<Executor> && !detail::options_argument<F> &&
           sizeof...(ArgsAndToken) > 0)
auto async_run(basic_group<Key, Hash, Equal, Platform>& flights, Executor const& executor, K&& key, F&& task,
               ArgsAndToken&&... args_and_token) {
  return detail::asio_front::start_run(flights, executor, std::forward<K>(key), run_options{},
                                       std::forward<F>(task), std::forward<ArgsAndToken>(args_and_token)...);
}
/// The same, with or without options, on the executor of a context: `async_run(flights, io, key, task,
/// token)`.
template <class Key, class Hash, class Equal, class Platform, class Context, class K, class... More>
  requires(detail::asio_front::context_like<Context> && sizeof...(More) > 1)
auto async_run(basic_group<Key, Hash, Equal, Platform>& flights, Context& context, K&& key, More&&... more) {
  return cacheflight::async_run(flights, context.get_executor(), std::forward<K>(key),
                                std::forward<More>(more)...);
}

/// Closes the group, and waits until it is quiet, as `basic_group::drain` says, without blocking a thread:
/// `bool const quiet = co_await async_drain(flights, io, 10s, asio::use_awaitable);` The completion signature
/// is `void(std::exception_ptr, bool)`. Who calls the handler, what cancels the operation, and what becomes of
/// it when a context goes, is as for `async_run`; a cancelled one leaves the group closed. `timeout`: after so
/// long all that is up is cancelled, and it completes with false. Throws `std::invalid_argument` at once if
/// that is zero or negative. Not to be awaited by what it waits for: a task, or a handler of such a call that
/// has its turn.
template <class Key, class Hash, class Equal, class Platform, class Executor, class Rep, class Period,
          class Token>
  requires(detail::asio_front::executor_like<Executor>)
auto async_drain(basic_group<Key, Hash, Equal, Platform>& flights, Executor const& executor,
                 std::chrono::duration<Rep, Period> timeout, Token&& token) {
  return detail::asio_front::start_drain(detail::access::core(flights), executor,
                                         detail::checked_limit(timeout, "async_drain's timeout"),
                                         std::forward<Token>(token));
}
/// The same, for as long as it takes.
template <class Key, class Hash, class Equal, class Platform, class Executor, class Token>
  requires(detail::asio_front::executor_like<Executor>)
auto async_drain(basic_group<Key, Hash, Equal, Platform>& flights, Executor const& executor, Token&& token) {
  return detail::asio_front::start_drain(detail::access::core(flights), executor, detail::no_limit,
                                         std::forward<Token>(token));
}
/// The same, with or without a limit, on the executor of a context.
template <class Key, class Hash, class Equal, class Platform, class Context, class... More>
  requires(detail::asio_front::context_like<Context>)
auto async_drain(basic_group<Key, Hash, Equal, Platform>& flights, Context& context, More&&... more) {
  return cacheflight::async_drain(flights, context.get_executor(), std::forward<More>(more)...);
}

}  // namespace cacheflight::inline v1
