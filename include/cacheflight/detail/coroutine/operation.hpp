// SPDX-License-Identifier: MIT
#pragma once

// A coroutine that waits: what `run` returns.

#include <cacheflight/detail/coroutine/resumed_caller.hpp>
#include <cacheflight/detail/coroutine/task.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/group.hpp>

#include <coroutine>
#include <memory>
#include <stop_token>
#include <type_traits>
#include <utility>
#include <variant>

namespace cacheflight::inline v1::detail::coroutine_front {

/// A call's options until it has joined, then what watches its stop token.
template <class P, class Options>
class stage {
 public:
  explicit stage(run_options&& opts) noexcept : now_(std::in_place_index<0>, std::move(opts)) {}
  [[nodiscard]] run_options& options() noexcept { return *std::get_if<0>(&now_); }
  void watch(std::stop_token const& stop, waiter<P>& w) {
    now_.template emplace<1>(stop, leave_on_stop<P>{&w});
  }
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

/// What `run` returns, and the waiter: it lives in the frame of the awaiting coroutine. Movable until it is
/// awaited.
template <class Group, class K, class Options, class Task, class Scheduler>
class [[nodiscard]] operation final : resumed_caller<typename Group::platform_type, Scheduler> {
  using P = typename Group::platform_type;
  using base = resumed_caller<P, Scheduler>;
  using core_type = core<P>;
  using flight_type = awaitable_flight<P, typename Group::key_type, Task>;
  using result = result_of_answer<answer_of<typename Task::result>>;

 public:
  operation(Group* g, K&& k, Options&& o, Task&& t, Scheduler s)
      : base(std::move(s)), flights_(g), key_(std::move(k)), task_(std::move(t)), stage_(std::move(o)) {}
  operation(operation&& o) noexcept((std::is_nothrow_move_constructible_v<K> &&
                                     std::is_nothrow_move_constructible_v<Options> &&
                                     std::is_nothrow_move_constructible_v<Task> &&
                                     std::is_nothrow_copy_constructible_v<Scheduler> &&
                                     std::is_nothrow_move_constructible_v<Scheduler>))
      : operation(o.flights_, std::move(o.key_), std::move(o.stage_.options()), std::move(o.task_),
                  o.scheduler_) {}
  operation& operator=(operation&&) = delete;
  ~operation() { stage_.unwatch(); }

  /// Resume the caller by `where(f)`, `f` being a copyable `void()`, instead of on the thread that ends its
  /// wait.
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
    this->waits(caller,
                "cacheflight: what run returned was awaited a second time; call run once for each co_await");
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
      in = access::enter_suspended(*flights_, key_, *this, opts,
                                   detail::type_of<typename result::value_type>(), build,
                                   !stop.stop_possible(), !stop.stop_possible() && base::takes_turns);
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

  Group* flights_;
  K key_;
  Task task_;
  [[no_unique_address]] stage<P, Options> stage_;
};

}  // namespace cacheflight::inline v1::detail::coroutine_front
