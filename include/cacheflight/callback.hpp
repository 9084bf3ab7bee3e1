// SPDX-License-Identifier: MIT
#pragma once

/// The front for callbacks: nobody waits, a function is called.
///
///     flights.start("user:" + id, std::bind_front(load_user, id),
///                   [](std::exception_ptr error, std::shared_ptr<user const> u) { … });
///
/// The task returns a plain value, and runs inside `start` (or wherever `cacheflight::on(executor, task)` sends it); or
/// it is callback-style itself: `cacheflight::answering<user>(task)` has `task(cacheflight::completion<user>, args…)`
/// called, and the task answers through the completion, once, from any thread, now or later.
///
/// Who calls the callback. The thread that ends the wait: the one that answers or cancels, a helper thread of the group
/// after a timeout, the one that requests a stop; inside `start` if the outcome is there at once, also where `start` is called
/// inside a task. `cacheflight::via(scheduler, callback)` calls it on the scheduler's terms instead: any callable that takes
/// a copyable `void()`. What a callback throws, also when it is moved, has nobody to go to: it is counted in
/// `statistics::callback_failures` and dropped.
///
/// Turns. A callback that is called, and a coroutine or receiver that is resumed, on the thread that ends its wait has its
/// turn. Turns do not nest: those that are due inside one, on the same stack, also those of a `start` there whose outcome is
/// there at once, come when it is over. So a turn must not wait for another, and one that is long, runs an event loop or
/// suspends its fiber holds up those that were due inside of it. Nobody else: what other fibers of the thread end goes on
/// meanwhile. A fiber may go on on another thread inside a turn, which takes the turns that are queued along; it must have
/// 8 KiB of stack left where it is suspended, must share its stack with nobody, and must not be shut down before the turn
/// is over. With `via` (and `resume_on`) a callback takes no turn, waits for none and holds up none: the way to go on an
/// event loop's thread.
///
/// Unwinding. A task, plain or callback-style, in which the thread exits or is cancelled, or whose stackful coroutine is shut
/// down, unwinds: its flight ends as abandoned, and the unwinding goes on through `start`, or through the `work`. It must not
/// begin in a callback, or in a scheduler: that ends the program. See `<cacheflight/blocking.hpp>` for libc++.
///
/// Leaving: `run_options::stop_token`; the callback then gets `caller_stopped_error`. Errors of the call, such as
/// `max_keys_error`, reach the callback as well; only a null task or callback, a key that is refused (see `group::run`),
/// and `std::bad_alloc` for the call's own memory, are thrown by `start`.

#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <any>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

namespace detail::callback_front {

/// The flight as a completion sees it: without its types.
template <class T>
class answer_target {
 public:
  virtual bool resolve(std::shared_ptr<void const> value) noexcept = 0;
  virtual bool reject(std::exception_ptr exception) noexcept = 0;
  virtual void drop() noexcept = 0;
  [[nodiscard]] virtual std::stop_token stop() = 0;
  [[nodiscard]] virtual bool stopped() noexcept = 0;

 protected:
  ~answer_target() = default;
};

}  // namespace detail::callback_front

/// How a callback-style task answers, exactly once, from any thread. Move-only. If it is destroyed without an answer,
/// the flight ends with `abandoned_error` (rule 9). A second answer is refused, and an answer to a flight that was
/// cancelled or timed out is dropped.
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

  /// Answers with a value (nothing for `void`). False: there was an answer already. If making the shared object throws,
  /// that exception is the answer.
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

namespace detail::callback_front {

/// What a callback-style task "returns": a front of its own.
template <class T>
struct answers {
  using type = T;
};

template <class T, class F>
struct answering_task {
  F function;
  explicit answering_task(F f) : function(std::move(f)) {}

  template <class... Args>
    requires std::is_invocable_v<F, completion<T>, Args...>
  answers<T> operator()(completion<T> done, Args&&... args) {
    std::invoke(std::move(function), std::move(done), std::forward<Args>(args)...);
    return {};
  }
};
template <class F>
struct inner_of {
  using type = void;
};
template <class T, class F>
struct inner_of<answering_task<T, F>> {
  using type = F;
};
template <class F>
struct is_answering : std::false_type {};
template <class T, class F>
struct is_answering<answering_task<T, F>> : std::true_type {
  using type = T;
};

/// What a task of `start` answers with.
template <class F>
struct answer_of_task {
  using type = typename bound_task<F>::result;
};
template <class T, class F>
struct answer_of_task<answering_task<T, F>> {
  using type = T;
};

/// A callback with a scheduler; see `via`.
template <class Scheduler, class F>
struct scheduled {
  Scheduler scheduler;
  F function;
  scheduled(Scheduler s, F f) : scheduler(std::move(s)), function(std::move(f)) {}

  template <class... Args>
    requires std::is_invocable_v<F, Args...>
  void operator()(Args&&... args) {
    std::invoke(std::move(function), std::forward<Args>(args)...);
  }
};
template <class F>
inline constexpr bool is_scheduled = false;
template <class Scheduler, class F>
inline constexpr bool is_scheduled<scheduled<Scheduler, F>> = true;

/// A callback of the library's own, which runs nobody's code: it needs no turn, and must not wait for one.
template <class F>
struct immediate : F {};
template <class F>
immediate(F) -> immediate<F>;
template <class F>
inline constexpr bool is_immediate = false;
template <class F>
inline constexpr bool is_immediate<immediate<F>> = true;

/// A flight whose task answers through a completion. It can always be asked to stop: the completion has the token.
template <class P, class Key, class F, class T>
class answering_flight final : public keyed_flight<P, Key>, private answer_target<T> {
 public:
  using core_type = core<P>;
  using value_type = typename result_of_answer<T>::value_type;

  template <class K>
  answering_flight(K&& key, std::any&& metadata, F&& task)
      : keyed_flight<P, Key>(std::forward<K>(key), std::move(metadata)), task_(std::move(task)) {}
  ~answering_flight() override {
    if (has_task_) std::destroy_at(std::addressof(task_));
  }

  [[nodiscard]] std::type_info const& type() const noexcept override { return detail::type_of<value_type>(); }

  [[nodiscard]] bool request_stop() noexcept override {
    std::stop_source stop(std::nostopstate);
    core_type::locked(*this, [&] {
      stopped_ = true;
      stop = stop_;
    });
    stop.request_stop();
    return true;
  }

  /// Consumes the task's reference, which becomes the completion's: the flight may be gone afterwards. Throws nothing, but
  /// lets through what unwinds the stack.
  void start() {
    if (!core_type::may_start(*this)) {
      destroy_task();
      return core_type::settle(*this, cause::abandoned, nullptr, nullptr);
    }
    core_type::stoppable(*this);
    core_type::retain(*this);  // for what follows the task, and then for a completion that outlives its flight
    std::exception_ptr failure;
    try {
      task_(completion<T>(this));
    } catch (...) {
      if (unwinding()) {
        returned(cause::abandoned, nullptr);
        throw;
      }
      failure = std::current_exception();
    }
    returned(failure ? cause::rejected : cause::open, std::move(failure));
  }

 private:
  /// `starting`: the task's function has not returned; `expected`: it has; `dropped`: the completion went before it
  /// did.
  enum class answer : unsigned char { starting, expected, dropped, settled };

  /// The task's function is through; `failed` says how if it did not return. Its captures go before its flight: one of them
  /// may be what keeps the completion.
  void returned(cause failed, std::exception_ptr&& failure) noexcept {
    destroy_task();
    bool const threw = failed != cause::open;
    // If the task threw, its error is the outcome, unless it answered first; that the completion was dropped then does
    // not count.
    answer const before = answer_.exchange(threw ? answer::settled : answer::expected, std::memory_order_acq_rel);
    bool const outlived = before == answer::starting && threw;
    if (before == answer::settled) answer_.store(answer::settled, std::memory_order_relaxed);
    else if (threw) settle(failed, nullptr, std::move(failure));
    else if (before == answer::dropped) settle(cause::abandoned, nullptr, nullptr);
    if (!outlived) core_type::release(*this);
  }

  void destroy_task() noexcept {
    has_task_ = false;
    std::destroy_at(std::addressof(task_));
  }

  bool resolve(std::shared_ptr<void const> value) noexcept override {
    return end(cause::resolved, std::move(value), nullptr);
  }
  bool reject(std::exception_ptr exception) noexcept override {
    return end(cause::rejected, nullptr, std::move(exception));
  }
  void drop() noexcept override {
    answer before = answer::starting;
    if (answer_.compare_exchange_strong(before, answer::dropped, std::memory_order_acq_rel)) return;
    end(cause::abandoned, nullptr, nullptr);
  }
  [[nodiscard]] std::stop_token stop() override {
    std::stop_source fresh;
    bool stopped = false;
    std::stop_token const token = core_type::locked(*this, [&] {
      if (!stop_.stop_possible()) std::swap(stop_, fresh), stopped = stopped_;
      return stop_.get_token();
    });
    if (stopped) (void)request_stop();
    return token;
  }

  [[nodiscard]] bool stopped() noexcept override {
    return core_type::locked(*this, [this] { return stopped_; });
  }

  bool end(cause why, std::shared_ptr<void const> value, std::exception_ptr exception) noexcept {
    bool const first = answer_.exchange(answer::settled, std::memory_order_acq_rel) != answer::settled;
    if (first) settle(why, std::move(value), std::move(exception));
    else core_type::release(*this);
    return first;
  }

  void settle(cause why, std::shared_ptr<void const> value, std::exception_ptr exception) noexcept {
    core_type::settle(*this, why, std::move(value), std::move(exception));
  }

  union {
    F task_;  // until it has returned
  };
  std::stop_source stop_{std::nostopstate};  // made when the task asks for it; this and the next under the shard's lock
  bool stopped_ = false;
  std::atomic<answer> answer_{answer::starting};
  bool has_task_ = true;  // an optional would take eight bytes more
};

/// A callback that waits. Owns itself.
template <class P, class Answer, class F>
class callback_caller final : public recycled, inline_caller<P> {
  using core_type = core<P>;
  using result = result_of_answer<Answer>;
  static constexpr bool fits = [] {
    if constexpr (std::is_void_v<Answer>) return std::is_invocable_v<F, std::exception_ptr>;
    else return std::is_invocable_v<F, std::exception_ptr, typename result::type>;
  }();
  static_assert(fits,
                "cacheflight: the callback must take (std::exception_ptr, std::shared_ptr<T const>), or "
                "(std::exception_ptr) for void");

 public:
  template <class Flight, class Group, class K, class Options, class Task>
  static void start(Group& flights, K&& key, Options&& opts, Task task, F callback) {
    std::stop_token const stop = opts.stop_token();
    auto* const self = new callback_caller(std::move(callback));
    std::unique_ptr<callback_caller> owner(self);
    if (stop.stop_possible()) {
      (void)ready_made<caller_stopped_error>();
      self->rare_ = std::make_unique<rare>();
    }
    Flight* leads = nullptr;
    auto const build = [&](K& k) { return leads = new Flight(std::move(k), opts.take_metadata(), std::move(task)); };
    core_type& core = access::core(flights);
    // In the events of a refusal the group may go; what is left of the call counts the failures of its callback.
    bool const may_go = core.settings().on_event() != nullptr && core.settings().max_keys() != 0;
    if (may_go) core.retain();
    std::unique_ptr<core_type, let_go> const kept(may_go ? &core : nullptr);
    entry in;
    try {
      in = access::enter_suspended(flights, key, *self, opts, detail::type_of<typename result::value_type>(), build,
                                   !stop.stop_possible());
    } catch (...) {
      if (!self->rare_) self->rare_ = std::make_unique<rare>();
      self->rare_->has_failed(std::current_exception(), core);
      return owner.release()->go_on();
    }
    owner.release();
    if (!in.suspended) {
      if (stop.stop_possible()) self->rare_->on_stop.emplace(stop, leave_on_stop<P>{self});
      if (!core_type::arm(*self)) self->go_on();
    }
    if (in.how == admission::leads) leads->start();
  }

 private:
  friend std::default_delete<callback_caller>;

  struct let_go {
    void operator()(core_type* c) const noexcept { c->release(); }
  };

  /// What few calls need.
  struct rare {
    rare() = default;
    rare(rare const&) = delete;
    rare& operator=(rare const&) = delete;
    void has_failed(std::exception_ptr e, core_type& c) noexcept {
      error = std::move(e);
      c.retain();
      core.reset(&c);
    }
    std::optional<std::stop_callback<leave_on_stop<P>>> on_stop;
    // Of a call that has joined no flight: nothing else keeps what counts its callback's failure.
    std::exception_ptr error;
    std::unique_ptr<core_type, let_go> core;
  };

  explicit callback_caller(F callback) : callback_(std::move(callback)) {}
  ~callback_caller() = default;

  /// Not suspended: the outcome is there.
  void go_on() noexcept {
    if (this->joined()) return core_type::give_turn(*this);
    typename waiter<P>::waiters alone;
    if (!hand_over(alone)) take_turn();  // no flight whose group could try again
  }

  /// Taken by one call, by its destruction, or by the refusal.
  struct turn final : work::target {
    explicit turn(callback_caller* s) noexcept : self(s) {}
    ~turn() override {
      if (auto* const dropped = self.exchange(nullptr)) dropped->vanish();
    }
    void call() override {
      if (auto* const mine = self.exchange(nullptr)) mine->take_turn();
    }
    std::atomic<callback_caller*> self;
  };

  /// The scheduler dropped the turn.
  void vanish() noexcept { delete this; }

  /// Who takes no turn on whatever thread there is must not go with those who do.
  [[nodiscard]] void const* place() const noexcept override {
    return is_scheduled<F> || is_immediate<F> ? nullptr : inline_caller<P>::place();
  }

  [[nodiscard]] bool hand_over([[maybe_unused]] typename waiter<P>::waiters& others) noexcept override {
    if constexpr (is_immediate<F>) {
      take_turn();
    } else if constexpr (is_scheduled<F>) {
      std::shared_ptr<turn> mine;
      try {
        mine = detail::make_shared_recycled<turn>(this);
        auto scheduler = callback_.scheduler;
        scheduler(work(mine));
      } catch (...) {
        if (unwinding()) std::terminate();
        return mine && !mine->self.exchange(nullptr);  // refused, unless it was taken before the scheduler threw
      }
    } else {
      this->queue_turns(others);
    }
    return true;
  }

  void take_turn() noexcept override {
    std::unique_ptr<rare> const own = std::move(rare_);
    if (own) own->on_stop.reset();
    auto const flight = core_type::detach(*this);  // keeps what counts a callback's failure
    std::shared_ptr<typename result::value_type const> value;
    std::exception_ptr error;
    if (!flight) error = own->error;
    else if (this->how_left() == departure::left) error = std::make_exception_ptr(ready_made<caller_stopped_error>());
    else error = failure_of<P>(*flight, this->how_left());
    if (flight && !error) value = core_type::template take_value<typename result::value_type>(*flight);
    std::unique_ptr<callback_caller> self(this);
    try {
      F callback = std::move(callback_);
      self.reset();
      if constexpr (std::is_void_v<Answer>) std::move(callback)(std::move(error));
      else std::move(callback)(std::move(error), std::move(value));
    } catch (...) {
      if (unwinding()) std::terminate();  // it cannot pass through a turn, and would be lost here
      if (flight) core_type::callback_failed(*flight);
      else own->core->callback_failed();
    }
  }

  F callback_;
  std::unique_ptr<rare> rare_;
};

}  // namespace detail::callback_front

/// A callback-style task that yields a `T`: `task(cacheflight::completion<T>, args…)`, called on the leader's thread.
/// What it throws is the flight's outcome unless it answered before. When it has returned, it is destroyed with what it has
/// captured: what still works on the answer owns what it needs.
template <class T, class F>
[[nodiscard]] auto answering(F task) {
  detail::require_task(task);
  return detail::callback_front::answering_task<T, F>(std::move(task));
}

/// `callback`, to be called through `scheduler`: any callable that takes a `work` (a copyable `void()`) and calls it
/// once. If it throws it is asked again; if it drops the work, the callback is destroyed uncalled.
template <class Scheduler, class F>
  requires std::is_invocable_v<Scheduler&, work>
[[nodiscard]] auto via(Scheduler scheduler, F callback) {
  detail::require_callback(callback);
  static_assert(std::is_copy_constructible_v<Scheduler>,
                "cacheflight: a scheduler must be copyable; capture a pointer or std::ref");
  return detail::callback_front::scheduled<Scheduler, F>(std::move(scheduler), std::move(callback));
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
    static_assert(!is_answering<function>::value || !is_executor_bound<typename inner_of<function>::type>,
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
      static_assert(plain_value<typename bound_type::result>,
                    "cacheflight: start takes tasks that return a plain value, or cacheflight::answering<T>(task)");
      using flight = value_flight<P, typename Group::key_type, bound_type>;
      callback_caller<P, typename bound_type::result, handler>::template start<flight>(
          flights, std::move(key), std::move(opts), std::move(bound), std::forward<Callback>(callback));
    }
  }
};

}  // namespace cacheflight::inline v1
