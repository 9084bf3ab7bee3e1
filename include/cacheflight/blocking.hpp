// SPDX-License-Identifier: MIT
#pragma once

/// The front for threads: tasks that return a plain value. `run` blocks, as Go's `singleflight.Do` does:
///
///     std::shared_ptr<user const> u = flights.run("user:" + id, load_user, id);
///
/// Who runs what. The leader runs the task on its own thread; joiners sleep until the flight is decided, or
/// they leave.
///
/// Leaving. A joiner honours `run_options::wait_timeout` and `run_options::stop_token` at once. A leader that
/// runs the task on its own stack cannot return before the task does: if its wait times out, it is stopped,
/// or its flight is cancelled or times out, that is decided at that moment (the others are answered, the key
/// is free, the task's `std::stop_token` is set), and the leader gets that outcome when its task returns.
/// With `cacheflight::on(executor, task)` the task runs elsewhere, and the leader waits, and leaves, like a
/// joiner.
///
/// Unwinding. A leader whose thread exits (`pthread_exit`), is cancelled (`pthread_cancel`), or whose
/// stackful coroutine is shut down in the task unwinds: its flight ends as abandoned, and the unwinding goes
/// on. A thread that is cancelled while it waits has left. So with libstdc++; libc++ cannot let a thread's
/// unwinding through a handler or a wait, and ends the program.
///
/// Fibers. A task may suspend the fiber that it runs on; the flight is in progress meanwhile, and may go on
/// on another thread. Whoever waits blocks its thread, with all fibers that it has: a fiber that joins a
/// flight which only another fiber of its thread can complete waits for ever. The same goes for an event loop
/// that a task runs, if a caller inside it joins the task's own flight.
///
/// In a coroutine server. `run` with a plain-value task blocks the thread that calls it. Inside a coroutine
/// that is its event loop; and joining a flight whose task that loop has to drive deadlocks. Return an
/// awaitable there.
///
/// Errors are thrown from `run`: the task's own, `timeout_error`, `cancelled_error`, `abandoned_error`,
/// `max_keys_error`, `type_mismatch_error`, and `caller_stopped_error` for the caller's own stop token.

#include <cacheflight/detail/blocked_caller.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {
/// Tasks that return a plain value: `run` blocks and returns `std::shared_ptr<Returned const>` (`void` for
/// `void`).
template <detail::plain_value Returned>
struct front<Returned> {
  /// The key need not outlive the call: it is looked up where it is.
  static constexpr bool borrows_key = true;

  template <class Group, class K, class Options, class Task>
  static auto run(Group& flights, K&& key, Options&& opts, Task&& task) ->
      typename detail::result_of_answer<Returned>::type {
    using P = typename Group::platform_type;
    using flight_type = detail::value_flight<P, typename Group::key_type, Task>;
    using result = detail::result_of_answer<Returned>;

    detail::blocked_caller<P> self(detail::here());
    auto const& stop = opts.stop_token();
    if (stop.stop_possible()) (void)detail::ready_made<caller_stopped_error>();
    auto const build = [&](K& k) {
      return new flight_type(std::move(k), opts.take_metadata(), std::move(task));
    };
    auto const admitted = detail::access::enter(flights, key, self, opts,
                                                detail::type_of<typename result::value_type>(), build);
    {
      std::optional<std::stop_callback<detail::leave_on_stop<P>>> on_stop;
      if (stop.stop_possible()) on_stop.emplace(stop, detail::leave_on_stop<P>{&self});
      if (admitted == detail::admission::leads)
        static_cast<flight_type*>(self.joined())->start(stop.stop_possible() ? nullptr : &self);
      self.wait();
    }
    return static_cast<typename result::type>(self.template outcome<typename result::value_type>());
  }
};

}  // namespace cacheflight::inline v1
