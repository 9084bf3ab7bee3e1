// SPDX-License-Identifier: MIT
#pragma once

// A caller with a completion handler, on the executor of its operation.

#include <cacheflight/detail/asio/asios_own.hpp>
#include <cacheflight/detail/asio/caller.hpp>
#include <cacheflight/detail/task.hpp>

#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// What keeps the context of an executor running.
template <class Executor>
struct tracking {
  using type = std::decay_t<decltype(net::prefer(std::declval<Executor const&>(),
                                                 net::execution::outstanding_work.tracked))>;
};
template <class Executor>
  requires(!net::execution::is_executor<Executor>::value)
struct tracking<Executor> {  // of the Networking TS
  using type = net::executor_work_guard<Executor>;
};
template <class Executor>
using tracked = typename tracking<Executor>::type;
template <class Executor>
[[nodiscard]] tracked<Executor> track(Executor const& ex) {
  if constexpr (net::execution::is_executor<Executor>::value)
    return net::prefer(ex, net::execution::outstanding_work.tracked);
  else return tracked<Executor>(ex);
}

/// Whether something can be queued there without being run at once.
template <class Executor>
inline constexpr bool postable = net::is_executor<Executor>::value;
template <class Executor>
  requires(net::execution::is_executor<Executor>::value)
inline constexpr bool postable<Executor> = net::can_require_v<Executor, net::execution::blocking_t::never_t>;

/// The answer of a drain, whose handler takes a `bool`.
struct whether_drained {
  bool quiet;
  operator bool() const noexcept { return quiet; }
};

/// A caller with a completion handler, whose executor is the operation's; for others see relayed_caller.hpp.
template <class P, class Answer, class Handler, class IoExecutor>
class handler_caller : public caller<P> {
 public:
  using core_type = core<P>;
  using value_type = typename result_of_answer<Answer>::value_type;
  using executor_type = net::associated_executor_t<Handler, IoExecutor>;
  using allocator_type = net::associated_allocator_t<Handler>;
  static constexpr bool plain_allocator = std::is_same_v<allocator_type, std::allocator<void>>;

  /// `io`: where else its turns are posted, if they are.
  template <class... Io>
  handler_caller(Handler&& handler, executor_type&& ex, context_guard::reference context, Io const&... io)
      : caller<P>(std::move(context),
                  plain_allocator && asio_front::asios_own(ex) && (asio_front::asios_own(io) && ...)),
        own_(std::move(handler), std::move(ex)) {}

  /// A `Self` in the handler's memory.
  template <class Self, class... Args>
  [[nodiscard]] static Self* make(Handler&& handler, Args&&... args) {
    allocator_of<Self> here(net::get_associated_allocator(handler));
    Self* const memory = std::allocator_traits<allocator_of<Self>>::allocate(here, 1);
    try {
      return ::new (static_cast<void*>(memory)) Self(std::move(handler), std::forward<Args>(args)...);
    } catch (...) {
      std::allocator_traits<allocator_of<Self>>::deallocate(here, memory, 1);
      throw;
    }
  }

  using caller<P>::watch;

  /// A member of some flight, or about to complete with what kept it from becoming one.
  virtual void go() noexcept { this->suspend(net::get_associated_cancellation_slot(own_.handler)); }

  virtual void fail(std::exception_ptr failure) {
    this->failure_ = failure;
    typename waiter<P>::waiters alone;
    if (this->hand_over(alone)) return;
    vanish();
    std::rethrow_exception(failure);
  }

 protected:
  ~handler_caller() {}  // `own_` was moved out

  [[nodiscard]] bool hand_over(typename waiter<P>::waiters&) noexcept override {
    if constexpr (postable<executor_type>) return this->post_turn(executor(), allocator());
    else return false;
  }

  void take_turn() override {
    retire();
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
    taken mine = move_out();
    dispose(net::get_associated_allocator(mine.handler));
    if constexpr (std::is_void_v<Answer>) std::move(mine.handler)(std::move(failure));
    else if constexpr (std::is_same_v<Answer, whether_drained>)
      std::move(mine.handler)(std::move(failure), value && *value);
    else std::move(mine.handler)(std::move(failure), std::move(value));
  }

  void vanish() noexcept override {
    retire();
    taken const mine = move_out();
    dispose(net::get_associated_allocator(mine.handler));
  }

  /// Nobody reaches the caller from here on.
  virtual void retire() noexcept {
    this->unwatch();
    this->unpark();
    clear_slot();
  }

  void clear_slot() noexcept {
    if (auto slot = net::get_associated_cancellation_slot(own_.handler); slot.is_connected()) slot.clear();
  }

  /// The handler, and what goes with it: to be called when everything else is freed.
  struct taken {
    tracked<executor_type> work;
    Handler handler;
  };
  [[nodiscard]] taken move_out() noexcept {
    taken out{std::move(own_.work), std::move(own_.handler)};
    std::destroy_at(std::addressof(own_));  // what is left belongs to the context, too
    return out;
  }

  [[nodiscard]] allocator_type allocator() const noexcept {
    return net::get_associated_allocator(own_.handler);
  }

  /// Destroys the caller.
  virtual void dispose(allocator_type const& allocator) noexcept { free(this, allocator); }

  template <class Self>
  static void free(Self* self, allocator_type const& allocator) noexcept {
    allocator_of<Self> here(allocator);
    self->~Self();
    std::allocator_traits<allocator_of<Self>>::deallocate(here, self, 1);
  }

  [[nodiscard]] executor_type const& executor() const noexcept { return own_.executor; }

 private:
  template <class Self>
  using allocator_of = typename std::allocator_traits<allocator_type>::template rebind_alloc<Self>;

  struct belongings {
    belongings(Handler&& h, executor_type&& ex)
        : executor(std::move(ex)), work(track(executor)), handler(std::move(h)) {}
    executor_type executor;
    tracked<executor_type> work;  // the context runs as long as this caller waits
    Handler handler;
  };
  union {
    belongings own_;
  };
};

}  // namespace cacheflight::inline v1::detail::asio_front
