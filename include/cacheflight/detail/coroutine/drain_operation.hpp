// SPDX-License-Identifier: MIT
#pragma once

// A coroutine that waits until a group is quiet: what `when_drained` returns.

#include <cacheflight/detail/coroutine/resumed_caller.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/group.hpp>

#include <coroutine>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::coroutine_front {

/// The waiter; movable until it is awaited.
template <class P, class Scheduler = no_scheduler>
class [[nodiscard]] drain_operation final : resumed_caller<P, Scheduler> {
  using base = resumed_caller<P, Scheduler>;

 public:
  drain_operation(core<P>& whose, limit timeout, Scheduler s = Scheduler())
      : base(std::move(s)), core_(whose), timeout_(timeout) {}
  drain_operation(drain_operation&& o) noexcept(std::is_nothrow_copy_constructible_v<Scheduler>)
      : drain_operation(o.core_, o.timeout_, o.scheduler_) {}
  drain_operation& operator=(drain_operation&&) = delete;
  ~drain_operation() = default;

  /// As for `run`.
  template <class Where>
  [[nodiscard]] auto resume_on(Where where) && {
    static_assert(std::is_copy_constructible_v<Where>,
                  "cacheflight: a scheduler must be copyable; capture a pointer or std::ref");
    return drain_operation<P, Where>(core_, timeout_, std::move(where));
  }

  class awaiter {
   public:
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> caller) { return op_.suspend(caller); }
    bool await_resume() { return op_.resume(); }

   private:
    friend drain_operation;
    explicit awaiter(drain_operation& op) noexcept : op_(op) {}
    drain_operation& op_;
  };
  [[nodiscard]] awaiter operator co_await() noexcept { return awaiter(*this); }

 private:
  bool suspend(std::coroutine_handle<> caller) {
    this->waits(caller, "cacheflight: what when_drained returned was awaited a second time");
    auto fresh = std::make_unique<drain_flight<P>>();
    typename inline_caller<P>::starting start(*this);
    start.entering();
    try {
      core_.drain(*this, std::move(fresh), timeout_, true);
    } catch (...) {
      start.note();
      if (!start.end()) return true;  // another's turn has destroyed the frame that would catch it
      throw;
    }
    return !start.end();
  }

  bool resume() {
    struct at_exit {
      drain_operation& op;
      ~at_exit() { op.finish_turn(); }
    } const guard{*this};
    return *detail::outcome_of<bool>(*this);
  }

  core<P>& core_;
  limit timeout_;
};

}  // namespace cacheflight::inline v1::detail::coroutine_front
