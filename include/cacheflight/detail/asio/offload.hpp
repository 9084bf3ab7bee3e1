// SPDX-License-Identifier: MIT
#pragma once

// A plain function on an executor of its own, and the coroutine that waits for it.

#include <cacheflight/detail/asio/canceller.hpp>
#include <cacheflight/detail/asio/context.hpp>
#include <cacheflight/detail/asio/suspended_handler.hpp>
#include <cacheflight/detail/asio/turn.hpp>
#include <cacheflight/detail/process.hpp>
#include <cacheflight/detail/recycling.hpp>
#include <cacheflight/detail/short_mutex.hpp>
#include <cacheflight/detail/task.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/error.hpp>

#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

template <class T>
inline constexpr bool is_awaitable = false;
template <class T, class Executor>
inline constexpr bool is_awaitable<net::awaitable<T, Executor>> = true;

/// What `offload` returned, and who waits for it. Owned by whoever may still need it: the function on its
/// way, the coroutine, the turn that resumes it, the cancellation slot.
///
/// Three meet here, on three threads: the executor that has the function, the coroutine's context, which may
/// go, and a cancellation, which only sets a flag. Nothing of the coroutine's is used by a thread that has
/// not pinned its context (rules 44 and 45).
template <class Task, class Executor>
class offloaded final : public std::enable_shared_from_this<offloaded<Task, Executor>>,
                        public turn_taker<offloaded<Task, Executor>>,
                        public context_guard::parked {
 public:
  using result = typename Task::result;
  using reference = std::shared_ptr<offloaded>;
  static_assert(
      !std::is_reference_v<result>,
      "cacheflight: an offloaded function must not return a reference: return a value or a pointer");
  static_assert(!is_awaitable<result>,
                "cacheflight: offload takes a plain function; a task that is a coroutine runs elsewhere as "
                "cacheflight::on(executor, task)");

  static_assert(
      !Task::takes_context,
      "cacheflight: an offloaded function has no flight of its own: let it take a std::stop_token or a "
      "stop_flag, and bind the task_context of the task that calls offload");

  offloaded(Task&& task, Executor const& coroutines)
      : context_(context_guard::of(coroutines)), task_(std::move(task)) {}
  offloaded(offloaded const&) = delete;
  offloaded& operator=(offloaded const&) = delete;
  ~offloaded() = default;

  /// Gives the function to `ex`; throws if that refuses.
  template <class To>
  static void send(reference const& self, To const& ex) {
    asio_front::post_by_strand(ex, errand(self));
  }

  [[nodiscard]] bool is_through() const noexcept {
    return state_.load(std::memory_order_acquire) == state::through;
  }

  /// The coroutine, on its own executor. It may be resumed inside of this, and elsewhere before this returns.
  template <class Handler>
  static void suspend(reference self, Executor const& ex, Handler&& handler) {
    auto const& kept = self->handler_.keep(std::forward<Handler>(handler));
    self->executor_.emplace(ex);
    self->not_cancellable_ = asio_front::let_cancel(net::get_associated_cancellation_slot(kept), self);
    if (self->not_cancellable_) self->cancel();
    if (self->context_) {
      self->parked_ = self->context_->park(*self);
      if (!self->parked_) return self->vanish();  // its context is going
    }
    state before = state::under_way;
    if (!self->state_.compare_exchange_strong(before, state::awaited, std::memory_order_acq_rel))
      self->take_turn();
  }

  /// In the coroutine, when the function is through.
  result outcome() {
    if (not_cancellable_) std::rethrow_exception(not_cancellable_);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if constexpr (!std::is_void_v<result>) {
      // It is the coroutine's from here on, and goes here: another thread may be the last to let go of this.
      struct at_exit {
        offloaded* self;
        ~at_exit() { self->value_.reset(); }
      } const guard{this};
      return std::move(*value_);
    }
  }

 private:
  friend class turn_taker<offloaded>;
  friend struct canceller<reference>;

  /// `through`: so is the function; whoever comes second, function or coroutine, has the coroutine go on.
  enum class state : unsigned char { under_way, awaited, through, gone };

  /// The function on its way.
  class errand {
   public:
    explicit errand(reference self) noexcept : self_(std::move(self)) {}
    errand(errand&&) noexcept = default;
    errand& operator=(errand&&) = delete;
    ~errand() {
      if (self_) finish_dropped(self_);
    }
    void operator()() {
      reference const mine = std::move(self_);
      if (mine) run(mine);
    }

    struct attempt_type {
      void refused() const {
        if (unwinding()) throw;  // otherwise the strand's refusal: the function was dropped
      }
    };
    [[nodiscard]] attempt_type attempt() const noexcept { return {}; }

   private:
    reference self_;
  };

  void cancel() noexcept {
    asked_.store(true, std::memory_order_release);
    if constexpr (Task::can_be_told) token_.request_stop();
  }

  // -- where the function runs

  static void run(reference const& self) {
    try {
      if (self->asked_.load(std::memory_order_acquire))
        throw asio_front::system_error(net::error::operation_aborted,
                                       "cacheflight: cancelled before it began");
      if constexpr (std::is_void_v<result>) (*self->task_)(self->token_.get_token());
      else self->value_.emplace((*self->task_)(self->token_.get_token()));
    } catch (...) {
      if (unwinding()) {
        finish_dropped(self);
        throw;
      }
      self->failure_ = std::current_exception();
    }
    finish(self);
  }

  /// It will never return.
  static void finish_dropped(reference const& self) noexcept {
    self->failure_ = std::make_exception_ptr(abandoned_error());
    finish(self);
  }

  static void finish(reference const& self) noexcept {
    self->task_.reset();
    for (;;) {
      pin_guard pinned;
      if (self->context_) {
        pinned.reset(self->context_->try_pin());
        if (!pinned) return;  // it is going, and the coroutine with it
      }
      state now = state::under_way;
      if (self->state_.compare_exchange_strong(now, state::through, std::memory_order_acq_rel)) return;
      if (now != state::awaited ||
          !self->state_.compare_exchange_strong(now, state::through, std::memory_order_acq_rel))
        return;  // gone
      if (self->post_turn(*self->executor_)) return;
      self->state_.store(state::awaited, std::memory_order_release);  // refused
      pinned.reset();
      detail::rest(std::chrono::milliseconds(1));  // nobody else would try again
    }
  }

  // -- the coroutine's turn

  [[nodiscard]] reference referred() noexcept { return this->shared_from_this(); }
  /// It is destroyed with the queue of its context.
  void drop_turn() noexcept { vanish(); }
  void turn_refused() {
    if (this->post_turn(*executor_)) return;
    vanish();
    throw std::bad_alloc();
  }

  /// On the coroutine's executor.
  void take_turn() {
    leave();
    handler_.call();
  }

  /// The coroutine is destroyed, and nobody waits.
  void vanish() noexcept {
    cancel();
    leave();
    handler_.drop();
  }

  /// Gives up what belongs to the context.
  void leave() noexcept {
    if (std::exchange(parked_, false)) context_->unpark(*this);
    executor_.reset();
  }

  void evict(std::unique_lock<std::mutex>& lock) noexcept override {
    lock.unlock();
    state before = state::awaited;  // otherwise its turn is destroyed with the context's queue
    if (state_.compare_exchange_strong(before, state::gone, std::memory_order_acq_rel)) vanish();
  }

  struct no_token {
    [[nodiscard]] static std::stop_token get_token() noexcept { return {}; }
  };

  context_guard::reference context_;
  std::optional<Task> task_;
  [[no_unique_address]] std::conditional_t<Task::can_be_told, std::stop_source, no_token> token_;
  std::atomic<bool> asked_{false};
  std::atomic<state> state_{state::under_way};
  bool parked_ = false;
  std::exception_ptr failure_, not_cancellable_;
  struct nothing {};
  std::optional<std::conditional_t<std::is_void_v<result>, nothing, result>> value_;
  std::optional<Executor> executor_;  // while the coroutine is suspended
  suspended_handler handler_;
};

/// What `offload` awaits.
template <class Offloaded, class Executor>
struct until_through {
  std::shared_ptr<Offloaded> const* self;
  Executor const* executor;

  struct initiation {
    template <class Handler>
    void operator()(Handler&& handler, until_through what) const {
      Offloaded::suspend(*what.self, *what.executor, std::forward<Handler>(handler));
    }
  };

  template <class Token>
  auto operator()(Token&& token) const
      -> decltype(net::async_initiate<Token, void()>(std::declval<initiation>(), token,
                                                     std::declval<until_through>())) {
    return net::async_initiate<Token, void()>(initiation(), token, until_through(*this));
  }
};

template <class Executor, class To, class Task>
net::awaitable<typename Task::result, Executor> await_offloaded(To to, Task task) {
  using type = offloaded<Task, Executor>;
  Executor const ex = co_await net::this_coro::executor;
  auto const self = detail::make_shared_recycled<type>(std::move(task), ex);
  {
    To const there = std::move(to);  // given up here: its context may go while this waits
    type::send(self, there);
  }
  if (!self->is_through()) co_await until_through<type, Executor>{std::addressof(self), std::addressof(ex)};
  if constexpr (std::is_void_v<typename type::result>) self->outcome();
  else co_return self->outcome();
}

}  // namespace cacheflight::inline v1::detail::asio_front
