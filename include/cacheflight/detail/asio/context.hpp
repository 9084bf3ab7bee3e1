// SPDX-License-Identifier: MIT
#pragma once

// A context that may go: who may still post to it, and who waits on it.

#include <cacheflight/detail/asio/asio.hpp>
#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/list.hpp>
#include <cacheflight/detail/process.hpp>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// Outlives its execution context, whose service it is (rule 44): lets other threads post to the context only
/// while it stands, and destroys what waits on it when it goes.
class context_guard final : public pinned {
 public:
  /// A caller that waits on the context.
  class parked : public list_node {
   public:
    /// The context is going: give up what belongs to it. Called with the guard's lock, which it may release;
    /// who unparks waits until it has.
    virtual void evict(std::unique_lock<std::mutex>& lock) noexcept = 0;

   protected:
    ~parked() = default;
  };

  class reference {
   public:
    reference() noexcept = default;
    explicit reference(context_guard* guard) noexcept : guard_(guard) {
      if (guard_) guard_->references_.fetch_add(1, std::memory_order_relaxed);
    }
    reference(reference const& other) noexcept : reference(other.guard_) {}
    reference(reference&& other) noexcept : guard_(std::exchange(other.guard_, nullptr)) {}
    reference& operator=(reference other) noexcept {
      std::swap(guard_, other.guard_);
      return *this;
    }
    ~reference() {
      if (guard_) guard_->drop();
    }
    [[nodiscard]] context_guard* get() const noexcept { return guard_; }
    [[nodiscard]] context_guard* operator->() const noexcept { return guard_; }
    [[nodiscard]] explicit operator bool() const noexcept { return guard_ != nullptr; }

   private:
    context_guard* guard_ = nullptr;
  };

  /// The guard of the context that `ex` runs on; null for executors that name none.
  template <class Executor>
  [[nodiscard]] static reference of(Executor const& ex) {
    if constexpr (net::can_query_v<Executor const&, net::execution::context_t>) {
      using answer = decltype(net::query(ex, net::execution::context));
      if constexpr (std::is_convertible_v<answer, net::execution_context&>)
        return of_context(net::query(ex, net::execution::context));
    } else if constexpr (net::is_executor<Executor>::value) {  // of the Networking TS
      return of_context(ex.context());
    }
    return {};
  }

  /// False: the context is going, and has destroyed already who waited on it.
  [[nodiscard]] bool park(parked& waiter) noexcept {
    std::scoped_lock lock(mutex_);
    if (!deserted_) parked_.push_back(waiter);
    return !deserted_;
  }
  void unpark(parked& waiter) noexcept {
    std::scoped_lock lock(mutex_);
    if (waiter.linked()) waiter.unlink();
  }
  template <class T, class Projection>
  void unpark(T const* waiters, std::size_t count, Projection parked_of) noexcept {
    std::scoped_lock lock(mutex_);
    for (std::size_t i = 0; i != count; ++i)
      if (parked& waiter = parked_of(waiters[i]); waiter.linked()) waiter.unlink();
  }

  /// No thread runs handlers of the context any more.
  [[nodiscard]] bool is_going() const noexcept { return down_.load(std::memory_order_acquire); }

  /// The context stays until `unpin`. Null if it is going already.
  [[nodiscard]] pinned* try_pin() noexcept {
    references_.fetch_add(1, std::memory_order_relaxed);
    pins_.fetch_add(1);
    if (!down_.load()) return this;
    unpin();
    return nullptr;
  }
  void unpin() noexcept override {
    if (pins_.fetch_sub(1) == 1 && down_.load()) {
      std::scoped_lock lock(mutex_);
      unpinned_.notify_all();
    }
    drop();
  }

  /// Unparks, and does `f()` before the context can go on with its shutdown.
  template <class F>
  void unpark(parked& waiter, F&& f) noexcept {
    std::scoped_lock lock(mutex_);
    if (waiter.linked()) waiter.unlink();
    f();
  }

 private:
  [[nodiscard]] static reference of_context(net::execution_context& context) {
    auto const now = shut_down_.load(std::memory_order_acquire);
    if (recent.context == &context && recent.shut_down == now) return reference(recent.guard);
    reference const found = net::use_service<service>(context).guard;
    if (found && !found->down_.load()) recent = {&context, found.get(), now};
    return found;
  }

  struct service final : net::execution_context::service {
    static inline net::execution_context::id id;
    explicit service(net::execution_context& context)
        : net::execution_context::service(context), guard(new context_guard) {
      guard->drop();
    }
    void shutdown() noexcept override { guard->shut_down(); }
    /// A service that a context first gets while it goes, from the destructor of a handler, is destroyed
    /// without having been shut down.
    ~service() override { guard->shut_down(); }
    reference guard;
  };

  /// The guard that this thread has asked for last. No context has been shut down since then, so it stands,
  /// and its address means the same context.
  struct cached {
    net::execution_context* context;
    context_guard* guard;
    std::size_t shut_down;
  };
  CACHEFLIGHT_STATIC_TLS static inline thread_local constinit cached recent{};
  static inline std::atomic<std::size_t> shut_down_{0};  // how many contexts

  ~context_guard() = default;

  void drop() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// Who hands over to the context now, from elsewhere, is waited for; from then on nobody does. Those who
  /// wait are evicted; those whose turn is posted are destroyed with the context's queue.
  void shut_down() noexcept {
    if (is_going()) return;
    shut_down_.fetch_add(1, std::memory_order_acq_rel);
    down_.store(true);
    std::unique_lock lock(mutex_);
    unpinned_.wait(lock, [&] { return pins_.load() == 0; });
    while (parked* const waiter = parked_.pop_front()) {
      waiter->evict(lock);
      if (!lock.owns_lock()) lock.lock();
    }
    deserted_ = true;
  }

  std::atomic<std::size_t> references_{1};
  std::atomic<std::size_t> pins_{0};
  std::atomic<bool> down_{false};
  std::mutex mutex_;
  std::condition_variable unpinned_;
  list<parked> parked_;
  bool deserted_ = false;
};

}  // namespace cacheflight::inline v1::detail::asio_front
