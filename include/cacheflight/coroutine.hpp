// SPDX-License-Identifier: MIT
#pragma once

/// The front for every C++20 coroutine: tasks that return an awaitable. Any coroutine type may await `run`, and the
/// task may return any awaitable that any coroutine may await:
///
///     std::shared_ptr<user const> u = co_await flights.run("user:" + id, fetch_user, id);
///
/// Who resumes whom. The task is started by the leader, on its thread, and runs wherever what it awaits resumes it.
/// Waiters resume on the thread that ends their wait: inside the call that settles or cancels the flight, on a
/// helper thread of the group after a timeout, inside `request_stop` if they are stopped. `co_await flights.run(…).resume_on(scheduler)`
/// resumes on the scheduler's terms instead: any callable that takes a copyable `void()` and calls it once. If it
/// throws, without having called it, it is asked again; if it drops the function, the coroutine is never resumed. From
/// when the scheduler has the function until it was called or dropped, the coroutine must not be destroyed. A leader whose task completed inside the starting call goes on without having been suspended.
///
/// Turns. A coroutine that is resumed by the thread that ends its wait has its turn until it suspends again or ends. Turns
/// do not nest: those that are due inside one, on the same stack, come when it is over. So until then it must not block for
/// another's turn: a callback of `start`, say. `resume_on` takes no turn, waits for none and holds up none.
/// `<cacheflight/callback.hpp>` says what that means for event loops and fibers. A task that is started is no turn: what is
/// due inside of it goes on at once.
///
/// Unwinding that is no exception (a thread that exits or is cancelled, a stackful coroutine that is shut down) is caught by
/// coroutines, as everything is, and goes no further: the flight ends as abandoned, and a thread's exit ends the program.
///
/// Leaving. `run_options::stop_token` makes the caller leave at once with `caller_stopped_error`. A coroutine that is
/// destroyed while it is suspended in `run` has left: on any thread until its flight is decided, or its own wait is
/// over; from then on in sequence with its resumption. A resumed coroutine may destroy others.
///
/// Results. What the task's awaitable yields by value is the result; what it yields by rvalue reference is moved into it; an
/// lvalue reference, as a shared task yields, is refused, because it is to something that is not ours.
///
/// Lifetime. What `run` returns is lazy: nothing happens until it is awaited, as an rvalue or as an lvalue; until then the
/// group, and a key passed as `std::string_view` or literal, must live. It is also the waiter, so awaited where it is,
/// usually in the awaiting coroutine's frame: joining allocates nothing, and to destroy it is to leave. Awaited a second
/// time it throws `std::logic_error`.
///
/// Errors are thrown from the `co_await` expression, as by the blocking front.

#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/recycling.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>

namespace cacheflight::inline v1 {
namespace detail::coroutine_front {

template <class A>
concept awaiter = requires(A& a, std::coroutine_handle<> h) {
  a.await_ready();
  a.await_suspend(h);
  a.await_resume();
};

template <class A>
decltype(auto) awaiter_of(A&& a) {
  if constexpr (requires { std::forward<A>(a).operator co_await(); }) return std::forward<A>(a).operator co_await();
  else if constexpr (requires { operator co_await(std::forward<A>(a)); }) return operator co_await(std::forward<A>(a));
  else return std::forward<A>(a);
}

/// What any coroutine may await; `asio::awaitable` is not.
template <class A>
concept awaitable =
    has_await_ready<A> && awaiter<std::remove_reference_t<decltype(coroutine_front::awaiter_of(std::declval<A>()))>>;

/// What is yielded by rvalue reference is ours to move from.
template <class R>
struct owned_answer {
  using type = R;
  static_assert(
      !std::is_lvalue_reference_v<R>,
      "cacheflight: this task's awaitable yields an lvalue reference, as a shared task does: to a result that "
      "is not the flight's. Return a coroutine that awaits it and returns a copy, or a std::shared_ptr");
};
template <class R>
struct owned_answer<R&&> {
  using type = std::remove_cv_t<R>;
};
template <awaitable A>
using answer_of = typename owned_answer<decltype(coroutine_front::awaiter_of(std::declval<A>()).await_resume())>::type;

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
  static_assert(!is_executor_bound<typename Task::function_type>,
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
  /// In the frame that runs the task. If it is destroyed before it has settled, the task can no longer answer.
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

struct no_scheduler {};

/// A call's options until it has joined, then what watches its stop token.
template <class P, class Options>
class stage {
 public:
  explicit stage(run_options&& opts) noexcept : now_(std::in_place_index<0>, std::move(opts)) {}
  [[nodiscard]] run_options& options() noexcept { return *std::get_if<0>(&now_); }
  void watch(std::stop_token const& stop, waiter<P>& w) { now_.template emplace<1>(stop, leave_on_stop<P>{&w}); }
  void unwatch() noexcept {
    if (now_.index() == 1) now_.template emplace<0>();
  }

 private:
  std::variant<run_options, std::stop_callback<leave_on_stop<P>>> now_;
};
template <class P>
class stage<P, no_options> {
 public:
  explicit stage(no_options) noexcept {}
  [[nodiscard]] static no_options options() noexcept { return {}; }
  static void watch(std::stop_token const&, waiter<P>&) noexcept {}
  static void unwatch() noexcept {}
};

/// What `run` returns, and the waiter: it lives in the frame of the awaiting coroutine. Movable until it is awaited.
template <class Group, class K, class Options, class Task, class Scheduler>
class [[nodiscard]] operation final : inline_caller<typename Group::platform_type> {
  using P = typename Group::platform_type;
  using core_type = core<P>;
  using flight_type = awaitable_flight<P, typename Group::key_type, Task>;
  using result = result_of_answer<answer_of<typename Task::result>>;

 public:
  operation(Group* g, K&& k, Options&& o, Task&& t, Scheduler s)
      : flights_(g), key_(std::move(k)), task_(std::move(t)), stage_(std::move(o)), scheduler_(std::move(s)) {}
  operation(operation&& o)
      : operation(o.flights_, std::move(o.key_), std::move(o.stage_.options()), std::move(o.task_), o.scheduler_) {}
  operation& operator=(operation&&) = delete;
  ~operation() { stage_.unwatch(); }

  /// Resume the caller by `where(f)`, `f` being a copyable `void()`, instead of on the thread that ends its wait.
  template <class Where>
  [[nodiscard]] auto resume_on(Where where) && {
    static_assert(std::is_copy_constructible_v<Where>,
                  "cacheflight: a scheduler must be copyable; capture a pointer or std::ref");
    return operation<Group, K, Options, Task, Where>(flights_, std::move(key_), std::move(stage_.options()),
                                                     std::move(task_), std::move(where));
  }

  class awaiter {
   public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> caller) { return op_.suspend(caller); }
    typename result::type await_resume() { return op_.resume(); }

   private:
    friend operation;
    explicit awaiter(operation& op) noexcept : op_(op) {}
    operation& op_;
  };
  [[nodiscard]] awaiter operator co_await() noexcept { return awaiter(*this); }

 private:
  bool suspend(std::coroutine_handle<> caller) {
    if (caller_)
      throw std::logic_error(
          "cacheflight: what run returned was awaited a second time; call run once for each co_await");
    caller_ = caller;
    auto&& opts = stage_.options();
    std::stop_token const stop = opts.stop_token();
    if (stop.stop_possible()) (void)ready_made<caller_stopped_error>();
    flight_type* leads = nullptr;
    auto const build = [&](K& k) {
      return leads = new flight_type(std::move(k), opts.take_metadata(), std::move(task_));
    };
    typename inline_caller<P>::starting start(*this);
    if (access::core(*flights_).settings().on_event()) start.entering();
    entry in;
    try {
      in = access::enter_suspended(*flights_, key_, *this, opts, detail::type_of<typename result::value_type>(), build,
                                   !stop.stop_possible(),
                                   !stop.stop_possible() && std::is_same_v<Scheduler, no_scheduler>);
    } catch (...) {
      start.note();
      if (!start.end()) return true;  // another's turn has destroyed the frame that would catch it
      throw;
    }
    // If it is suspended the frame may be gone from here on: resumed on another thread, or destroyed.
    bool suspended = in.suspended;
    if (!suspended) {
      if (stop.stop_possible()) stage_.watch(stop, *this);
      suspended = core_type::arm(*this);
    }
    if (!suspended) start.note();
    if (in.how == admission::leads) {
      start.leads();
      leads->start();
    }
    return !start.end();
  }

  typename result::type resume() {
    stage_.unwatch();
    struct at_exit {
      operation& op;
      ~at_exit() { op.finish_turn(); }
    } const guard{*this};
    if (this->how_left() == departure::left) throw ready_made<caller_stopped_error>();
    return static_cast<typename result::type>(detail::outcome_of<typename result::value_type>(*this));
  }

  [[nodiscard]] void const* place() const noexcept override {
    // Who is resumed by a scheduler may destroy others that are about to be.
    if constexpr (std::is_same_v<Scheduler, no_scheduler>) return inline_caller<P>::place();
    else return nullptr;
  }
  [[nodiscard]] bool hand_over(typename waiter<P>::waiters& others) noexcept override {
    if constexpr (std::is_same_v<Scheduler, no_scheduler>) {
      this->queue_turns(others);
    } else {
      if (this->is_starting_here()) return true;
      try {
        auto scheduler = scheduler_;
        scheduler([caller = caller_]() noexcept { caller.resume(); });
      } catch (...) {
        if (unwinding()) std::terminate();  // it cannot pass through who ends the wait, and would be lost here
        return false;
      }
    }
    return true;
  }
  void take_turn() noexcept override { caller_.resume(); }

  Group* flights_;
  K key_;
  Task task_;
  std::coroutine_handle<> caller_;
  [[no_unique_address]] stage<P, Options> stage_;
  [[no_unique_address]] Scheduler scheduler_;
};

}  // namespace detail::coroutine_front

/// Tasks that return an awaitable: `run` returns an awaitable of `std::shared_ptr<T const>` (`void` for `void`), `T`
/// being what the task's awaitable yields.
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

}  // namespace cacheflight::inline v1
