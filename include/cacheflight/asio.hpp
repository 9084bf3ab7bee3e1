// SPDX-License-Identifier: MIT
#pragma once

/// The Boost.Asio front: tasks that return `asio::awaitable<T>`.
///
/// - In a coroutine: `auto user = co_await flights.run("user:" + id, fetch_user, id);` The result of `run` is itself an
///   `asio::awaitable`, so it works with `co_spawn` and `awaitable_operators`. It is lazy: nothing happens until it is
///   awaited, and until then the group, and a key passed as `std::string_view` or literal, must live.
/// - From anywhere else: `async_run(flights, executor, key, [run_options,] task, token)` with any completion token.
///
/// Executors. The task runs on the leader's executor (`async_run`: on the given one) unless it is wrapped with
/// `on(executor, task)`; on a strand of its own unless that executor is one, because asking it to stop must not race
/// with it. Every caller resumes on its own executor, by a post, and never inside the call that settled the flight. A
/// leader whose task completes inside its starting call goes on without being suspended.
///
/// Cancellation. A caller that is cancelled through its cancellation slot (total, partial or terminal) leaves alone and
/// at once with `caller_cancelled_error`; the others keep waiting, also when it was the leader. When the last one
/// leaves, and when the flight is cancelled or times out, the task is asked to stop: through its `std::stop_token` if
/// it takes one, on the thread that asks, and through the per-operation cancellation of its coroutine (all types),
/// emitted on the task's own serialized executor. The latter is left out if `T`'s awaitable has a concrete executor
/// type that is not a strand (`awaitable<T, io_context::executor_type>`), where nothing can serialize it.
/// `run_options::stop_token` cancels a caller like its slot does, from any thread.
///
/// Contexts. Destroying an execution context destroys the callers that wait on it (they leave) and the tasks that run
/// on it (their flights end as abandoned); callers on other contexts are answered. A context that merely stopped
/// answers nobody on it; flights led on it are bounded by their timeouts.
///
/// Out of memory. The call fails alone, or that is the flight's outcome (rules 9, 10, 31), with these exceptions, which
/// are Asio 1.26's: making the task's strand does not survive a failed allocation (lead on a strand, or use `on` with
/// one, to make none); a strand or a coroutine that must post from its destructor ends the program; and when a task's
/// coroutine is through and its flight settled, `std::bad_alloc` can leave the context's `run`. A strand whose inner
/// executor is `any_io_executor` can get stuck; name the executor's type. Handlers must not throw when they are moved.
///
/// Boost 1.81 or newer; standalone Asio 1.26 or newer if `CACHEFLIGHT_STANDALONE_ASIO` is defined.

#include <cacheflight/detail/asio_context.hpp>
#include <cacheflight/detail/launch.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/group.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1 {

/// This caller was cancelled, through its own cancellation slot; the flight goes on if others wait for it. Its code is
/// `asio::error::operation_aborted`, but the type is its own, so that an `operation_aborted` of the task is not taken
/// for it (rule 14).
class caller_cancelled_error : public detail::asio_front::system_error {
 public:
  /// For the library, and for tests of code that handles it.
  caller_cancelled_error()
      : detail::asio_front::system_error(detail::asio_front::net::error::operation_aborted,
                                         "cacheflight: this caller was cancelled") {}
};

namespace detail::asio_front {

/// A task with an executor of its own; see `on`.
template <class Executor, class F>
struct task_on : executor_bound {
  Executor executor;
  F function;

  task_on(Executor ex, F f) : executor(std::move(ex)), function(std::move(f)) {}

  template <class... Args>
    requires std::is_invocable_v<F, Args...>
  decltype(auto) operator()(Args&&... args) {
    return std::invoke(std::move(function), std::forward<Args>(args)...);
  }
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
  return task.executor;
}

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

/// Completion handler of a task's coroutine: keeps the signal as long as the coroutine. See `associated_executor` below.
template <class Flight>
struct finished {
  using cancellation_slot_type = net::cancellation_slot;
  flight_reference<Flight> flight;
  [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept { return flight->signal_.slot(); }
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

  /// The caller is the leader's waiter, which keeps the flight alive meanwhile.
  void start() noexcept {
    if (!core_type::may_start(*this)) return unwind(cause::abandoned, nullptr, nullptr);
    std::exception_ptr failure;
    bool under_way = false;  // somebody else hands the task over
    try {
      under_way =
          place_->shared && asio_front::with_strand(place_->executor, [&](auto const& found) { return relay(found); });
      if (!under_way) spawn(drive(reference(this)));
    } catch (...) {
      failure = std::current_exception();
    }
    if (!under_way) handed_over(std::move(failure));
    if (place_uses_.load(std::memory_order_relaxed) != 0) core_type::stoppable(*this);  // not through already
  }

  [[nodiscard]] bool request_stop() noexcept override {
    if constexpr (Task::takes_token) token_.request_stop();
    pin_guard guard;
    if (context_) {
      guard.reset(context_->try_pin());
      if (!guard) return true;  // the context is going, and the task with it
    }
    if (!use_place()) return true;
    bool asked = true;
    if (place_->serial) {
      try {
        asio_front::with_strand(place_->executor, [&]<class Found>(Found const& ex) {
          stopper stop{referred()};
          if constexpr (is_strand<Found>) net::post(ex.get_inner_executor(), stop_on<Found>{ex, std::move(stop)});
          else net::post(ex, std::move(stop));
        });
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
#pragma push_macro("emit")  // Qt's
#undef emit
    void operator()() {
      flight->asked_.store(true, std::memory_order_relaxed);
      flight->signal_.emit(net::cancellation_type::all);
    }
#pragma pop_macro("emit")
  };

  /// See `with_strand`.
  template <class Strand>
  struct stop_on {
    Strand strand;
    stopper stop;
    void operator()() {
      auto to = stop.flight->referred();
      try {
        net::dispatch(strand, std::move(stop));
      } catch (...) {
        if (to->asked_.load(std::memory_order_relaxed)) throw;  // a cancellation handler's, not the strand's
        core_type::stop_refused(*to.release());
      }
    }
  };

  /// The task on its way to a strand of somebody else's, which must not get stuck; see `with_strand`.
  struct launching {
    explicit launching(task_flight* f) : flight(f->referred()) { body.emplace(drive(reference(f))); }
    launching(launching const&) = delete;
    launching& operator=(launching const&) = delete;
    ~launching() { refuse(nullptr); }

    /// On the strand.
    void go() noexcept {
      if (taken.exchange(true)) return;
      std::exception_ptr failure;
      // A stop request that came first has found no coroutine to cancel; one that comes now waits for the strand.
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
  template <class Strand>
  struct start_on {
    Strand strand;
    std::shared_ptr<launching> task;
    void operator()() {
      try {
        net::dispatch(strand, [own = task] { own->go(); });
      } catch (...) {
        task->refuse(std::current_exception());
      }
    }
  };
  /// False: no strand, or one that is reached from this thread without its inner executor's queue; start the task here.
  template <class Found>
  [[nodiscard]] bool relay(Found const& found) {
    if constexpr (is_strand<Found>) {
      if (found.running_in_this_thread() || asio_front::runs_here(found.get_inner_executor())) return false;
      auto on_its_way = detail::make_shared_recycled<launching>(this);
      try {
        net::post(found.get_inner_executor(), start_on<Found>{found, on_its_way});
      } catch (...) {
        on_its_way->refuse(std::current_exception());
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
      why = cause::rejected;
      failure = std::current_exception();
    }
    if (self->launch_.answered()) self->unwind(why, std::move(value), std::move(failure));
    // co_spawn would post once more on behalf of a task that never suspended; there is nobody left to be called early.
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
    if constexpr (Task::takes_token) return std::stop_source();
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

/// Turns being given to an executor on this thread. An executor that throws, or takes and drops, destroys the function
/// object it was given: the turns are not lost then.
struct submission {
  void const* what;
  bool dropped = false, taken = false;

  explicit submission(void const* w) noexcept : what(w), outer_(std::exchange(under_way, this)) {}
  submission(submission const&) = delete;
  submission& operator=(submission const&) = delete;
  ~submission() { end(); }
  void end() noexcept {
    if (under_way == this) under_way = outer_;
  }
  static submission* of(void const* w) noexcept { return under_way && under_way->what == w ? under_way : nullptr; }

 private:
  submission* outer_;
  static inline thread_local submission* under_way = nullptr;
};

/// A caller of Asio's, whatever it waits as.
template <class P>
class caller : public waiter<P>, private context_guard::parked {
 public:
  using core_type = core<P>;

  /// Cancelled through the slot, on the caller's own executor.
  void cancel() noexcept { core_type::leave(*this); }

  [[nodiscard]] bool pin(pin_guard& guard) noexcept override {
    if (!context_) return true;
    guard.reset(context_->try_pin());
    return guard != nullptr;
  }

  /// Those of one context are released together, and pinned by the same.
  [[nodiscard]] void const* place() const noexcept override { return context_.get(); }

  /// The posted function object was destroyed without being called, or the context is going: destroy the handler.
  virtual void drop_turn() noexcept = 0;

 protected:
  template <class, class>
  friend class batch;
  explicit caller(context_guard::reference context) : context_(std::move(context)) {
    (void)ready_made<caller_cancelled_error>();
  }
  ~caller() {
    unwatch();
    unpark();
    if (this->joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }

  /// The handler is stored; from here on the caller can be resumed, on another thread even before this returns.
  template <class Slot>
  void suspend(Slot slot) noexcept {
    park();
    if (slot.is_connected()) {
      try {
        slot.template emplace<canceller>(this);
      } catch (...) {
        failure_ = std::current_exception();
        core_type::leave(*this);
      }
    }
    if (!core_type::arm(*this)) core_type::give_turn(*this);
  }

  void park() noexcept {
    if (!context_) return;
    context_->park(*this);
    parked_ = true;
  }
  void unpark() noexcept {
    if (std::exchange(parked_, false)) context_->unpark(*this);
  }

  /// Own departure or flight's outcome; throws, or returns the flight's value.
  template <class T>
  [[nodiscard]] std::shared_ptr<T const> outcome() {
    unwatch();
    finish_guard<P> const at_exit(*this);
    if (this->how_left() != departure::left) return detail::outcome_of<T>(*this);
    if (failure_) std::rethrow_exception(failure_);
    throw ready_made<caller_cancelled_error>();
  }

  /// Posts the caller's turn to its executor. False: refused, nothing has changed.
  template <class Executor, class Allocator>
  [[nodiscard]] bool post_turn(Executor ex, Allocator const& allocator) noexcept {
    return asio_front::with_strand(ex, [&]<class Found>(Found const& found) {
      if constexpr (is_strand<Found>)
        return submit([&] { net::post(found.get_inner_executor(), turn<Allocator, Found>(this, allocator, found)); });
      else return submit([&] { net::post(found, turn<Allocator>(this, allocator)); });
    });
  }

  /// The caller is a waiter: from here on it can also be cancelled through `run_options::stop_token`, on any thread.
  void watch(std::stop_token const& token) {
    if (token.stop_possible()) on_stop_.emplace(token, leave_on_stop<P>{this});
  }

  /// Waits for a stop callback under way, which may touch this.
  void unwatch() noexcept { on_stop_.reset(); }

  std::exception_ptr failure_;

 private:
  struct canceller {
    caller* self;
    explicit canceller(caller* c) noexcept : self(c) {}
    void operator()(net::cancellation_type type) const noexcept {
      if ((type & net::cancellation_type::all) != net::cancellation_type::none) self->cancel();
    }
  };

  /// `give` makes a turn and gives it to an executor. False: refused. Throws only what a handler threw that the
  /// executor called at once.
  template <class Give>
  [[nodiscard]] bool submit(Give&& give) {
    submission now(this);
    try {
      give();
    } catch (...) {
      if (now.taken) throw;
      if (!now.dropped) disown_(turn_);  // some queue has it still
      return false;
    }
    now.end();
    if (now.dropped) drop_turn();
    return true;
  }

  /// The function object that gives the caller its turn; on its strand if it has one (see `with_strand`).
  template <class Allocator, class... Strand>
  class turn {
   public:
    using allocator_type = Allocator;
    turn(caller* self, Allocator const& allocator, Strand const&... strand) noexcept
        : self_(self), allocator_(allocator), strand_(strand...) {
      here();
    }
    turn(turn&& other) noexcept
        : self_(std::exchange(other.self_, nullptr)), allocator_(other.allocator_), strand_(std::move(other.strand_)) {
      here();
    }
    turn& operator=(turn&&) = delete;
    ~turn() {
      if (!self_) return;
      if (submission* const now = submission::of(self_)) now->dropped = true;
      else self_->drop_turn();
    }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_; }

    void operator()() {
      if (!self_) return;
      if (submission* const now = submission::of(self_)) now->taken = true, now->what = nullptr;
      caller* const self = std::exchange(self_, nullptr);
      if constexpr (sizeof...(Strand) == 0) {
        self->take_turn();
      } else {
        auto const strand = std::move(std::get<0>(strand_));
        if (!self->submit([&] { net::dispatch(strand, turn<Allocator>(self, allocator_)); })) core_type::strand(*self);
      }
    }

   private:
    /// The caller knows where its turn is, to disown it if the executor that has it refuses.
    void here() noexcept {
      if (!self_) return;
      self_->turn_ = this;
      self_->disown_ = [](void* t) { static_cast<turn*>(t)->self_ = nullptr; };
    }

    caller* self_;
    Allocator allocator_;
    [[no_unique_address]] std::tuple<Strand...> strand_;
  };

  /// On the caller's executor.
  virtual void take_turn() = 0;

  void evict() noexcept override {
    unwatch();
    if (!this->joined() || core_type::withdraw(*this)) drop_turn();
  }

  context_guard::reference context_;
  bool parked_ = false;
  std::optional<std::stop_callback<leave_on_stop<P>>> on_stop_;
  void* turn_ = nullptr;  // its turn, wherever it was moved to last; used only when an executor threw
  void (*disown_)(void*) = nullptr;
};

template <class P, class Executor>
class coroutine_caller;

/// Released callers of one executor on their way to it, in one posted function object. Before that lets the first go
/// on, it posts itself again for the others, so that one that throws, or blocks, keeps nobody waiting; where the
/// executor has several threads, they take turns from here side by side.
template <class P, class Executor>
class batch {
 public:
  using core_type = core<P>;
  using caller_type = coroutine_caller<P, Executor>;
  static constexpr std::size_t most = 64;

  batch(batch const&) = delete;
  batch& operator=(batch const&) = delete;

  /// `waiter::hand_over` for `first`, and for the next of `others` that have its executor.
  [[nodiscard]] static bool hand_over(caller_type& first, typename waiter<P>::waiters& others) noexcept {
    reference const whole(new (std::nothrow) batch(first));
    if (!whole) return first.post_turn(first.executor_, std::allocator<void>());
    while (whole->count_ < most && !others.empty() && first.goes_with(others.front()))
      whole->callers_[whole->count_++] = static_cast<caller_type*>(others.pop_front());
    // From here on the context finds them in its queue.
    if (first.context_)
      first.context_->unpark(whole->callers_.data(), whole->count_, [](caller<P>* c) -> context_guard::parked& {
        c->parked_ = false;
        return *c;
      });
    if (post(whole)) return true;
    bool refused = false;
    while (caller_type* const c = whole->next()) {
      c->park();
      if (c == &first) refused = true;
      else others.push_back(static_cast<waiter<P>&>(*c));
    }
    return !refused;
  }

 private:
  struct let_go {
    void operator()(batch* b) const noexcept {
      if (b->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete b;
    }
  };
  using reference = std::unique_ptr<batch, let_go>;
  [[nodiscard]] static reference another(reference const& b) noexcept {
    b->references_.fetch_add(1, std::memory_order_relaxed);
    return reference(b.get());
  }

  explicit batch(caller_type& first) noexcept : executor_(first.executor_) { callers_[0] = &first; }
  /// Nobody will call any more: their context is gone.
  ~batch() {
    while (caller_type* const c = next()) c->drop_turn();
  }

  [[nodiscard]] bool more() const noexcept { return next_.load(std::memory_order_relaxed) < count_; }
  /// A caller that nobody else gets; null if there are no more.
  [[nodiscard]] caller_type* next() noexcept {
    if (!more()) return nullptr;
    std::size_t const i = next_.fetch_add(1, std::memory_order_relaxed);
    return i < count_ ? callers_[i] : nullptr;
  }

  /// What is posted.
  struct turns {
    reference of;
    void operator()() const {
      if (submission* const now = submission::of(of.get())) now->taken = true;
      caller_type* c = of->next();
      if (c && of->more() && !post(of)) of->strand();
      for (; c; c = of->next()) c->take_turn();
    }
  };
  /// The same for a strand, on its inner executor; see `with_strand`.
  template <class Strand>
  struct turns_on {
    reference of;
    Strand where;
    void operator()() const {
      submission now(of.get());
      try {
        net::dispatch(where, turns{another(of)});
      } catch (...) {
        if (now.taken) throw;
        now.end();
        of->strand();
      }
    }
  };

  /// False: refused.
  [[nodiscard]] static bool post(reference const& whole) noexcept {
    try {
      asio_front::with_strand(whole->executor_, [&]<class Found>(Found const& found) {
        if constexpr (is_strand<Found>) net::post(found.get_inner_executor(), turns_on<Found>{another(whole), found});
        else net::post(found, turns{another(whole)});
      });
      return true;
    } catch (...) {
      return false;
    }
  }

  /// Refused on the callers' own executor: the core tries again.
  void strand() noexcept {
    while (caller_type* const c = next()) {
      c->park();
      core_type::strand(*c);
    }
  }

  Executor executor_;
  std::atomic<std::size_t> references_{1};
  std::atomic<std::size_t> next_{0};
  std::size_t count_ = 1;
  std::array<caller_type*, most> callers_;
};

/// A coroutine that awaits `run`. Lives in the frame of the coroutine that `run` returns.
template <class P, class Executor>
class coroutine_caller final : public caller<P> {
 public:
  explicit coroutine_caller(Executor ex) : caller<P>(context_guard::of(ex)), executor_(std::move(ex)) {}
  ~coroutine_caller() = default;

  template <class Handler>
  void suspend_with(Handler&& handler) noexcept {
    using stored = std::decay_t<Handler>;
    static_assert(sizeof(stored) <= sizeof(storage_) && alignof(stored) <= alignof(std::max_align_t));
    static_assert(std::is_nothrow_move_constructible_v<stored> || sizeof(stored) <= sizeof(storage_));
    auto* const at = ::new (static_cast<void*>(storage_)) stored(std::forward<Handler>(handler));
    resume_ = [](void* from, bool call) {
      auto* const source = static_cast<stored*>(from);
      stored taken(std::move(*source));
      source->~stored();
      if (call) std::move(taken)();  // the caller may be gone from here on
    };
    this->suspend(net::get_associated_cancellation_slot(*at));
  }

  using caller<P>::outcome;
  using caller<P>::watch;
  [[nodiscard]] Executor const& executor() const noexcept { return executor_; }

 private:
  friend class batch<P, Executor>;

  [[nodiscard]] bool hand_over(typename waiter<P>::waiters& others) noexcept override {
    if (!others.empty() && goes_with(others.front())) return batch<P, Executor>::hand_over(*this, others);
    return this->post_turn(executor_, std::allocator<void>());
  }
  [[nodiscard]] bool goes_with(waiter<P> const& other) const noexcept {
    return typeid(other) == typeid(*this) && static_cast<coroutine_caller const&>(other).executor_ == executor_;
  }
  void take_turn() override {
    this->unpark();
    std::exchange(resume_, nullptr)(storage_, true);
  }
  void drop_turn() noexcept override {
    this->unwatch();
    this->unpark();
    if (resume_) std::exchange(resume_, nullptr)(storage_, false);
  }

  Executor executor_;
  void (*resume_)(void*, bool) = nullptr;
  alignas(std::max_align_t) std::byte storage_[64];
};

/// What `run` awaits. An asynchronous operation rather than an awaiter, because that is what every version of
/// `asio::awaitable` takes.
template <class Caller>
struct suspension {
  Caller* self;

  struct initiation {
    template <class Handler>
    void operator()(Handler&& handler, Caller* caller) const noexcept {
      caller->suspend_with(std::forward<Handler>(handler));
    }
  };

  template <class Token>
  auto operator()(Token&& token) const
      -> decltype(net::async_initiate<Token, void()>(std::declval<initiation>(), token, std::declval<Caller*>())) {
    return net::async_initiate<Token, void()>(initiation(), token, static_cast<Caller*>(self));
  }
};

/// `Group::enter` for a task that is a coroutine; starts it if this caller leads.
template <class Answer, class AwaitableExecutor, class Group, class K, class Task>
void enter(Group& flights, K& key, waiter<typename Group::platform_type>& w, run_options& opts, Task& task,
           AwaitableExecutor const& leader) {
  using P = typename Group::platform_type;
  using flight_type = task_flight<P, typename Group::key_type, Task, Answer, AwaitableExecutor>;
  auto const build = [&](K& k) { return new flight_type(std::move(k), opts.take_metadata(), std::move(task), leader); };
  if (access::enter(flights, key, w, opts, detail::type_of<typename result_of_answer<Answer>::value_type>(), build) ==
      admission::leads)
    static_cast<flight_type*>(w.joined())->start();
}

template <class Answer, class Executor, class Group, class K, class Task>
net::awaitable<typename result_of_answer<Answer>::type, Executor> await_run(Group* flights, K key, run_options opts,
                                                                            Task task) {
  using caller_type = coroutine_caller<typename Group::platform_type, Executor>;
  using result = result_of_answer<Answer>;

  caller_type self(co_await net::this_coro::executor);
  auto const cancellation = co_await net::this_coro::cancellation_state;
  bool const throws = co_await net::this_coro::throw_if_cancelled();
  asio_front::enter<Answer, Executor>(*flights, key, self, opts, task, self.executor());
  self.watch(opts.stop_token());
  if (throws && cancellation.cancelled() != net::cancellation_type::none) throw ready_made<caller_cancelled_error>();
  if (!caller_type::core_type::released(self)) co_await suspension<caller_type>{&self};
  if constexpr (std::is_void_v<typename result::type>) (void)self.template outcome<typename result::value_type>();
  else co_return self.template outcome<typename result::value_type>();
}

template <class Result>
struct signature {
  using type = void(std::exception_ptr, Result);
};
template <>
struct signature<void> {
  using type = void(std::exception_ptr);
};

/// A caller with a completion handler: `async_run`.
template <class P, class Answer, class Handler, class IoExecutor>
class handler_caller final : public caller<P> {
 public:
  using core_type = core<P>;
  using value_type = typename result_of_answer<Answer>::value_type;
  using executor_type = net::associated_executor_t<Handler, IoExecutor>;
  using allocator_type = net::associated_allocator_t<Handler>;

  using work_type = std::decay_t<decltype(net::prefer(std::declval<executor_type const&>(),
                                                      net::execution::outstanding_work.tracked))>;

  [[nodiscard]] static handler_caller* make(Handler&& handler, IoExecutor const& io) {
    allocator here(net::get_associated_allocator(handler));
    handler_caller* const memory = std::allocator_traits<allocator>::allocate(here, 1);
    try {
      return ::new (static_cast<void*>(memory)) handler_caller(std::move(handler), io);
    } catch (...) {
      std::allocator_traits<allocator>::deallocate(here, memory, 1);
      throw;
    }
  }

  using caller<P>::watch;

  /// A member of some flight, or about to complete with what kept it from becoming one.
  void go() noexcept { this->suspend(net::get_associated_cancellation_slot(handler_)); }

  void fail(std::exception_ptr failure) {
    this->failure_ = failure;
    typename waiter<P>::waiters alone;
    if (this->hand_over(alone)) return;
    (void)take();
    std::rethrow_exception(failure);
  }

 private:
  using allocator = typename std::allocator_traits<allocator_type>::template rebind_alloc<handler_caller>;

  handler_caller(Handler&& handler, IoExecutor const& io)
      : caller<P>(context_guard::of(net::get_associated_executor(handler, io))),
        executor_(net::get_associated_executor(handler, io)),
        work_(net::prefer(executor_, net::execution::outstanding_work.tracked)),
        handler_(std::move(handler)) {}
  ~handler_caller() = default;

  [[nodiscard]] bool hand_over(typename waiter<P>::waiters&) noexcept override {
    return this->post_turn(executor_, net::get_associated_allocator(handler_));
  }

  /// The handler, when everything else is freed; the work goes with it.
  struct taken {
    work_type work;
    Handler handler;
  };
  [[nodiscard]] taken take() noexcept {
    this->unwatch();
    this->unpark();
    clear_slot();
    allocator here(net::get_associated_allocator(handler_));
    taken out{std::move(work_), std::move(handler_)};
    this->~handler_caller();
    std::allocator_traits<allocator>::deallocate(here, this, 1);
    return out;
  }

  void clear_slot() noexcept {
    if (auto slot = net::get_associated_cancellation_slot(handler_); slot.is_connected()) slot.clear();
  }

  void take_turn() override {
    clear_slot();
    std::exception_ptr failure;
    std::shared_ptr<value_type const> value;
    if (this->joined()) {
      try {
        value = this->template outcome<value_type>();
      } catch (...) {
        failure = std::current_exception();
      }
    } else {
      failure = this->failure_;
    }
    taken mine = take();
    if constexpr (std::is_void_v<Answer>) std::move(mine.handler)(std::move(failure));
    else std::move(mine.handler)(std::move(failure), std::move(value));
  }

  void drop_turn() noexcept override { (void)take(); }

  executor_type executor_;
  work_type work_;  // the context runs as long as this caller waits
  Handler handler_;
};

template <class Task>
struct awaitable_of;
template <class T, class Executor>
struct awaitable_of<net::awaitable<T, Executor>> {
  using answer = T;
  using executor_type = Executor;
};

template <class Group, class IoExecutor>
struct initiate_run {
  Group* flights;
  IoExecutor io;

  using executor_type = IoExecutor;
  [[nodiscard]] executor_type get_executor() const noexcept { return io; }

  template <class Handler, class K, class Task>
  void operator()(Handler&& handler, K key, run_options opts, Task task) const {
    using awaitable = awaitable_of<typename Task::result>;
    using caller_type =
        handler_caller<typename Group::platform_type, typename awaitable::answer, std::decay_t<Handler>, IoExecutor>;
    auto* const self = caller_type::make(std::decay_t<Handler>(std::forward<Handler>(handler)), io);
    std::exception_ptr failure;
    try {
      asio_front::enter<typename awaitable::answer>(*flights, key, *self, opts, task,
                                                    typename awaitable::executor_type(io));
      self->watch(opts.stop_token());
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) self->fail(std::move(failure));
    else self->go();
  }
};

template <class Group, class Executor, class K, class F, class Token>
auto start_run(Group& flights, Executor const& ex, K&& key, run_options opts, F&& task, Token&& token) {
  auto bound = bind_task(std::forward<F>(task));
  using awaitable = typename decltype(bound)::result;
  static_assert(
      requires { typename awaitable_of<awaitable>::answer; },
      "cacheflight: async_run takes tasks that return asio::awaitable<T>");
  using result = typename result_of_answer<typename awaitable_of<awaitable>::answer>::type;
  return net::async_initiate<Token, typename signature<result>::type>(
      initiate_run<Group, Executor>{&flights, ex}, token, access::bind_key<Group>(std::forward<K>(key)),
      std::move(opts), std::move(bound));
}

}  // namespace detail::asio_front
}  // namespace cacheflight::inline v1

/// A finished task has nobody to call, so it needs no turn of anybody's: `co_spawn` calls the handler where it is,
/// rather than keep work for the task's executor and dispatch to it. As for a handler without an executor, a
/// cancellation is emitted at once, here on the task's executor, instead of being dispatched there as a raw pointer.
template <class Flight, class Otherwise>
struct cacheflight::detail::asio_front::net::associated_executor<cacheflight::detail::asio_front::finished<Flight>,
                                                                 Otherwise> {
  using asio_associated_executor_is_unspecialised = void;
  using type = cacheflight::detail::asio_front::net::system_executor;
  [[nodiscard]] static type get(cacheflight::detail::asio_front::finished<Flight> const&) noexcept { return {}; }
  [[nodiscard]] static type get(cacheflight::detail::asio_front::finished<Flight> const&, Otherwise const&) noexcept {
    return {};
  }
};

namespace cacheflight::inline v1 {

/// Tasks that return `asio::awaitable<T, Executor>`: `run` returns an `asio::awaitable` of `std::shared_ptr<T const>`
/// (`void` for `void`).
template <class T, class Executor>
struct front<detail::asio_front::net::awaitable<T, Executor>> {
  template <class Group, class K, class Task>
  [[nodiscard]] static auto run(Group& flights, K&& key, run_options&& opts, Task&& task) {
    return detail::asio_front::await_run<T, Executor>(&flights, std::move(key), std::move(opts), std::move(task));
  }
};

/// `task`, to be run on `executor` instead of the leader's: `flights.run(key, cacheflight::on(pool.get_executor(),
/// load), id)`. On a strand of its own unless `executor` is one.
template <class Executor, class F>
  requires(detail::asio_front::net::execution::is_executor<Executor>::value)
[[nodiscard]] auto on(Executor executor, F task) {
  detail::require_task(task);
  return detail::asio_front::task_on<Executor, F>(std::move(executor), std::move(task));
}

/// `flights.run(key, task)` for every completion token: callbacks, `use_future`, `use_awaitable`, `deferred`,
/// `as_tuple`, bound slots, executors and allocators.
///
/// The completion signature is `void(std::exception_ptr, std::shared_ptr<T const>)`, `void(std::exception_ptr)` for
/// `void`. The handler runs once, on its associated executor (`executor` if it has none), never inside this call; all
/// memory of the operation, obtained from its associated allocator, is freed before. The task runs on `executor`. Bind
/// arguments with `std::bind_front`. Per-operation cancellation: total, partial and terminal, with
/// `caller_cancelled_error`. A null task throws `std::invalid_argument`, a key that is refused what `group::run` says;
/// every other error of the call reaches the handler, except that `std::bad_alloc` is thrown when there is no memory to
/// reach it.
///
/// A borrowed key (`std::string_view`, literal) and the group must live until the operation is initiated: with lazy
/// tokens (`deferred`, `use_awaitable`) until it is awaited.
template <class Key, class Hash, class Equal, class Platform, class Executor, class K, class F, class Token>
auto async_run(basic_group<Key, Hash, Equal, Platform>& flights, Executor const& executor, K&& key, run_options opts,
               F&& task, Token&& token) {
  return detail::asio_front::start_run(flights, executor, std::forward<K>(key), std::move(opts), std::forward<F>(task),
                                       std::forward<Token>(token));
}
/// The same, without options.
template <class Key, class Hash, class Equal, class Platform, class Executor, class K, class F, class Token>
  requires(!detail::options_argument<F>)
auto async_run(basic_group<Key, Hash, Equal, Platform>& flights, Executor const& executor, K&& key, F&& task,
               Token&& token) {
  return detail::asio_front::start_run(flights, executor, std::forward<K>(key), run_options{}, std::forward<F>(task),
                                       std::forward<Token>(token));
}

}  // namespace cacheflight::inline v1
