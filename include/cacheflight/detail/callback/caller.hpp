// SPDX-License-Identifier: MIT
#pragma once

// A callback that waits: where it is called, and how it leaves.

#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::callback_front {

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

/// A callback of a drain: takes a `bool`.
template <class F>
struct drained {
  F function;
  void operator()(std::exception_ptr const&, std::shared_ptr<bool const> const& quiet) {
    std::invoke(std::move(function), *quiet);
  }
};
template <class F>
[[nodiscard]] drained<F> as_drained(F callback) {
  return {std::move(callback)};
}
template <class Scheduler, class F>
[[nodiscard]] scheduled<Scheduler, drained<F>> as_drained(scheduled<Scheduler, F> callback) {
  return {std::move(callback.scheduler), {std::move(callback.function)}};
}

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
    auto const build = [&](K& k) {
      return leads = new Flight(std::move(k), opts.take_metadata(), std::move(task));
    };
    core_type& core = access::core(flights);
    // In the events of a refusal the group may go; what is left of the call counts the failures of its
    // callback.
    bool const may_go = core.settings().on_event() != nullptr;
    if (may_go) core.retain();
    std::unique_ptr<core_type, let_go> const kept(may_go ? &core : nullptr);
    entry in;
    try {
      in = access::enter_suspended(flights, key, *self, opts, detail::type_of<typename result::value_type>(),
                                   build, !stop.stop_possible());
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

  static void drain(core_type& core, limit timeout, F callback) {
    auto fresh = std::make_unique<drain_flight<P>>();
    std::unique_ptr<callback_caller> self(new callback_caller(std::move(callback)));
    core.drain(*self, std::move(fresh), timeout, true);
    (void)self.release();
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
        return mine &&
               !mine->self.exchange(nullptr);  // refused, unless it was taken before the scheduler threw
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
    else if (this->how_left() == departure::left)
      error = std::make_exception_ptr(ready_made<caller_stopped_error>());
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

/// g++ 12 at -O1 takes what the callback's captures refer to for something that nobody else writes to, once
/// it has looked into this (-fipa-modref), and its caller would read what was there before.
template <class Group, class Callback>
#if defined(__GNUC__) && !defined(__clang__)
[[gnu::noipa]]
#endif
void wait_until_drained(Group& flights, limit timeout, Callback&& callback) {
  detail::require_callback<std::decay_t<Callback>>(callback);
  auto bound = callback_front::as_drained(std::decay_t<Callback>(std::forward<Callback>(callback)));
  callback_caller<typename Group::platform_type, bool, decltype(bound)>::drain(access::core(flights), timeout,
                                                                               std::move(bound));
}

}  // namespace cacheflight::inline v1::detail::callback_front
