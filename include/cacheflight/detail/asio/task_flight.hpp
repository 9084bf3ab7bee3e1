// SPDX-License-Identifier: MIT
#pragma once

// A flight whose task is a coroutine of Asio's: how it is started, stopped, and unwinds.

#include <cacheflight/detail/asio/context.hpp>
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

/// An asynchronous operation that completes inside its initiation.
struct at_once {
  struct initiation {
    template <class Handler>
    void operator()(Handler&& handler) const {
      std::decay_t<Handler> taken(std::forward<Handler>(handler));
      std::move(taken)();
    }
  };
  template <class Token>
  auto operator()(Token&& token) const
      -> decltype(net::async_initiate<Token, void()>(std::declval<initiation>(), token)) {
    return net::async_initiate<Token, void()>(initiation(), token);
  }
};

template <class Flight>
struct release_flight {
  void operator()(Flight* f) const noexcept { Flight::core_type::release(*f); }
};
template <class Flight>
using flight_reference = std::unique_ptr<Flight, release_flight<Flight>>;

/// Completion handler of a task's coroutine: keeps the signal as long as the coroutine. See
/// `associated_executor` below.
template <class Flight>
struct finished {
  using cancellation_slot_type = net::cancellation_slot;
  flight_reference<Flight> flight;
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept {
    return flight->signal_.slot();
  }
  void operator()(std::exception_ptr) noexcept {}
};

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
    if (place_->serial || Task::takes_token) {
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
  using reference = task_reference<task_flight>;
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
      if constexpr (Task::takes_token) flight->token_.request_stop();
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

  /// The task on its way to a strand, which must not get stuck; see `with_strand`. A strand that we made is
  /// no safer: in a context that is going, what is in a strand's queue is never destroyed.
  struct launching {
    explicit launching(task_flight* f) : flight(f->referred()) { body.emplace(drive(reference(f))); }
    launching(launching const&) = delete;
    launching& operator=(launching const&) = delete;
    ~launching() { refuse(nullptr); }

    /// On the strand.
    void go() noexcept {
      if (taken.exchange(true)) return;
      std::exception_ptr failure;
      // A stop request that came first has found no coroutine to cancel; one that comes now waits for the
      // strand.
      if (core_type::may_start(*flight)) {
        try {
          flight->spawn(std::move(*body));
        } catch (...) {
          failure = std::current_exception();
        }
      }
      end(std::move(failure));
    }
    /// Does nothing if the executor has called, or will call, all the same.
    void refuse(std::exception_ptr failure) noexcept {
      if (!taken.exchange(true)) end(std::move(failure));
    }

   private:
    void end(std::exception_ptr failure) noexcept {
      body.reset();
      flight->handed_over(std::move(failure));
    }

    flight_reference flight;
    std::optional<net::awaitable<void, Executor>> body;
    std::atomic<bool> taken{false};
  };
  struct starter {
    std::shared_ptr<launching> task;
    void operator()() const noexcept { task->go(); }

    struct attempt_type {
      std::shared_ptr<launching> task;
      void refused() const noexcept { task->refuse(std::current_exception()); }
    };
    [[nodiscard]] attempt_type attempt() const noexcept { return {task}; }
  };
  /// False: no strand, or one that is reached from this thread without its inner executor's queue; start the
  /// task here.
  template <class Found>
  [[nodiscard]] bool relay(Found const& found) {
    if constexpr (is_strand<Found>) {
      if (found.running_in_this_thread() || asio_front::runs_here(found.get_inner_executor())) return false;
      auto task = detail::make_shared_recycled<launching>(this);
      try {
        asio_front::post_by_strand(found, starter{task});
      } catch (...) {
        task->refuse(std::current_exception());
      }
      return true;
    } else {
      return false;
    }
  }

  /// As a function, because for that co_spawn copies the executor less often.
  void spawn(net::awaitable<void, Executor> body) {
    struct function {
      net::awaitable<void, Executor> body;
      net::awaitable<void, Executor> operator()() { return std::move(body); }
    };
    net::co_spawn(place_->executor, function{std::move(body)}, finished<task_flight>{referred()});
  }

  /// The attempt to have the task run is through.
  void handed_over(std::exception_ptr failure) noexcept {
    cause const why = failure ? cause::rejected : cause::abandoned;
    if (launch_.handed_over(failure != nullptr)) unwind(why, nullptr, std::move(failure));
  }

  static net::awaitable<void, Executor> drive(reference self) {
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

  [[nodiscard]] net::awaitable<Answer, Executor> invoke() { return (*task_)(token_.get_token()); }

  /// The task is through, on whatever thread: free what is its own, then let the core decide.
  void unwind(cause why, std::shared_ptr<void const> value, std::exception_ptr failure) noexcept {
    task_.reset();
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

/// A finished task has nobody to call, so it needs no turn of anybody's: `co_spawn` calls the handler where
/// it is, rather than keep work for the task's executor and dispatch to it. As for a handler without an
/// executor, a cancellation is emitted at once, here on the task's executor, instead of being dispatched
/// there as a raw pointer.
template <class Flight, class Otherwise>
struct cacheflight::detail::asio_front::net::associated_executor<
    cacheflight::detail::asio_front::finished<Flight>, Otherwise> {
  using asio_associated_executor_is_unspecialised = void;
  using type = cacheflight::detail::asio_front::net::system_executor;
  [[nodiscard]] static type get(cacheflight::detail::asio_front::finished<Flight> const&) noexcept {
    return {};
  }
  [[nodiscard]] static type get(cacheflight::detail::asio_front::finished<Flight> const&,
                                Otherwise const&) noexcept {
    return {};
  }
};
