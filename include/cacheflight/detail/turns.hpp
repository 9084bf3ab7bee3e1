// SPDX-License-Identifier: MIT
#pragma once

// Callers that go on on whatever thread releases them, one after the other (rule 42).

#include <cacheflight/detail/core.hpp>
#include <cacheflight/detail/nesting.hpp>
#include <cacheflight/detail/process.hpp>

#include <atomic>
#include <cstdint>
#include <utility>

namespace cacheflight::inline v1::detail {

/// A caller that takes its turn on whatever thread releases it (coroutines and callbacks without a
/// scheduler).
///
/// Turns taken inside a turn are queued, and taken by the outermost one of the stack: a chain of flights that
/// end each other, or any number of waiters, does not grow it (rule 42). A turn waits only for
/// one that is under way below it on the same stack, never for a fiber that is suspended.
template <class P>
class inline_caller : public waiter<P> {
 public:
  /// Whether this thread is inside of a turn.
  [[nodiscard]] static bool in_turn() noexcept {
    for (scope const* s = scope::around(); s; s = s->outer())
      if (s->number == 0) return true;
    return false;
  }

 protected:
  class starting;

  inline_caller() noexcept = default;
  ~inline_caller() {
    if (start_ != 0) starting::told_gone(*this);
    if (!core<P>::withdraw(*this)) {
      if (this->linked()) this->unlink();  // destroyed with its turn queued
      core<P>::finish(*this);
    }
  }

  /// Goes on. The caller may be gone afterwards.
  virtual void take_turn() noexcept = 0;

  /// All that resume on whatever thread there is share one place.
  [[nodiscard]] void const* place() const noexcept override { return &anywhere; }

  /// Takes the turns of this one (unless it is entering here) and of `others` now, or as soon as the turn
  /// under way around this call is over.
  void queue_turns(typename waiter<P>::waiters& others) noexcept {
    bool const noted = is_starting_here();
    if (noted && others.empty()) return;
    turn now;
    scope* const around = now.begin(here());
    if (around && !noted) around->queue->push_back(*this);
    (around ? *around->queue : now.own).splice(others);
    if (!around && !noted) take_turn();
  }

  /// The caller has read its outcome. The flight may be gone afterwards.
  void finish_turn() noexcept {
    start_ = 0;
    scope* const around = core<P>::is_last(*this) ? nullptr : scope::around();
    if (around && around->queue && !around->queue->empty()) core<P>::finish(*this, around->queue->front());
    else core<P>::finish(*this);
  }

  /// True: noted; see `starting`.
  [[nodiscard]] bool is_starting_here() noexcept {
    starting* const s = start_ == 0 ? nullptr : starting::of(*this, scope::around());
    if (s) s->note();
    return s != nullptr;
  }

 private:
  /// A turn, or a call that enters.
  struct scope : nesting<scope> {
    explicit scope(std::uint64_t n = 0) noexcept : number(n) {}

    void enter(stack_address at) noexcept {
      nesting<scope>::enter(at);
      scope* const outer = this->outer();
      queue = outer && outer->queue ? outer->queue : &own;
    }
    /// Those that were queued meanwhile, if there is none around to take them.
    void take_queued() noexcept {
      while (auto* const next = own.pop_front()) static_cast<inline_caller*>(next)->take_turn();
    }

    typename waiter<P>::waiters own;  // all of them inline callers
    typename waiter<P>::waiters* queue =
        nullptr;                 // where turns wait that are released inside of this; null: they do not
    std::uint64_t const number;  // of who enters; 0: a turn
  };
  struct turn : scope {
    /// Returns who is around that has a queue. Null: there is none, and this one has.
    [[nodiscard]] scope* begin(stack_address at) noexcept {
      scope* const around = this->around_or_enter(at, [](scope& outer) { return outer.queue != nullptr; });
      if (!around) this->queue = &this->own;
      return around;
    }
    ~turn() { this->take_queued(); }
  };

 protected:
  /// A caller that enters, and starts its task if it leads (rule 29): a turn that it is given meanwhile
  /// inside of this is noted instead of taken. It may be resumed elsewhere, and be gone, at any moment until
  /// `end`, and another waiter may have its address; so it is known by a number of its own, which it has
  /// before others can see it.
  class starting : scope {
   public:
    explicit starting(inline_caller& leader) noexcept : scope(next_number()), leader_(leader) {
      leader.start_ = this->number;
    }
    ~starting() { this->take_queued(); }

    /// Code of the user's may run while it enters: other turns wait until it has entered, because they may
    /// destroy the caller.
    void entering(stack_address at = here()) noexcept { this->enter(at); }

    /// The caller leads, and may be gone; what follows is the task.
    void leads(stack_address at = here()) noexcept {
      if (this->queue) this->take_queued();
      else this->enter(at);
      if (this->queue == &this->own) this->queue = nullptr;
    }

    /// It goes on here when this is over, whoever is given its turn.
    void note() noexcept {
      noted_ = true;
      leader_.start_ = reinterpret_cast<std::uintptr_t>(this);
    }

    /// Whether the caller goes on here: it was noted, and is not gone.
    [[nodiscard]] bool end() noexcept {
      this->take_queued();
      if (!noted_ || gone_) return false;
      leader_.start_ = 0;
      return true;
    }

   private:
    friend inline_caller;

    static constexpr std::uint64_t block = 1 << 24;

    /// Odd, and never the same twice: each thread takes them from a block of its own.
    [[nodiscard]] static std::uint64_t next_number() noexcept {
      static constinit std::atomic<std::uint64_t> blocks{0};
      CACHEFLIGHT_STATIC_TLS static thread_local constinit std::uint64_t last = 0;
      if (last % block == 0) last = blocks.fetch_add(1, std::memory_order_relaxed) * block;
      return ++last * 2 + 1;
    }

    [[nodiscard]] static starting* of(inline_caller const& caller, scope* around) noexcept {
      for (scope* s = around; s; s = s->outer())
        if (s->number == caller.start_) return static_cast<starting*>(s);
      return nullptr;
    }

    /// A caller that has entered somewhere is destroyed.
    static void told_gone(inline_caller const& caller) noexcept {
      if (starting* const s = caller.noted_by())
        s->gone_ = true;  // who is not noted does not go on there anyway
    }

    inline_caller& leader_;
    bool noted_ = false, gone_ = false;
  };

 private:
  static constexpr char anywhere = 0;

  /// Where it goes on; null: it was not noted.
  [[nodiscard]] starting* noted_by() const noexcept {
    return start_ % 2 == 0 ? reinterpret_cast<starting*>(static_cast<std::uintptr_t>(start_)) : nullptr;
  }

  std::uint64_t start_ = 0;  // the number under which it enters, or has; or who has noted it; 0: neither
};

}  // namespace cacheflight::inline v1::detail
