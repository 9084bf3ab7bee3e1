// SPDX-License-Identifier: MIT
#pragma once

// The steps that flights and waiters take under their shard's lock. No user code runs here.

#include <cacheflight/detail/core/outcall.hpp>
#include <cacheflight/detail/core/shard.hpp>
#include <cacheflight/detail/flight.hpp>
#include <cacheflight/platform.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>

namespace cacheflight::inline v1::detail {

template <class P>
struct steps {
  using clock = typename P::clock;
  using time_point = typename clock::time_point;
  using flight_type = flight<P>;
  using waiter_type = waiter<P>;
  using phase = typename waiter_type::phase;

  /// Callers that were released together, and what keeps them until they have their turns.
  struct batch {
    list<waiter_type> callers;
    pin_guard guard;
  };
  static constexpr std::size_t batch_size = 64;

  /// What is left to do, outside of the lock, for a flight that was doomed.
  struct closing {
    flight_type* f = nullptr;  // waiters to be released; comes with the open flight's reference
    bool event = false;        // the last event, after them
    bool stop = false;         // the stop request; comes with a reference
  };

  static void join(shard<P>& s, flight_type& f, waiter_type& w, time_point wait_until, phase as,
                   bool lets_go) noexcept {
    w.flight_ = &f;
    w.left_ = departure::none;
    w.lets_go_ = lets_go;
    w.references_ = 1;
    w.phase_.store(as, std::memory_order_relaxed);
    if (!w.prompt_) f.turns_ = true;
    if (w.prompt_ && f.turns_) f.queue_.push_front(w);  // nobody's turn keeps it
    else f.queue_.push_back(w);
    w.queued_ = true;
    ++f.waiters_;
    ++s.waiters;
    if (wait_until != (time_point::max)()) s.deadlines.push(wait_until, w);
  }

  static void strand(list<waiter_type>& where, waiter_type& w) noexcept {
    where.push_back(w);
    w.stranded_ = true;
  }

  static void unqueue(shard<P>& s, waiter_type& w) noexcept {
    w.unlink();
    w.queued_ = false;
    s.deadlines.remove(w);
  }

  /// Whether the caller's outcome is there already; `arm` would say false.
  [[nodiscard]] static bool released(waiter_type const& w) noexcept {
    return w.phase_.load(std::memory_order_acquire) == phase::released;
  }

  /// Returns whether the caller was suspended: whoever released it must hand over.
  [[nodiscard]] static bool set_released(waiter_type& w) noexcept {
    bool const suspended = w.phase_.load(std::memory_order_relaxed) == phase::armed;
    w.phase_.store(phase::released, std::memory_order_release);
    P::point(core_step::release);
    return suspended;
  }

  /// Leaves its flight, which closes if it was the last. Or the flight has closed already, and its waiters
  /// are kept by its last event (rule 35), or by others' turns: then it is doomed, and the waiter has that
  /// outcome. If it was suspended it goes into `leaver`, stranded: whoever concludes gives it its turn.
  [[nodiscard]] static closing depart(shard<P>& s, flight_type& f, waiter_type& w, departure how,
                                      list<waiter_type>& leaver) noexcept {
    unqueue(s, w);
    bool const open = f.open();
    if (!doomed(f.why())) w.left_ = how;
    if (open) {
      --f.waiters_;
      --s.waiters;
      f.references_.fetch_add(1, std::memory_order_relaxed);
    }
    if (set_released(w)) strand(leaver, w);
    return open && f.waiters_ == 0 ? doom(s, f, cause::cancelled) : closing{};
  }

  /// Ends a flight before its task has. The caller must `conclude` it outside of the lock.
  [[nodiscard]] static closing doom(shard<P>& s, flight_type& f, cause why) noexcept {
    close(s, f, why);
    ++s.detached;
    closing end{&f};
    end.stop = f.stop_.fetch_or(flight_type::stop_due, std::memory_order_acq_rel) & flight_type::stoppable;
    bool const other_event = f.emitting_ != 0;  // then who delivers it has the last one, and a reference
    end.event = s.owner->events_ && !other_event;
    f.references_.fetch_add(f.waiters_ + (end.stop ? 1 : 0) + (other_event ? 1 : 0),
                            std::memory_order_relaxed);
    return end;
  }

  /// The one place where a flight ends (rules 2 to 4). Its waiters' references are still to be counted.
  static void close(shard<P>& s, flight_type& f, cause why) noexcept {
    f.why_.store(why, std::memory_order_release);
    if (f.superseded_) [[unlikely]]
      s.table.unhide();
    else give_back_key(s);
    s.table.unlink(f);
    s.deadlines.remove(f);
    s.waiters -= f.waiters_;
    switch (why) {
      case cause::resolved: ++s.resolved; break;
      case cause::timed_out: ++s.timed_out; break;
      case cause::cancelled:
      case cause::cleared:
      case cause::drained:
      case cause::destroyed: ++s.cancelled; break;
      default: ++s.rejected; break;
    }
  }

  /// A joinable flight stops being joinable, and nothing else happens to it (rule 49). Its key is still to be
  /// given back, or passed on.
  static void supersede(shard<P>& s, flight_type& f) noexcept {
    f.superseded_ = true;
    s.table.hide(f, f.id_);
  }

  static void give_back_key(shard<P>& s) noexcept {
    if (s.owner->options_.max_keys() != 0) s.owner->keys_.fetch_sub(1, std::memory_order_acq_rel);
  }

  /// Releases the first waiter. If it was not suspended it goes on at once, and the flight may go with it.
  static void release_next(shard<P>& s, flight_type& f, batch& released) noexcept {
    waiter_type& w = f.queue_.front();
    unqueue(s, w);
    if (!set_released(w)) return;
    if (!released.callers.empty() || w.pin(released.guard)) released.callers.push_back(w);
    else strand(s.stranded, w);
  }

  /// Releases the only waiter of a flight to which nobody else has a reference; the settler gives back its
  /// two in the same step, and the flight may be gone. Only while the lock that closed the flight is held:
  /// later it could be the last that keeps the core, and would destroy the lock. If the waiter lets go
  /// nothing of the flight needs the shard afterwards: so its end need not be counted, which would be an
  /// atomic step. (The group is there: with it every open flight goes.)
  static void release_sole(shard<P>& s, flight_type& f, batch& released, bool lets_go) noexcept {
    f.references_.store(1, std::memory_order_release);
    if ((lets_go || f.queue_.front().lets_go_) && s.who_leads != door::watched) {
      --s.living;
      f.home_ = nullptr;
    }
    release_next(s, f, released);
  }

  /// Releases waiters of a closed flight, at most a batch. True: nobody is left to be released (`OnlyPrompt`:
  /// nobody prompt).
  template <bool OnlyPrompt = false>
  [[nodiscard]] static bool release_batch(shard<P>& s, flight_type& f, batch& released) noexcept {
    void const* place = nullptr;
    for (std::size_t left = batch_size; left != 0 && !f.queue_.empty(); --left) {
      waiter_type& w = f.queue_.front();
      if (OnlyPrompt && !w.prompt_) return true;
      bool const first = released.callers.empty();
      if (!first && (!place || w.place() != place)) return false;
      release_next(s, f, released);
      if (first && !released.callers.empty()) place = w.place();
    }
    return f.queue_.empty();
  }

  /// Under the lock: queues what helpers are to do for a flight that was doomed. True: no job took the open
  /// flight's reference, so the caller has it. False: a job has it, or nothing was doomed.
  [[nodiscard]] static bool leave_to_helpers(shard<P>& s, closing end) noexcept {
    if (!end.f) return false;
    flight_type& f = *end.f;
    if (end.stop) s.to_stop.push(f);
    if (!end.event && !(f.turns_ && f.waiters_ != 0)) return true;
    f.last_event_ = end.event;
    s.ends.push(f);
    return false;
  }

  [[nodiscard]] static bool has_jobs(shard<P> const& s) noexcept {
    return !s.turns.empty() || !s.ends.empty() || !s.lost.empty() || !s.to_stop.empty();
  }

  static void note_job(shard<P>& s, time_point now) noexcept {
    if (s.jobs_since.load(std::memory_order_relaxed) == (time_point::max)())
      s.jobs_since.store(now, std::memory_order_relaxed);
  }

  static void take_stranded(shard<P>& s, waiter_type& w, batch& one) noexcept {
    w.stranded_ = false;
    if (w.pin(one.guard)) one.callers.push_back(w);
    else strand(s.stranded, w);
  }

  /// In the child: what was up in the parent is not up here. Nobody is told, and what it holds is not given
  /// back: it belongs to threads that are not there. Only the thread that has forked may still be in the
  /// middle of some of it.
  static void forget(shard<P>& s, shard<P>& lobby) noexcept {
    s.table.for_each([&](flight_type& f) {
      f.references_.fetch_add(f.waiters_, std::memory_order_relaxed);
      close(s, f, cause::cancelled);
      f.home_ = &lobby;  // where no drain waits for its end
      --s.living, ++lobby.living;
      while (waiter_type* const w = f.queue_.pop_front()) {
        w->queued_ = false;
        w->phase_.store(phase::released, std::memory_order_release);
      }
    });
    s.deadlines.clear();
    for (auto* const waiting : {&s.turns, &s.stranded})
      while (waiter_type* const w = waiting->pop_front()) w->stranded_ = false;
    for (auto* const flights : {&s.ends, &s.lost})
      while (flights->pop()) {
      }
    for (auto* const flights : {&s.to_stop, &s.unstopped})
      while (flights->pop()) {
      }
    s.jobs_since.store((time_point::max)(), std::memory_order_relaxed);
    outcall<P>::forget_others(s);
    s.waiters = 0;
    s.detached = 0;
  }
};

}  // namespace cacheflight::inline v1::detail
