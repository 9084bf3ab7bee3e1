// SPDX-License-Identifier: MIT
#pragma once

#include <cacheflight/detail/core.hpp>
#include <cacheflight/detail/process.hpp>

#include <atomic>
#include <cstdint>
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

  /// All that resume on whatever thread there is share one place.
  [[nodiscard]] void const* place() const noexcept override { return &anywhere; }

  /// Takes the turns of this one (unless it is entering here) and of `others` now, or as soon as the turn under way on
  /// this thread is over.
  void queue_turns(typename waiter<P>::waiters& others) noexcept {
    taking_turns const outermost;
    if (!is_starting_here()) queue->push_back(*this);
    queue->splice(others);
  }

  /// The caller has read its outcome. The flight may be gone afterwards.
  void finish_turn() noexcept {
    if (queue && !queue->empty()) core<P>::finish(*this, queue->front());
    else core<P>::finish(*this);
  }

  /// True: noted; see `starting`.
  [[nodiscard]] bool is_starting_here() noexcept {
    starting* const s = starting::of(*this);
    return s && (s->ready = true);
  }

 private:
  /// The outermost turn of a thread, if there is none: at its end it takes those that were queued meanwhile.
  class taking_turns {
   public:
    taking_turns() noexcept : outermost_(queue == nullptr) {
      if (outermost_) queue = &own_;
    }
    taking_turns(taking_turns const&) = delete;
    taking_turns& operator=(taking_turns const&) = delete;
    ~taking_turns() { end(); }

    void end() noexcept {
      if (!std::exchange(outermost_, false)) return;
      while (auto* const next = own_.pop_front()) static_cast<inline_caller*>(next)->take_turn();
      queue = nullptr;
    }

   private:
    typename waiter<P>::waiters own_;  // all of them inline callers
    bool outermost_;
  };

 protected:
  /// A caller that enters, and starts its task if it leads: a turn that it is given meanwhile on this thread is noted instead of taken, and
  /// other turns wait until `end`, which tells whether the caller is ready. It may be resumed on another
  /// thread, and be gone, at any moment in between, and another waiter may have its address; so it is known by a number
  /// of its own.
  class starting {
   public:
    explicit starting(inline_caller& leader) noexcept : number_(next_number()), outer_(std::exchange(innermost, this)) {
      leader.start_ = number_;
    }
    starting(starting const&) = delete;
    starting& operator=(starting const&) = delete;
    ~starting() { innermost = outer_; }

    [[nodiscard]] bool end() noexcept {
      turns_.end();
      return ready && !gone;
    }

    [[nodiscard]] static starting* of(inline_caller const& caller) noexcept {
      if (caller.start_ == 0) return nullptr;
      for (starting* s = innermost; s; s = s->outer_)
        if (s->number_ == caller.start_) return s;
      return nullptr;
    }

    bool ready = false;
    bool gone = false;

   private:
    static constexpr std::uint64_t block = 1 << 24;

    /// Never the same twice: each thread takes them from a block of its own.
    [[nodiscard]] static std::uint64_t next_number() noexcept {
      static constinit std::atomic<std::uint64_t> blocks{0};
      CACHEFLIGHT_STATIC_TLS static thread_local constinit std::uint64_t last = 0;
      if (last % block == 0) last = blocks.fetch_add(1, std::memory_order_relaxed) * block;
      return ++last;
    }

    std::uint64_t number_;
    starting* outer_;
    taking_turns turns_;
  };

 private:
  static constexpr char anywhere = 0;

  std::uint64_t start_ = 0;  // the number under which it started its task; 0: it has not

  CACHEFLIGHT_STATIC_TLS static inline thread_local constinit typename waiter<P>::waiters* queue = nullptr;
  CACHEFLIGHT_STATIC_TLS static inline thread_local constinit starting* innermost = nullptr;
};

}  // namespace cacheflight::inline v1::detail
