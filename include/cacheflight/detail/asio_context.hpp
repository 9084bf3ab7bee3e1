// SPDX-License-Identifier: MIT
#pragma once

// What the Asio front must know of executors and their contexts: which Asio, when a context goes, and how to reach a
// strand.

#include <cacheflight/detail/core.hpp>
#include <cacheflight/detail/list.hpp>

#if defined(CACHEFLIGHT_STANDALONE_ASIO)
#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/execution_context.hpp>
#include <asio/io_context.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/strand.hpp>
#include <asio/system_executor.hpp>
#include <asio/this_coro.hpp>
#include <asio/thread_pool.hpp>
#include <asio/version.hpp>

#include <system_error>
#else
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/version.hpp>
#include <boost/system/system_error.hpp>
#endif

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <type_traits>
#include <utility>

// Older versions cannot co_await an asynchronous operation, and their any_io_executor::target does not check its type.
#if defined(CACHEFLIGHT_STANDALONE_ASIO) && ASIO_VERSION < 102600
#error "cacheflight: standalone Asio 1.26 or newer is needed"
#elif !defined(CACHEFLIGHT_STANDALONE_ASIO) && BOOST_ASIO_VERSION < 102600
#error "cacheflight: Boost 1.81 or newer is needed"
#endif

namespace cacheflight::inline v1 {

namespace detail::asio_front {
#if defined(CACHEFLIGHT_STANDALONE_ASIO)
namespace net = ::asio;
using system_error = std::system_error;
#else
namespace net = ::boost::asio;
using system_error = ::boost::system::system_error;
#endif
}  // namespace detail::asio_front

namespace detail::asio_front {

/// Outlives its execution context, whose service it is: lets other threads post to the context only while it stands,
/// and destroys what waits on it when it goes.
class context_guard final : public pinned {
 public:
  /// A caller that waits on the context.
  class parked : public list_node {
   public:
    /// The context is going. Leave, and destroy the handler, unless its turn is posted already.
    virtual void evict() noexcept = 0;

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
      if constexpr (std::is_convertible_v<answer, net::execution_context&>) {
        net::execution_context& context = net::query(ex, net::execution::context);
        auto const now = shut_down_.load(std::memory_order_acquire);
        if (recent.context == &context && recent.shut_down == now) return reference(recent.guard);
        reference const found = net::use_service<service>(context).guard;
        if (found && !found->down_.load()) recent = {&context, found.get(), now};
        return found;
      }
    }
    return {};
  }

  void park(parked& waiter) noexcept {
    std::scoped_lock lock(mutex_);
    parked_.push_back(waiter);
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

 private:
  struct service final : net::execution_context::service {
    static inline net::execution_context::id id;
    explicit service(net::execution_context& context)
        : net::execution_context::service(context), guard(new context_guard) {
      guard->drop();
    }
    void shutdown() noexcept override { guard->shut_down(); }
    reference guard;
  };

  /// The guard that this thread has asked for last. No context has been shut down since then, so it stands, and its
  /// address means the same context.
  struct cached {
    net::execution_context* context;
    context_guard* guard;
    std::size_t shut_down;
  };
  static inline thread_local cached recent{};
  static inline std::atomic<std::size_t> shut_down_{0};  // how many contexts

  ~context_guard() = default;

  void drop() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// No thread runs handlers of the context any more. Who hands over to it now, from elsewhere, is waited for; from
  /// then on nobody does. Those who wait are evicted; those whose turn is posted are destroyed with the context's
  /// queue.
  void shut_down() noexcept {
    shut_down_.fetch_add(1, std::memory_order_acq_rel);
    down_.store(true);
    std::unique_lock lock(mutex_);
    unpinned_.wait(lock, [&] { return pins_.load() == 0; });
    while (parked* const waiter = parked_.pop_front()) {
      lock.unlock();
      waiter->evict();
      lock.lock();
    }
  }

  std::atomic<std::size_t> references_{1};
  std::atomic<std::size_t> pins_{0};
  std::atomic<bool> down_{false};
  std::mutex mutex_;
  std::condition_variable unpinned_;
  list<parked> parked_;
};

/// Whether functions on an executor never run at the same time, as far as can be told.
template <class Executor>
inline constexpr bool is_strand = false;
template <class Inner>
inline constexpr bool is_strand<net::strand<Inner>> = true;

/// Calls `f` with the strand that `ex` is, or with `ex`.
///
/// A strand of Asio's queues a function before it asks its inner executor to run it, and is stuck for good if that
/// throws. So whatever goes to a strand from elsewhere is first posted to the inner executor, which refuses cleanly,
/// and dispatched to the strand from there, where only the allocation before the queueing can throw.
template <class Executor, class F>
auto with_strand(Executor const& ex, F&& f) {
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    if (auto const* io = ex.template target<net::strand<net::io_context::executor_type>>()) return f(*io);
    if (auto const* pool = ex.template target<net::strand<net::thread_pool::executor_type>>()) return f(*pool);
    if (auto const* any = ex.template target<net::strand<net::any_io_executor>>()) return f(*any);
  }
  return f(ex);
}

/// Whether this is a thread of `ex`'s context, as far as can be told: what is dispatched runs at once.
template <class Executor>
[[nodiscard]] bool runs_here(Executor const& ex) noexcept {
  if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
    if (auto const* io = ex.template target<net::io_context::executor_type>()) return io->running_in_this_thread();
    if (auto const* pool = ex.template target<net::thread_pool::executor_type>()) return pool->running_in_this_thread();
  } else if constexpr (requires { ex.running_in_this_thread(); }) {
    return ex.running_in_this_thread();
  }
  return false;
}

/// Where a task runs.
template <class Executor>
struct serialized {
  Executor executor;    ///< `ex`, or a strand on it.
  bool serial = false;  ///< Is one.
  bool shared = false;  ///< Was one before: others may use it.

  explicit serialized(Executor ex) : executor(std::move(ex)) {
    if constexpr (is_strand<Executor>) {
      serial = shared = true;
    } else if constexpr (std::is_same_v<Executor, net::any_io_executor>) {
      serial = true;
      if (auto const* io = executor.template target<net::io_context::executor_type>()) {
        executor = net::make_strand(*io);
      } else if (asio_front::with_strand(executor, []<class Found>(Found const&) { return is_strand<Found>; })) {
        shared = true;
      } else if (auto const* pool = executor.template target<net::thread_pool::executor_type>()) {
        executor = net::make_strand(*pool);
      } else {
        executor = net::make_strand(executor);
      }
    } else if constexpr (std::is_convertible_v<net::strand<Executor>, Executor>) {
      executor = net::make_strand(executor);
      serial = true;
    }
  }
};

}  // namespace detail::asio_front
}  // namespace cacheflight::inline v1
