// SPDX-License-Identifier: MIT
#pragma once

// A caller whose handler has another executor than the operation: it goes by the operation's, as Asio's own
// do.

#include <cacheflight/detail/asio/handler_caller.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// Two hops: a post to the operation's executor, where the cancellation slot and the stop callback are given
/// up, and from there a dispatch to the handler's. Any executor will do for the second, also one that nothing
/// can be posted to.
///
/// Either context may go. With the handler's, the handler goes. With the operation's, the handler is posted
/// to its own executor directly; if nothing can be posted there, it goes.
template <class P, class Answer, class Handler, class IoExecutor>
class relayed_caller final : public handler_caller<P, Answer, Handler, IoExecutor> {
  using base = handler_caller<P, Answer, Handler, IoExecutor>;

 public:
  using core_type = core<P>;
  using executor_type = typename base::executor_type;
  using allocator_type = typename base::allocator_type;

  /// `context`: the handler's; the operation's if nothing can be posted to the handler's executor.
  relayed_caller(Handler&& handler, executor_type&& ex, context_guard::reference context,
                 IoExecutor const& io, context_guard::reference io_context)
      : base(std::move(handler), std::move(ex), std::move(context), io),
        io_context_(std::move(io_context)),
        io_node_(this),
        io_(std::in_place, io),
        two_contexts_(io_context_.get() != this->context().get()) {}
  ~relayed_caller() { leave_io(); }

  void go() noexcept override {
    park_io();
    base::go();
  }

  void fail(std::exception_ptr failure) override {
    if (two_contexts_) {  // its turn is in the queue of the one while the other goes
      park_io();
      if (!this->park()) return this->vanish();
    }
    base::fail(std::move(failure));
  }

  [[nodiscard]] bool pin(pin_guard& guard) noexcept override {
    if (!base::pin(guard)) return false;
    if (two_contexts_ && io_context_ && hop_ == hop::first) {
      io_pin_.reset(io_context_->try_pin());
      if (!io_pin_) hop_ = hop::second;
    }
    return true;
  }

  /// Those of two contexts go alone.
  [[nodiscard]] void const* place() const noexcept override {
    return two_contexts_ ? nullptr : base::place();
  }

  void drop_turn() noexcept override {
    if (hop_ == hop::second || !two_contexts_) return this->vanish();
    pin_guard const pinned = pin_handlers_context();
    if (this->context() && !pinned) return part();
    this->unwatch();
    leave_io();
    this->clear_slot();
    hop_ = hop::second;
    typename waiter<P>::waiters alone;
    if (base::hand_over(alone)) return;
    if (this->joined()) core_type::strand(*this);
    else this->vanish();
  }

 private:
  /// The operation's executor, whose context has work as long as the first hop is to come.
  struct io_side {
    explicit io_side(IoExecutor const& ex) : executor(ex), work(track(ex)) {}
    IoExecutor executor;
    tracked<IoExecutor> work;
  };

  /// What waits on the operation's context.
  struct io_node final : context_guard::parked {
    explicit io_node(relayed_caller* s) noexcept : self(s) {}
    relayed_caller* self;
    void evict(std::unique_lock<std::mutex>& lock) noexcept override {
      self->clear_slot();
      [[maybe_unused]] std::optional<io_side> const gone = std::exchange(self->io_, std::nullopt);
      lock.unlock();  // the caller may be gone from here on
    }
  };

  /// Where the turn goes, or is: from the second hop on everything happens on the handler's executor.
  enum class hop : unsigned char { first, second };

  [[nodiscard]] bool hand_over(typename waiter<P>::waiters& others) noexcept override {
    pin_guard const io_pinned = std::move(io_pin_);
    if (hop_ == hop::second) return base::hand_over(others);
    return this->post_turn(io_->executor, this->allocator());
  }

  void take_turn() override {
    if (hop_ == hop::second) return base::take_turn();
    pin_guard const pinned = pin_handlers_context();
    if (two_contexts_ && this->context() && !pinned) return part();
    this->unwatch();
    std::optional<io_side> io;
    leave_io(&io);
    this->clear_slot();
    hop_ = hop::second;
    if (this->dispatch_turn(this->executor(), this->allocator())) return;
    // Refused. What can be posted to its own executor needs this one no more.
    if (!postable<executor_type> || !this->joined()) {
      io_.emplace(std::move(*io));
      left_io_ = false;
      hop_ = hop::first;
      park_io();
    }
    if (this->joined()) return core_type::strand(*this);
    if (hop_ == hop::first && this->post_turn(io_->executor, this->allocator())) return;
    std::exception_ptr const failure = this->failure_;
    this->vanish();
    std::rethrow_exception(failure);
  }

  /// The handler's context is going.
  void evict(std::unique_lock<std::mutex>& lock) noexcept override {
    if (!two_contexts_) return base::evict(lock);
    lock.unlock();
    this->unwatch();
    if (this->joined() && core_type::withdraw(*this)) return this->vanish();
    if (hop_ == hop::second) return;  // its turn is destroyed with this context's queue
    // Its turn is in the queue of the other: give up what belongs to this one, and leave it a shell.
    this->retire();
    if (this->joined()) core_type::finish(*this);
    shell_.emplace(this->allocator());
    {
      [[maybe_unused]] auto const gone = this->move_out();
    }
    part();
  }

  /// The turn and the going context, of which the second frees the shell.
  void part() noexcept {
    if (parted_.exchange(true, std::memory_order_acq_rel)) this->dispose(allocator_type(*shell_));
  }

  void retire() noexcept override {
    leave_io();
    base::retire();
  }

  void dispose(allocator_type const& allocator) noexcept override {
    this->template free<relayed_caller>(this, allocator);
  }

  [[nodiscard]] pin_guard pin_handlers_context() noexcept {
    return pin_guard(two_contexts_ && this->context() ? this->context()->try_pin() : nullptr);
  }

  void park_io() noexcept {
    if (!two_contexts_ || !io_context_ || !io_) return;
    if (io_context_->park(io_node_)) return;
    io_.reset();
    hop_ = hop::second;
  }

  /// Once: nothing of the operation's executor is left here, nor anything that its context knows. `to`: on a
  /// thread of that context.
  void leave_io(std::optional<io_side>* to = nullptr) noexcept {
    if (std::exchange(left_io_, true)) return;
    bool const shared = two_contexts_ && io_context_;
    pin_guard const pinned(shared && !to ? io_context_->try_pin() : nullptr);
    std::optional<io_side> gone;
    auto const leave = [&] {
      if (!io_) return;
      (to ? *to : gone).emplace(std::move(*io_));
      io_.reset();
      if (shared && !to && !pinned) gone.reset();  // before the context can go on going
    };
    if (shared) io_context_->unpark(io_node_, leave);
    else leave();
  }

  context_guard::reference io_context_;
  io_node io_node_;
  std::optional<io_side> io_;
  pin_guard io_pin_;   // from `pin` to `hand_over`
  bool two_contexts_;  // one can go, and the other stay
  bool left_io_ = false;
  hop hop_ = hop::first;
  std::atomic<bool> parted_{false};
  std::optional<allocator_type> shell_;
};

template <class P, class Answer, class Handler, class IoExecutor>
[[nodiscard]] handler_caller<P, Answer, Handler, IoExecutor>* make_handler_caller(Handler&& handler,
                                                                                  IoExecutor const& io) {
  using direct = handler_caller<P, Answer, Handler, IoExecutor>;
  using relayed = relayed_caller<P, Answer, Handler, IoExecutor>;
  auto ex = net::get_associated_executor(handler, io);
  static_assert(postable<IoExecutor>,
                "cacheflight: async_run needs an executor that functions can be posted to");
  if constexpr (!postable<decltype(ex)>) {
    auto const io_context = context_guard::of(io);
    return direct::template make<relayed>(std::move(handler), std::move(ex), io_context, io, io_context);
  } else {
    auto context = context_guard::of(ex);
    if constexpr (std::is_same_v<decltype(ex), IoExecutor>)
      if (ex == io)
        return direct::template make<direct>(std::move(handler), std::move(ex), std::move(context));
    auto const io_context = context_guard::of(io);
    return direct::template make<relayed>(std::move(handler), std::move(ex), std::move(context), io,
                                          io_context);
  }
}

}  // namespace cacheflight::inline v1::detail::asio_front
