// SPDX-License-Identifier: MIT
#pragma once

// A flight whose task is a coroutine of Asio's: how it is started, stopped, and unwinds.
//
//   start()         on the leader's thread: by `relay` (launching.hpp) to a strand that it is not on, otherwise
//                   by `spawn`; if that throws, `handed_over` settles the flight
//   drive()         the coroutine that `spawn` gives to `co_spawn`: runs the task, then `unwind`; if it is
//                   destroyed unfinished, `dropped` settles the flight
//   request_stop()  by whoever dooms the flight: posts a `stopper` to where the task runs
//
// Which of `handed_over`, `drive` and `dropped` settles the flight is `launch`'s to say (launch.hpp).

#include <cacheflight/detail/asio/context.hpp>
#include <cacheflight/detail/asio/finished.hpp>
#include <cacheflight/detail/asio/launching.hpp>
#include <cacheflight/detail/asio/serial.hpp>
#include <cacheflight/detail/asio/task_on.hpp>
#include <cacheflight/detail/launch.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/group.hpp>

#include <any>
#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// A flight whose task is a coroutine of Asio's.
template <class P, class Key, class Task, class Answer, class Executor>
class task_flight final : public keyed_flight<P, Key> {
 public:
  using core_type = core<P>;
  using result = result_of_answer<Answer>;

  /// `leader`: where the task runs unless it says otherwise.
  template <class K>
  task_flight(K&& key, std::any&& metadata, Task&& task, Executor const& leader)
      : keyed_flight<P, Key>(std::forward<K>(key), std::move(metadata)),
        task_(std::move(task)),
        place_(std::in_place, asio_front::executor_of(task_->function(), leader)),
        context_(context_guard::of(place_->executor)) {}

  [[nodiscard]] std::type_info const& type() const noexcept override {
    return detail::type_of<typename result::value_type>();
  }

  /// The caller is the leader's waiter, which keeps the flight alive meanwhile, also if it has left already.
  void start() noexcept {
    if (!core_type::may_start(*this) || (context_ && context_->is_going()))
      return unwind(cause::abandoned, nullptr, nullptr);
    std::exception_ptr failure;
    bool under_way = false;  // somebody else hands the task over
    try {
      under_way = place_->serial &&
                  asio_front::with_strand(place_->executor, [&](auto const& found) { return relay(found); });
      if (!under_way) spawn(drive(reference(this)));
    } catch (...) {
      failure = std::current_exception();
    }
    if (!under_way) handed_over(std::move(failure));
    if constexpr (!Task::takes_flag)
      if (place_uses_.load(std::memory_order_relaxed) != 0)
        core_type::stoppable(*this);  // not through already
  }

  /// A token's callbacks and the cancellation belong to where the task runs (rule 45); here they are only
  /// posted there.
  [[nodiscard]] bool request_stop() noexcept override {
    if constexpr (Task::takes_flag) token_.request_stop();  // on which there are no callbacks
    pin_guard guard;
    if (context_) {
      guard.reset(context_->try_pin());
      if (!guard) return true;  // the context is going, and the task with it
    }
    if (!use_place()) return true;
    bool asked = true;
    if (place_->serial || Task::has_token) {
      try {
        asio_front::post_by_strand(place_->executor, stopper{referred(), place_->serial});
      } catch (...) {
        asked = false;
      }
    }
    leave_place();
    return asked;
  }

 private:
  friend class task_reference<task_flight>;
  friend struct finished<task_flight>;
  friend struct launching<task_flight>;
  using reference = task_reference<task_flight>;
  using body_type = net::awaitable<void, Executor>;
  /// False: it is gone. The context must be pinned, unless the task cannot have unwound.
  [[nodiscard]] bool use_place() noexcept {
    unsigned uses = place_uses_.load(std::memory_order_relaxed);
    while (uses != 0)
      if (place_uses_.compare_exchange_weak(uses, uses + 1, std::memory_order_acq_rel)) return true;
    return false;
  }
  void leave_place() noexcept {
    if (place_uses_.fetch_sub(1, std::memory_order_acq_rel) == 1) place_.reset();
  }

  using flight_reference = asio_front::flight_reference<task_flight>;
  [[nodiscard]] flight_reference referred() noexcept {
    retain();
    return flight_reference(this);
  }

  struct stopper {
    flight_reference flight;
    bool serial;
#pragma push_macro("emit")  // Qt's
#undef emit
    void operator()() {
      flight->asked_.store(true, std::memory_order_relaxed);
      if constexpr (Task::has_token) flight->token_.request_stop();
      if (serial) flight->signal_.emit(net::cancellation_type::all);
    }
#pragma pop_macro("emit")

    struct attempt_type {
      flight_reference flight;
      void refused() {
        if (flight->asked_.load(std::memory_order_relaxed)) throw;  // a cancellation handler's
        core_type::stop_refused(*flight.release());
      }
    };
    [[nodiscard]] attempt_type attempt() const noexcept { return {flight->referred()}; }
  };

  /// False: no strand, or one that is reached from this thread without its inner executor's queue; start the
  /// task here.
  template <class Found>
  [[nodiscard]] bool relay(Found const& found) {
    if constexpr (is_strand<Found>) {
      if (found.running_in_this_thread() || asio_front::runs_here(found.get_inner_executor())) return false;
      auto task = detail::make_shared_recycled<launching<task_flight>>(this);
      try {
        asio_front::post_by_strand(found, starter<task_flight>{task});
      } catch (...) {
        task->refuse(std::current_exception());
      }
      return true;
    } else {
      return false;
    }
  }

  /// As a function, because for that co_spawn copies the executor less often.
  void spawn(body_type body) {
    struct function {
      body_type body;
      body_type operator()() { return std::move(body); }
    };
    net::co_spawn(place_->executor, function{std::move(body)}, finished<task_flight>{referred()});
  }

  /// The attempt to have the task run is through.
  void handed_over(std::exception_ptr failure) noexcept {
    cause const why = failure ? cause::rejected : cause::abandoned;
    if (launch_.handed_over(failure != nullptr)) unwind(why, nullptr, std::move(failure));
  }

  static body_type drive(reference self) {
    if (!self->launch_.begin()) co_return;
    if (!core_type::may_start(*self.operator->())) {  // over while it was queued (rule 34)
      if (self->launch_.answered()) self->unwind(cause::abandoned, nullptr, nullptr);
      co_return;
    }
    // It may compute before it is suspended for the first time. Not earlier: only now its signal has a
    // handler.
    if constexpr (Task::takes_flag) core_type::stoppable(*self.operator->());
    cause why = cause::resolved;
    std::shared_ptr<void const> value;
    std::exception_ptr failure;
    try {
      if constexpr (std::is_void_v<Answer>) {
        co_await self->invoke();
      } else {
        Answer answer = co_await self->invoke();
        value = result::make(std::move(answer));
      }
    } catch (...) {
      why = unwinding() ? cause::abandoned : cause::rejected;
      if (why == cause::rejected) failure = std::current_exception();
    }
    if (self->launch_.answered()) self->unwind(why, std::move(value), std::move(failure));
    // co_spawn would post once more on behalf of a task that never suspended; there is nobody left to be
    // called early.
    co_await net::this_coro::throw_if_cancelled(false);
    co_await at_once();
  }

  [[nodiscard]] net::awaitable<Answer, Executor> invoke() {
    return (*task_)(token_.get_token(), view_.of(*this));
  }

  /// The task is through, on whatever thread: free what is its own, then let the core decide.
  void unwind(cause why, std::shared_ptr<void const> value, std::exception_ptr failure) noexcept {
    task_.reset();
    view_.cut();
    leave_place();
    core_type::settle(*this, why, std::move(value), std::move(failure));
  }

  void retain() noexcept { core_type::retain(*this); }

  void dropped() noexcept {
    if (launch_.dropped()) unwind(cause::abandoned, nullptr, nullptr);
  }

  [[nodiscard]] static std::stop_source make_token() {
    if constexpr (Task::can_be_told) return std::stop_source();
    else return std::stop_source(std::nostopstate);
  }

  std::optional<Task> task_;
  std::optional<serialized<Executor>> place_;  // belongs to the context: given up when the task has unwound
  std::atomic<unsigned> place_uses_{1};        // the task, until it has unwound; who asks it to stop
  context_guard::reference context_;
  net::cancellation_signal signal_;
  std::atomic<bool> asked_{false};
  std::stop_source token_ = make_token();
  launch launch_;
  [[no_unique_address]] std::conditional_t<Task::takes_context, given_view<core_type>, no_view> view_;
};

/// `Group::enter` for a task that is a coroutine. Returns the flight if this caller leads: it must be
/// started.
template <class Answer, class AwaitableExecutor, class Group, class K, class Task>
[[nodiscard]] auto enter(Group& flights, K& key, waiter<typename Group::platform_type>& w, run_options& opts,
                         Task& task, AwaitableExecutor const& leader) {
  using P = typename Group::platform_type;
  using flight_type = task_flight<P, typename Group::key_type, Task, Answer, AwaitableExecutor>;
  auto const build = [&](K& k) {
    return new flight_type(std::move(k), opts.take_metadata(), std::move(task), leader);
  };
  auto const how = access::enter(flights, key, w, opts,
                                 detail::type_of<typename result_of_answer<Answer>::value_type>(), build);
  return how == admission::leads ? static_cast<flight_type*>(w.joined()) : nullptr;
}

}  // namespace cacheflight::inline v1::detail::asio_front
