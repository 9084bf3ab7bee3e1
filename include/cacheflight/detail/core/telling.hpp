// SPDX-License-Identifier: MIT
#pragma once

// What follows outside of the lock: turns are given, last events delivered, tasks asked to stop, references
// given back.

#include <cacheflight/detail/core/outcall.hpp>
#include <cacheflight/detail/core/shard.hpp>
#include <cacheflight/detail/core/steps.hpp>
#include <cacheflight/detail/flight.hpp>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

namespace cacheflight::inline v1::detail {

template <class P>
struct telling : steps<P> {
  using typename steps<P>::flight_type, typename steps<P>::waiter_type, typename steps<P>::phase,
      typename steps<P>::batch, typename steps<P>::closing;
  using outcall = detail::outcall<P>;
  using steps<P>::released, steps<P>::strand, steps<P>::take_stranded;

  // ---- references

  static void retain(flight_type& f) noexcept { f.references_.fetch_add(1, std::memory_order_relaxed); }
  static void release(flight_type& f, std::uint32_t count = 1) noexcept {
    if (f.references_.load(std::memory_order_acquire) != count &&
        f.references_.fetch_sub(count, std::memory_order_acq_rel) != count)
      return;
    shard<P>* const s = f.home_;
    delete &f;
    if (!s) return;
    switch (s->ended.end()) {
      case ending::more: return;
      case ending::last: return s->owner->release();
      case ending::watched: return s->owner->flight_has_ended();
      case ending::watched_last: s->owner->flight_has_ended(); return s->owner->release();
    }
  }

  struct releaser {
    std::uint32_t count = 1;
    void operator()(flight_type* f) const noexcept { release(*f, count); }
  };
  using flight_reference = std::unique_ptr<flight_type, releaser>;

  // ---- turns

  /// For a caller that is not suspended, or not where it can go on at once: gives the caller its turn, now or
  /// when its executor takes it.
  static void give_turn(waiter_type& w) noexcept {
    list<waiter_type> alone;
    if (!w.hand_over(alone)) strand(w);
  }

  /// Called by a front whose hand-over on the caller's own executor was refused: it is tried again (rule 10).
  static void strand(waiter_type& w) noexcept {
    shard<P>& s = *w.flight_->home_;
    core<P>& owner = *s.owner;
    owner.retain();  // the waiter may be handed over, and the group gone, as soon as the lock is free
    {
      std::scoped_lock lock(s.mutex);
      strand(s.stranded, w);
    }
    owner.try_again_soon();
    owner.release();
  }

  static void hand_over(batch& released) noexcept {
    while (waiter_type* const w = released.callers.pop_front())
      if (!w->hand_over(released.callers)) strand(*w);
    released.guard.reset();
  }

  /// Hands over each waiter of a list of stranded ones; they can still be withdrawn from it, under the lock.
  static void give_turns(shard<P>& s, list<waiter_type>& whose) noexcept {
    for (;;) {
      batch one;
      {
        std::scoped_lock lock(s.mutex);
        waiter_type* const w = whose.pop_front();
        if (!w) return;
        take_stranded(s, *w, one);
      }
      hand_over(one);
    }
  }

  template <bool OnlyPrompt = false>
  static void release_waiters(shard<P>& s, flight_type& f) noexcept {
    for (bool through = false; !through;) {
      batch released;
      {
        std::scoped_lock lock(s.mutex);
        through = steps<P>::template release_batch<OnlyPrompt>(s, f, released);
      }
      hand_over(released);
    }
  }
  static void release_prompt(shard<P>& s, flight_type& f) noexcept { release_waiters<true>(s, f); }

  // ---- the task

  /// The stop request could not be delivered after all: it is tried again. Consumes a reference.
  static void stop_refused(flight_type& f) noexcept {
    shard<P>& s = *f.home_;
    core<P>& owner = *s.owner;
    owner.retain();
    {
      std::scoped_lock lock(s.mutex);
      s.unstopped.push(f);
    }
    owner.try_again_soon();
    owner.release();
  }

  static void ask_to_stop(flight_type& f) noexcept {
    if (f.request_stop()) release(f);
    else stop_refused(f);
  }

  // ---- the end of a flight, and its last event

  static void conclude(closing end) noexcept {
    if (!end.f) return;
    tell(end);
    if (end.stop) ask_to_stop(*end.f);
  }

  /// Releases a doomed flight's waiters, then delivers its last event: nobody's answer waits for that (rule
  /// 35). Consumes the open flight's reference.
  static void tell(closing end) noexcept {
    flight_type& f = *end.f;
    shard<P>& s = *f.home_;
    release_waiters(s, f);
    if (std::optional<outcall> delivery; end.event && begin_outcall(s, delivery)) deliver_last(f, *delivery);
    release(f);
  }

  static void deliver_last(flight_type& f, outcall& delivery) noexcept {
    delivery.owner().announcer_.deliver_last(f);  // the flight may not know its home any more
    delivery.end();
  }

  /// False: no event is delivered any more.
  [[nodiscard]] static bool begin_outcall(shard<P>& s, std::optional<outcall>& delivery) noexcept {
    std::scoped_lock lock(s.mutex);
    if (!s.silent) delivery.emplace(s);
    return delivery.has_value();
  }

  /// An event of the flight was delivered. If the flight closed meanwhile and this was the last delivery
  /// under way, this delivers its last event (rule 26), releases its waiters if it has settled, and gives
  /// back the reference that came with that. If the caller is ready to suspend it is armed in the same step;
  /// returns whether it was.
  [[nodiscard]] static bool end_delivery(outcall& delivery, flight_type& f, waiter_type& w,
                                         bool ready_to_suspend) noexcept {
    shard<P>& s = *f.home_;
    core<P>& owner = *s.owner;
    bool ours, armed, silent, last = false;
    {
      std::scoped_lock lock(s.mutex);
      ours = --f.emitting_ == 0 && !f.open();
      if (!ours || s.silent) last = delivery.over();  // otherwise the last event belongs to the same outcall
      armed = ready_to_suspend && !released(w);
      if (armed) w.phase_.store(phase::armed, std::memory_order_relaxed);
      silent = s.silent;
    }
    if (last) owner.tell_destructor();
    if (!ours) return armed;
    if (!silent) deliver_last(f, delivery);
    if (!doomed(f.why())) release_waiters(s, f);
    release(f);
    return armed;
  }
};

}  // namespace cacheflight::inline v1::detail
