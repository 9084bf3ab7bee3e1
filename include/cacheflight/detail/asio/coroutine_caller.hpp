// SPDX-License-Identifier: MIT
#pragma once

// A caller that is a coroutine: `run`.

#include <cacheflight/detail/asio/asios_own.hpp>
#include <cacheflight/detail/asio/batch.hpp>
#include <cacheflight/detail/asio/suspended_handler.hpp>
#include <cacheflight/detail/asio/task_flight.hpp>

#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// A coroutine that awaits `run`. Lives in the frame of the coroutine that `run` returns.
template <class P, class Executor>
class coroutine_caller final : public caller<P> {
 public:
  explicit coroutine_caller(Executor ex)
      : caller<P>(context_guard::of(ex), asio_front::asios_own(ex)), executor_(std::move(ex)) {}
  ~coroutine_caller() = default;

  template <class Handler>
  void suspend_with(Handler&& handler) noexcept {
    this->suspend(net::get_associated_cancellation_slot(handler_.keep(std::forward<Handler>(handler))));
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
    return typeid(other) == typeid(*this) &&
           static_cast<coroutine_caller const&>(other).executor_ == executor_;
  }
  void take_turn() override {
    this->unpark();
    handler_.call();
  }
  void vanish() noexcept override {
    this->unwatch();
    this->unpark();
    handler_.drop();
  }

  Executor executor_;
  suspended_handler handler_;
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
      -> decltype(net::async_initiate<Token, void()>(std::declval<initiation>(), token,
                                                     std::declval<Caller*>())) {
    return net::async_initiate<Token, void()>(initiation(), token, static_cast<Caller*>(self));
  }
};

template <class Answer, class Executor, class Group, class K, class Task>
net::awaitable<typename result_of_answer<Answer>::type, Executor> await_run(Group* flights, K key,
                                                                            run_options opts, Task task) {
  using caller_type = coroutine_caller<typename Group::platform_type, Executor>;
  using result = result_of_answer<Answer>;

  caller_type self(co_await net::this_coro::executor);
  auto const cancellation = co_await net::this_coro::cancellation_state;
  bool const throws = co_await net::this_coro::throw_if_cancelled();
  auto* const led = asio_front::enter<Answer, Executor>(*flights, key, self, opts, task, self.executor());
  bool const cancelled = throws && cancellation.cancelled() != net::cancellation_type::none;
  // Who is gone before its task has begun takes it along (rule 34).
  if (cancelled) self.cancel();
  else self.watch(opts.stop_token());
  if (led) led->start();
  if (cancelled) throw ready_made<typename caller_type::cancelled_error>();
  if (!caller_type::core_type::released(self)) co_await suspension<caller_type>{std::addressof(self)};
  if constexpr (std::is_void_v<typename result::type>)
    (void)self.template outcome<typename result::value_type>();
  else co_return self.template outcome<typename result::value_type>();
}

}  // namespace cacheflight::inline v1::detail::asio_front
