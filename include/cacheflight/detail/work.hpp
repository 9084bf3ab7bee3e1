// SPDX-License-Identifier: MIT
#pragma once

// Tasks that return a plain value, here or wherever a callable takes their work.

#include <cacheflight/detail/launch.hpp>
#include <cacheflight/detail/task.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/group.hpp>

#include <atomic>
#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

/// What `on` gives to a user's executor: a copyable `void()` to be called once, on any thread. If it is
/// destroyed without having been called, its flight ends as abandoned. Once it has been called it holds
/// neither task nor flight, result or key, however long a copy is kept.
class work {
 public:
  /// Runs the task, or does nothing if it ran already, or if its flight has ended meanwhile (rule 34). Throws
  /// nothing; what unwinds the thread, or the stackful coroutine, in the task passes through (rule 39).
  void operator()() const {
    if (run_) run_->call();
  }

  /// What is run. For the library.
  class target {
   public:
    /// Called once for each call of the work that holds this. Throws nothing, but lets through what unwinds
    /// the stack.
    virtual void call() = 0;
    virtual ~target() = default;
  };
  /// For the library.
  explicit work(std::shared_ptr<target> run) noexcept : run_(std::move(run)) {}

 private:
  std::shared_ptr<target> run_;
};

namespace detail {

/// Returns what any caller can use at once: not an awaitable, not a coroutine, not a sender.
template <class R>
concept plain_value = !has_await_ready<R> && !coroutine_like<R> && !sender_like<R>;

/// A task with an executor of its own: any callable that takes work.
template <class Submit, class F>
struct submitted : placed<Submit, F> {
  using placed<Submit, F>::placed;
};
template <class F>
inline constexpr bool is_submitted = false;
template <class Submit, class F>
inline constexpr bool is_submitted<submitted<Submit, F>> = true;

/// A flight whose task has a `std::stop_token` or `stop_flag`, or cannot be asked to stop, and settles by
/// being given an answer.
template <class P, class Key, class Task, class Answer>
class simple_flight : public keyed_flight<P, Key> {
 public:
  using core_type = core<P>;
  using result = result_of_answer<Answer>;

  template <class K>
  simple_flight(K&& key, std::any&& metadata, Task&& task)
      : keyed_flight<P, Key>(std::forward<K>(key), std::move(metadata)), task_(std::move(task)) {}

  [[nodiscard]] std::type_info const& type() const noexcept final {
    return detail::type_of<typename result::value_type>();
  }

  [[nodiscard]] bool request_stop() noexcept override {
    token_.request_stop();
    return true;
  }

 protected:
  /// False: the flight was doomed before its task could run, and has been settled.
  [[nodiscard]] bool may_start() noexcept {
    if (core_type::may_start(*this)) {
      if constexpr (Task::can_be_told) core_type::stoppable(*this);
      return true;
    }
    unwind(cause::abandoned, nullptr, nullptr);
    return false;
  }

  [[nodiscard]] decltype(auto) invoke() { return (*task_)(token_.get_token(), view_.of(*this)); }
  [[nodiscard]] Task& task() noexcept { return *task_; }
  [[nodiscard]] std::stop_token token() const noexcept { return token_.get_token(); }

  /// The task is through: free what is its own (rule 37), then let the core decide. The flight may be gone
  /// afterwards. `own`: see `core::settle`.
  void unwind(cause why, std::shared_ptr<void const>&& value, std::exception_ptr&& exception,
              waiter<P>* own = nullptr) noexcept {
    task_.reset();
    view_.cut();
    core_type::settle(*this, why, std::move(value), std::move(exception), own);
  }

 private:
  struct no_token {
    static void request_stop() noexcept {}
    [[nodiscard]] static std::stop_token get_token() noexcept { return {}; }
  };

  std::optional<Task> task_;
  [[no_unique_address]] std::conditional_t<Task::can_be_told, std::stop_source, no_token> token_;
  [[no_unique_address]] std::conditional_t<Task::takes_context, given_view<core_type>, no_view> view_;
};

/// A flight whose task returns its answer.
template <class P, class Key, class Task>
class value_flight final : public simple_flight<P, Key, Task, typename Task::result> {
  using base = simple_flight<P, Key, Task, typename Task::result>;
  using core_type = core<P>;
  static_assert(
      !is_executor_bound<typename Task::function_type> || is_submitted<typename Task::function_type>,
      "cacheflight: a task that returns a plain value runs on any callable that takes work, not on an "
      "executor of Asio's: cacheflight::on([ex](auto w) { asio::post(ex, w); }, task)");

 public:
  using base::base;

  /// On this thread, or wherever the task's own executor runs it. Consumes the task's reference: the flight
  /// may be gone afterwards. `own`: the caller, if it will not be suspended before this returns, and cannot
  /// be stopped. Throws nothing, but lets through what unwinds the stack, when the flight has been settled as
  /// abandoned.
  void start(waiter<P>* own = nullptr) {
    if (!this->may_start()) return;
    if constexpr (is_submitted<typename Task::function_type>) submit();
    else run(own);
  }

 private:
  struct let_go {
    void operator()(value_flight* f) const noexcept { core_type::release(*f); }
  };
  using reference = std::unique_ptr<value_flight, let_go>;

  /// Holds the flight until it is called or dropped.
  struct submission final : work::target {
    explicit submission(value_flight* f) noexcept : flight(f) { core_type::retain(*f); }
    ~submission() override {
      reference const held(flight.load(std::memory_order_acquire));
      if (held && held->launch_.dropped()) held->unwind(cause::abandoned, nullptr, nullptr);
    }
    void call() override {
      reference const held(flight.exchange(nullptr, std::memory_order_acq_rel));
      if (!held || !held->launch_.begin()) return;
      (void)held->launch_.answered();
      if (core_type::may_start(*held)) held->run(nullptr);
      else held->unwind(cause::abandoned, nullptr, nullptr);
    }
    std::atomic<value_flight*> flight;
  };

  void submit() {
    core_type::retain(*this);  // an executor that runs the task at once may see the flight's end
    reference const held(this);
    std::exception_ptr failure;
    try {
      auto executor = std::move(this->task().function().place);
      executor(work(detail::make_shared_recycled<submission>(this)));
    } catch (...) {
      if (unwinding()) {
        if (launch_.handed_over(true)) this->unwind(cause::abandoned, nullptr, nullptr);
        throw;
      }
      failure = std::current_exception();
    }
    cause const why = failure ? cause::rejected : cause::abandoned;
    if (launch_.handed_over(failure != nullptr)) this->unwind(why, nullptr, std::move(failure));
  }

  void run(waiter<P>* own) {
    cause why = cause::resolved;
    std::shared_ptr<void const> value;
    std::exception_ptr failure;
    try {
      if constexpr (std::is_void_v<typename Task::result>) this->invoke();
      else value = base::result::make(this->invoke());
    } catch (...) {
      if (unwinding()) {
        this->unwind(cause::abandoned, nullptr, nullptr, own);
        throw;
      }
      why = cause::rejected;
      failure = std::current_exception();
    }
    this->unwind(why, std::move(value), std::move(failure), own);
  }

  struct no_launch {};
  [[no_unique_address]] std::conditional_t<is_submitted<typename Task::function_type>, launch, no_launch>
      launch_;
};

}  // namespace detail

/// `task`, to be run by `submit` instead of the leader's own thread: any callable that takes a `work` (a
/// copyable `void()`) and has it called on some thread: `cacheflight::on([&pool](auto w) { pool.push(w); },
/// load)`. What `submit` throws is the flight's outcome; if it drops the work, the flight is abandoned. A
/// task whose flight has ended before its turn in the queue came is not run; it is destroyed when its work is
/// called or dropped.
template <class Submit, class F>
  requires std::is_invocable_v<Submit&, work>
[[nodiscard]] auto on(Submit submit, F task) {
  detail::require_task(task);
  return detail::submitted<Submit, F>(std::move(submit), std::move(task));
}

}  // namespace cacheflight::inline v1
