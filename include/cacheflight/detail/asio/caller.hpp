// SPDX-License-Identifier: MIT
#pragma once

// A caller, and how it is given its turn.

#include <cacheflight/detail/asio/context.hpp>
#include <cacheflight/detail/asio/serial.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/process.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <tuple>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

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
  CACHEFLIGHT_STATIC_TLS static inline thread_local constinit submission* under_way = nullptr;
};

/// What a caller gets that was cancelled; complete where a caller is instantiated.
template <class P>
struct own_departure {
  using error = caller_cancelled_error;
};

/// A caller of Asio's, whatever it waits as.
template <class P>
class caller : public waiter<P>, private context_guard::parked {
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
  /// `prompt`: its turns are posted to an executor of Asio's own, and with the standard allocator.
  caller(context_guard::reference context, bool prompt) : waiter<P>(prompt), context_(std::move(context)) {
    (void)ready_made<cancelled_error>();
  }
  ~caller() {
    unwatch();
    unpark();
    if (this->joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }

  /// The handler is stored; from here on the caller can be resumed, on another thread even before this returns.
  template <class Slot>
  void suspend(Slot slot) noexcept {
    if (!park()) {  // its context is going
      unwatch();
      (void)core_type::withdraw(*this);
      return vanish();
    }
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

  /// Posts the caller's turn to its executor. False: refused, nothing has changed.
  template <class Executor, class Allocator>
  [[nodiscard]] bool post_turn(Executor ex, Allocator const& allocator) noexcept {
    return asio_front::with_strand(ex, [&]<class Found>(Found const& found) {
      if constexpr (is_strand<Found>)
        return submit([&] { net::post(found.get_inner_executor(), turn<Allocator, Found>(this, allocator, found)); });
      else return submit([&] { net::post(found, turn<Allocator>(this, allocator)); });
    });
  }

  /// The same without a detour, where the thread is one of the executor's. Throws what a handler throws that the
  /// executor calls at once; the caller is gone then.
  template <class Executor, class Allocator>
  [[nodiscard]] bool dispatch_turn(Executor ex, Allocator const& allocator) {
    return asio_front::with_strand(ex, [&]<class Found>(Found const& found) {
      if constexpr (is_strand<Found>)
        return submit(
            [&] { net::dispatch(found.get_inner_executor(), turn<Allocator, Found>(this, allocator, found)); });
      else return submit([&] { net::dispatch(found, turn<Allocator>(this, allocator)); });
    });
  }

  /// The caller is a waiter: from here on it can also be cancelled through `run_options::stop_token`, on any thread.
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

  context_guard::reference context_;
  bool parked_ = false;
  std::optional<std::stop_callback<leave_on_stop<P>>> on_stop_;
  void* turn_ = nullptr;  // its turn, wherever it was moved to last; used only when an executor threw
  void (*disown_)(void*) = nullptr;
};

}  // namespace cacheflight::inline v1::detail::asio_front
