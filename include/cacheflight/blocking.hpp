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

#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {
namespace detail::blocking_front {

/// Where a thread sleeps, once. It may be destroyed as soon as `sleep` has returned: who wakes does not
/// touch it after unlocking, and the sleeper locks after that. Not one for each thread: a thread-local
/// that is destroyed takes memory that nobody can be told is missing, and is gone when other thread-locals
/// are destroyed (rule 38).
class parker {
 public:
  void sleep() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return awake_; });
  }
  void wake() noexcept {
    std::scoped_lock lock(mutex_);
    awake_ = true;
    changed_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool awake_ = false;
};

template <class P>
class blocked_caller final : public waiter<P> {
 public:
  blocked_caller() noexcept : waiter<P>(true) {}
  ~blocked_caller() {
    if (this->joined()) [[unlikely]]
      unwound();
  }

  /// Returns when the outcome is there. Many are within a moment, in which no thread can be put to sleep and
  /// woken.
  void wait() {
    for (int turns = 0; turns < 64; ++turns) {
      if (core<P>::released(*this)) return;
      relax();
    }
    parker_.emplace();
    sleeps_ = core<P>::arm(*this);
    if (sleeps_) parker_->sleep();
    sleeps_ = false;
  }

  template <class T>
  [[nodiscard]] std::shared_ptr<T const> outcome() {
    finish_guard<P> const at_exit(*this);
    if (this->how_left() == departure::left) throw ready_made<caller_stopped_error>();
    return detail::outcome_of<T>(*this);
  }

 private:
  /// While its task ran or while it waited (rule 39): has left.
  [[gnu::noinline, gnu::cold]] void unwound() noexcept {
    if (core<P>::withdraw(*this)) return;
    if (sleeps_) parker_->sleep();  // it was released; who wakes it needs the parker
    core<P>::finish(*this);
  }

  [[nodiscard]] void const* place() const noexcept override { return &anywhere; }
  [[nodiscard]] bool hand_over(typename waiter<P>::waiters&) noexcept override {
    parker_->wake();
    return true;
  }

  static constexpr char anywhere = 0;
  std::optional<parker> parker_;  // made when it goes to sleep
  bool sleeps_ = false;           // it will be woken
};

}  // namespace detail::blocking_front

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

    detail::blocking_front::blocked_caller<P> self;
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
