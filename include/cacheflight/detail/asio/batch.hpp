// SPDX-License-Identifier: MIT
#pragma once

// Callers that go to their executor together.

#include <cacheflight/detail/asio/caller.hpp>

#include <array>
#include <atomic>
#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

template <class P, class Executor>
class coroutine_caller;

/// Released callers of one executor on their way to it, in one posted function object. Before the object lets
/// its first caller go on it posts a copy for the others, so that one that throws, or blocks, keeps nobody
/// waiting; where the executor has several threads, they take turns from here side by side.
template <class P, class Executor>
class batch {
 public:
  using core_type = core<P>;
  using caller_type = coroutine_caller<P, Executor>;
  static constexpr std::size_t most = 64;

  batch(batch const&) = delete;
  batch& operator=(batch const&) = delete;

  /// `waiter::hand_over` for `first`, and for the next of `others` that have its executor.
  [[nodiscard]] static bool hand_over(caller_type& first, typename waiter<P>::waiters& others) noexcept {
    reference const whole(new (std::nothrow) batch(first));
    if (!whole) return first.post_turn(first.executor_, std::allocator<void>());
    while (whole->count_ < most && !others.empty() && first.goes_with(others.front()))
      whole->callers_[whole->count_++] = static_cast<caller_type*>(others.pop_front());
    // From here on the context finds them in its queue.
    if (first.context_)
      first.context_->unpark(whole->callers_.data(), whole->count_,
                             [](caller<P>* c) -> context_guard::parked& {
                               c->parked_ = false;
                               return *c;
                             });
    if (post(whole)) return true;
    bool refused = false;
    while (caller_type* const c = whole->next()) {
      (void)c->park();  // it is pinned
      if (c == std::addressof(first)) refused = true;
      else others.push_back(static_cast<waiter<P>&>(*c));
    }
    return !refused;
  }

 private:
  struct let_go {
    void operator()(batch* b) const noexcept {
      if (b->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete b;
    }
  };
  using reference = std::unique_ptr<batch, let_go>;
  [[nodiscard]] static reference another(reference const& b) noexcept {
    b->references_.fetch_add(1, std::memory_order_relaxed);
    return reference(b.get());
  }

  explicit batch(caller_type& first) noexcept : executor_(first.executor_) {
    callers_[0] = std::addressof(first);
  }
  /// Nobody will call any more: their context is gone.
  ~batch() {
    while (caller_type* const c = next()) c->drop_turn();
  }

  [[nodiscard]] bool more() const noexcept { return next_.load(std::memory_order_relaxed) < count_; }
  /// A caller that nobody else gets; null if there are no more.
  [[nodiscard]] caller_type* next() noexcept {
    if (!more()) return nullptr;
    std::size_t const i = next_.fetch_add(1, std::memory_order_relaxed);
    return i < count_ ? callers_[i] : nullptr;
  }

  /// What is posted.
  struct turns {
    reference of;
    void operator()() const {
      if (submission* const now = submission::of(of.get())) now->taken = true;
      caller_type* c = of->next();
      if (c && of->more() && !post(of)) of->strand();
      for (; c; c = of->next()) c->take_turn();
    }

    struct attempt_type {
      reference of;
      submission now{of.get()};
      void refused() {
        if (now.taken) throw;
        now.end();
        of->strand();
      }
    };
    [[nodiscard]] attempt_type attempt() const noexcept { return {another(of)}; }
  };

  /// False: refused.
  [[nodiscard]] static bool post(reference const& whole) noexcept {
    try {
      asio_front::post_by_strand(whole->executor_, turns{another(whole)});
      return true;
    } catch (...) {
      return false;
    }
  }

  /// Refused on the callers' own executor: the core tries again.
  void strand() noexcept {
    while (caller_type* const c = next()) {
      (void)c->park();  // its context runs this
      core_type::strand(*c);
    }
  }

  Executor executor_;
  std::atomic<std::size_t> references_{1};
  std::atomic<std::size_t> next_{0};
  std::size_t count_ = 1;
  std::array<caller_type*, most> callers_;
};

}  // namespace cacheflight::inline v1::detail::asio_front
