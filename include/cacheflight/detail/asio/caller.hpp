// SPDX-License-Identifier: MIT
#pragma once

// What all callers of this front have in common: they leave, park on a context, and read the outcome.

#include <cacheflight/detail/asio/canceller.hpp>
#include <cacheflight/detail/asio/context.hpp>
#include <cacheflight/detail/asio/turn.hpp>
#include <cacheflight/detail/outcome.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// What a caller gets that was cancelled; complete where a caller is instantiated.
template <class P>
struct own_departure {
  using error = caller_cancelled_error;
};

/// A caller of Asio's, whatever it waits as.
template <class P>
class caller : public waiter<P>, public turn_taker<caller<P>>, private context_guard::parked {
 public:
  using core_type = core<P>;
  using cancelled_error = typename own_departure<P>::error;

  /// Cancelled through the slot, on the caller's own executor.
  void cancel() noexcept { core_type::leave(*this); }

  [[nodiscard]] bool pin(pin_guard& guard) noexcept override {
    if (!context_) return true;
    guard.reset(context_->try_pin());
    return guard != nullptr;
  }

  /// Those of one context are released together, and pinned by the same.
  [[nodiscard]] void const* place() const noexcept override { return context_.get(); }

  /// The posted function object was destroyed without being called.
  virtual void drop_turn() noexcept { vanish(); }

 protected:
  template <class, class>
  friend class batch;
  friend class turn_taker<caller>;
  /// `prompt`: its turns are posted to an executor of Asio's own, and with the standard allocator.
  caller(context_guard::reference context, bool prompt) : waiter<P>(prompt), context_(std::move(context)) {
    (void)ready_made<cancelled_error>();
  }
  ~caller() {
    unwatch();
    unpark();
    if (this->joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }

  /// The handler is stored; from here on the caller can be resumed, on another thread even before this
  /// returns.
  template <class Slot>
  void suspend(Slot slot) noexcept {
    if (!park()) {  // its context is going
      unwatch();
      (void)core_type::withdraw(*this);
      return vanish();
    }
    failure_ = asio_front::let_cancel(slot, this);
    if (failure_) core_type::leave(*this);
    if (!core_type::arm(*this)) core_type::give_turn(*this);
  }

  /// False: see `context_guard::park`.
  [[nodiscard]] bool park() noexcept {
    if (!context_) return true;
    parked_ = context_->park(*this);
    return parked_;
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
    throw ready_made<cancelled_error>();
  }

  /// The caller is a waiter: from here on it can also be cancelled through `run_options::stop_token`, on any
  /// thread.
  void watch(std::stop_token const& token) {
    if (token.stop_possible()) on_stop_.emplace(token, leave_on_stop<P>{this});
  }

  /// Waits for a stop callback under way, which may touch this.
  void unwatch() noexcept { on_stop_.reset(); }

  /// On the caller's executor.
  virtual void take_turn() = 0;

  /// Nobody will be called: destroy the handler.
  virtual void vanish() noexcept = 0;

  /// Its context is going. If its turn is posted already, it is destroyed with the context's queue.
  void evict(std::unique_lock<std::mutex>& lock) noexcept override {
    lock.unlock();
    unwatch();
    if (!this->joined() || core_type::withdraw(*this)) vanish();
  }

  [[nodiscard]] context_guard::reference const& context() const noexcept { return context_; }

  std::exception_ptr failure_;

 private:
  [[nodiscard]] caller* referred() noexcept { return this; }
  void turn_refused() noexcept { core_type::strand(*this); }

  context_guard::reference context_;
  bool parked_ = false;
  std::optional<std::stop_callback<leave_on_stop<P>>> on_stop_;
};

}  // namespace cacheflight::inline v1::detail::asio_front
