// SPDX-License-Identifier: MIT
#pragma once

#include <cacheflight/detail/core.hpp>

#include <utility>

namespace cacheflight::inline v1::detail {

/// A caller that takes its turn on whatever thread releases it (coroutines and callbacks without a scheduler).
///
/// Turns taken inside a turn are queued, and taken by the outermost one of the thread: a chain of flights that end each
/// other, or any number of waiters, does not grow the stack.
template <class P>
class inline_caller : public waiter<P> {
 protected:
  inline_caller() noexcept = default;
  ~inline_caller() {
    if (starting* const s = starting::of(*this)) s->gone = true;
    if (!core<P>::withdraw(*this)) {
      if (this->linked()) this->unlink();  // destroyed with its turn queued on this thread
      core<P>::finish(*this);
    }
  }

  /// Goes on. The caller may be gone afterwards.
  virtual void take_turn() noexcept = 0;

  /// Takes the turn now, or as soon as the turn under way on this thread is over.
  void queue_turn() noexcept {
    queue.push_back(*this);
    if (!std::exchange(draining, true)) drain();
  }

  /// A leader that starts its task: a turn that it is given meanwhile on this thread is noted instead of taken, and
  /// other turns wait until `end`, which tells whether the leader is ready. The leader may be resumed on another
  /// thread, and be gone, at any moment in between, and another waiter may have its address; so it is known by its
  /// flight, which the caller holds, and which has one leader ever.
  class starting {
   public:
    explicit starting(inline_caller& leader) noexcept
        : flight_(leader.joined()),
          outer_(std::exchange(starting_here, this)),
          drains_(!std::exchange(draining, true)) {
      leader.leads_ = true;
    }
    starting(starting const&) = delete;
    starting& operator=(starting const&) = delete;
    ~starting() { starting_here = outer_; }

    [[nodiscard]] bool end() noexcept {
      if (drains_) drain();
      return ready && !gone;
    }

    [[nodiscard]] static starting* of(inline_caller const& caller) noexcept {
      for (starting* s = starting_here; s; s = s->outer_)
        if (caller.leads_ && s->flight_ == caller.joined()) return s;
      return nullptr;
    }

    bool ready = false;
    bool gone = false;

   private:
    flight<P> const* flight_;
    starting* outer_;
    bool drains_;
  };

  /// True: noted; see `starting`.
  [[nodiscard]] bool is_starting_here() noexcept {
    starting* const s = starting::of(*this);
    return s && (s->ready = true);
  }

 private:
  bool leads_ = false;

  static void drain() noexcept {
    while (auto* const next = queue.pop_front()) next->take_turn();
    draining = false;
  }

  static inline thread_local list<inline_caller> queue;
  static inline thread_local bool draining = false;
  static inline thread_local starting* starting_here = nullptr;
};

}  // namespace cacheflight::inline v1::detail
