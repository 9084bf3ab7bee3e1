// SPDX-License-Identifier: MIT
#pragma once

/// The front for callbacks: nobody waits, a function is called.
///
///     flights.start("user:" + id, std::bind_front(load_user, id),
///                   [](std::exception_ptr error, std::shared_ptr<user const> u) { … });
///
/// The task returns a plain value, and runs inside `start` (or wherever `cacheflight::on(executor, task)`
/// sends it); or it is callback-style itself: `cacheflight::answering<user>(task)` has
/// `task(cacheflight::completion<user>, args…)` called, and the task answers through the completion, once,
/// from any thread, now or later.
///
/// Who calls the callback. The thread that ends the wait: the one that answers or cancels, a helper thread of
/// the group after a timeout, the one that requests a stop; inside `start` if the outcome is there at once,
/// also where `start` is called inside a task. `cacheflight::via(scheduler, callback)` calls it on the
/// scheduler's terms instead: any callable that takes a copyable `void()`. What a callback throws, also when
/// it is moved, has nobody to go to: it is counted in `statistics::callback_failures` and dropped.
///
/// Turns. A callback that is called, and a coroutine or receiver that is resumed, on the thread that ends its
/// wait has its turn. Turns do not nest: those that are due inside one, on the same stack, also those of a
/// `start` there whose outcome is there at once, come when it is over. So a turn must not wait for another,
/// and one that is long, runs an event loop or suspends its fiber holds up those that were due inside of it.
/// Nobody else: what other fibers of the thread end goes on meanwhile. A fiber may go on on another thread
/// inside a turn, which takes the turns that are queued along; it must have 8 KiB of stack left where it is
/// suspended, must share its stack with nobody, and must not be shut down before the turn is over. With `via`
/// (and `resume_on`) a callback takes no turn, waits for none and holds up none: the way to go on an event
/// loop's thread.
///
/// Unwinding. A task, plain or callback-style, in which the thread exits or is cancelled, or whose stackful
/// coroutine is shut down, unwinds: its flight ends as abandoned, and the unwinding goes on through `start`,
/// or through the `work`. It must not begin in a callback, or in a scheduler: that ends the program. See
/// `<cacheflight/blocking.hpp>` for libc++.
///
/// Leaving: `run_options::stop_token`; the callback then gets `caller_stopped_error`. Errors of the call,
/// such as `max_keys_error`, reach the callback as well; only a null task or callback, a key that is refused
/// (see `group::run`), and `std::bad_alloc` for the call's own memory, are thrown by `start`.

#include <cacheflight/detail/callback/answering.hpp>
#include <cacheflight/detail/callback/caller.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

/// How a callback-style task answers, exactly once, from any thread. Move-only. If it is destroyed without an
/// answer, the flight ends with `abandoned_error` (rule 9). A second answer is refused, and an answer to a
/// flight that was cancelled or timed out is dropped.
template <class T>
class completion {
  using result = detail::result_of_answer<T>;
  using target = detail::callback_front::answer_target<T>;

 public:
  /// Takes over the duty to answer.
  completion(completion&& other) noexcept : target_(std::exchange(other.target_, nullptr)) {}
  /// Drops what this one had to answer, and takes over the other's.
  completion& operator=(completion&& other) noexcept {
    completion(std::move(other)).swap(*this);
    return *this;
  }
  /// Without an answer, the flight ends as abandoned.
  ~completion() {
    if (target_) target_->drop();
  }

  /// Answers with a value (nothing for `void`). False: there was an answer already. If making the shared
  /// object throws, that exception is the answer.
  template <class... Value>
    requires(std::is_void_v<T> ? sizeof...(Value) == 0 : sizeof...(Value) == 1)
  bool set_value(Value&&... value) noexcept {
    if (!target_) return false;
    std::shared_ptr<void const> made;
    try {
      if constexpr (!std::is_void_v<T>) made = result::make(std::forward<Value>(value)...);
    } catch (...) {
      if (!detail::unwinding()) return set_exception(std::current_exception());
      std::exchange(target_, nullptr)->drop();
      return true;
    }
    return std::exchange(target_, nullptr)->resolve(std::move(made));
  }

  /// Answers with an exception. False: there was an answer already.
  bool set_exception(std::exception_ptr exception) noexcept {
    return target_ && std::exchange(target_, nullptr)->reject(std::move(exception));
  }

  /// Set when nobody wants the answer any more. Holds no reference to the group. Throws `std::bad_alloc`.
  [[nodiscard]] std::stop_token stop_token() const { return target_ ? target_->stop() : std::stop_token(); }

  /// Whether it is: what a task that polls asks, without the memory that a token takes.
  [[nodiscard]] bool stop_requested() const noexcept { return target_ && target_->stopped(); }

  explicit completion(target* t) noexcept : target_(t) {}  ///< For the library.

 private:
  void swap(completion& other) noexcept { std::swap(target_, other.target_); }

  target* target_;
};

/// A callback-style task that yields a `T`: `task(cacheflight::completion<T>, args…)`, called on the leader's
/// thread. What it throws is the flight's outcome unless it answered before. When it has returned, it is
/// destroyed with what it has captured: what still works on the answer owns what it needs.
template <class T, class F>
[[nodiscard]] auto answering(F task) {
  detail::require_task(task);
  return detail::callback_front::answering_task<T, F>(std::move(task));
}

/// `callback`, to be called through `scheduler`: any callable that takes a `work` (a copyable `void()`) and
/// calls it once. If it throws it is asked again; if it drops the work, the callback is destroyed uncalled.
template <class Scheduler, class F>
  requires std::is_invocable_v<Scheduler&, work>
[[nodiscard]] auto via(Scheduler scheduler, F callback) {
  detail::require_callback(callback);
  static_assert(std::is_copy_constructible_v<Scheduler>,
                "cacheflight: a scheduler must be copyable; capture a pointer or std::ref");
  return detail::callback_front::scheduled<Scheduler, F>(std::move(scheduler), std::move(callback));
}

/// Closes the group, and calls `callback(bool)` once it is quiet, as `basic_group::drain` says, without
/// blocking a thread: inside of this call if nothing is up, otherwise on the thread that ends the last
/// flight, where it takes its turn; with `via` on the scheduler's terms. Throws `std::invalid_argument` for a
/// null callback and `std::bad_alloc`, and has then closed nothing.
template <class Key, class Hash, class Equal, class Platform, class Callback>
void when_drained(basic_group<Key, Hash, Equal, Platform>& flights, Callback&& callback)
  requires std::is_invocable_v<std::decay_t<Callback>, bool>
{
  detail::callback_front::wait_until_drained(flights, detail::no_limit, std::forward<Callback>(callback));
}
/// The same, for at most so long, as `basic_group::drain(timeout)` says; then it is called on a helper thread
/// of the group. Also throws `std::invalid_argument` if the time is zero or negative, and
/// `std::system_error`, when the group is closed, if the thread that keeps time cannot be started.
template <class Key, class Hash, class Equal, class Platform, class Rep, class Period, class Callback>
void when_drained(basic_group<Key, Hash, Equal, Platform>& flights,
                  std::chrono::duration<Rep, Period> timeout, Callback&& callback)
  requires std::is_invocable_v<std::decay_t<Callback>, bool>
{
  detail::callback_front::wait_until_drained(
      flights, detail::checked_limit(timeout, "when_drained's timeout"), std::forward<Callback>(callback));
}

/// `group::start`.
template <class Group>
struct detail::callback_entry {
  template <class K, class Options, class F, class Callback>
  static void start(Group& flights, K&& key, Options&& opts, F&& task, Callback&& callback) {
    using namespace detail::callback_front;
    using P = typename Group::platform_type;
    using function = std::decay_t<F>;
    using handler = std::decay_t<Callback>;
    static_assert(
        !is_answering<function>::value || !is_executor_bound<typename inner_of<function>::type>,
        "cacheflight: a callback-style task is called on the leader's thread; send the work where it should "
        "run from inside it");
    if constexpr (is_answering<function>::value) {
      using answer = typename is_answering<function>::type;
      using flight = answering_flight<P, typename Group::key_type, function, answer>;
      callback_caller<P, answer, handler>::template start<flight>(
          flights, std::move(key), std::move(opts), std::forward<F>(task), std::forward<Callback>(callback));
    } else {
      auto bound = bind_task(std::forward<F>(task));
      using bound_type = decltype(bound);
      static_assert(
          plain_value<typename bound_type::result>,
          "cacheflight: start takes tasks that return a plain value, or cacheflight::answering<T>(task)");
      using flight = value_flight<P, typename Group::key_type, bound_type>;
      callback_caller<P, typename bound_type::result, handler>::template start<flight>(
          flights, std::move(key), std::move(opts), std::move(bound), std::forward<Callback>(callback));
    }
  }
};

}  // namespace cacheflight::inline v1
