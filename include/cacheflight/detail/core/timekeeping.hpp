// SPDX-License-Identifier: MIT
#pragma once

// What the thread that keeps time does with a shard, and what it leaves to helper threads because user code
// may run (rule 33).

#include <cacheflight/detail/core/outcall.hpp>
#include <cacheflight/detail/core/shard.hpp>
#include <cacheflight/detail/core/telling.hpp>
#include <cacheflight/detail/flight.hpp>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

namespace cacheflight::inline v1::detail {

template <class P>
struct timekeeping : telling<P> {
  using typename steps<P>::clock, typename steps<P>::time_point, typename steps<P>::flight_type,
      typename steps<P>::waiter_type, typename steps<P>::batch, typename steps<P>::closing;
  using outcall = detail::outcall<P>;
  using steps<P>::depart, steps<P>::doom, steps<P>::has_jobs, steps<P>::leave_to_helpers, steps<P>::note_job,
      steps<P>::take_stranded;
  using telling<P>::ask_to_stop, telling<P>::give_turns, telling<P>::hand_over, telling<P>::release,
      telling<P>::release_prompt, telling<P>::retain, telling<P>::tell;

  // -- on the thread that keeps time

  /// Returns when the next deadline is. One at a time: whatever there are, the lock is held briefly.
  static time_point expire(shard<P>& s) noexcept {
    for (;;) {
      flight_type* f;  // with a reference of ours
      list<waiter_type> leaver;
      bool doomed = false;
      {
        time_point const now = clock::now();
        std::scoped_lock lock(s.mutex);
        auto const* const first = s.deadlines.top();
        if (!first) return (time_point::max)();
        if (first->when > now) return first->when;
        deadline_node* const due = first->node;
        s.deadlines.remove(*due);
        closing end;
        if (due->of == deadline_of::flight) {
          f = static_cast<flight_type*>(due);
          if (&s == &s.owner->shards_.lobby()) {
            s.ends.push(*s.owner->drains_.claim_due());
          } else {
            end = doom(s, *f, cause::timed_out);
            doomed = true;
          }
        } else {
          auto& w = *static_cast<waiter_type*>(due);
          f = w.flight_;
          end = depart(s, *f, w, departure::wait_timed_out, w.prompt_ ? leaver : s.turns);
        }
        if (!leave_to_helpers(s, end)) retain(*f);
        if (has_jobs(s)) note_job(s, now);
      }
      give_turns(s, leaver);
      if (doomed) release_prompt(s, *f);
      release_unseen(s, *f);
    }
  }

  /// Gives back a reference where no flight may be destroyed, because its key and task are the user's.
  static void release_unseen(shard<P>& s, flight_type& f) noexcept {
    std::uint32_t references = f.references_.load(std::memory_order_acquire);
    while (references != 1)
      if (f.references_.compare_exchange_weak(references, references - 1, std::memory_order_acq_rel)) return;
    std::scoped_lock lock(s.mutex);
    s.lost.push(f);
    note_job(s, clock::now());
  }

  /// Once each: the hand-overs and the stop requests that were refused. Returns whether anything still is.
  static bool try_again(shard<P>& s) noexcept {
    list<waiter_type> refused;
    {
      time_point const now = s.unstopped.empty() && s.stranded.empty() ? time_point() : clock::now();
      std::scoped_lock lock(s.mutex);
      if (s.unstopped.empty() && s.stranded.empty()) return false;
      s.to_stop.splice(s.unstopped);
      while (waiter_type* const w = s.stranded.pop_front()) (w->prompt_ ? refused : s.turns).push_back(*w);
      note_job(s, now);
    }
    give_turns(s, refused);
    std::scoped_lock lock(s.mutex);
    return !s.unstopped.empty() || !s.stranded.empty();
  }

  // -- on a helper thread

  static bool run_job(shard<P>& s) noexcept {
    if (s.jobs_since.load(std::memory_order_relaxed) == (time_point::max)()) return false;
    batch turn;
    flight_type *ended = nullptr, *lost = nullptr, *to_stop = nullptr;
    std::optional<outcall> job;
    {
      time_point const now = clock::now();
      std::scoped_lock lock(s.mutex);
      if (waiter_type* const w = s.turns.pop_front()) take_stranded(s, *w, turn);
      else if (!(ended = s.ends.pop()) && !(lost = s.lost.pop())) to_stop = s.to_stop.pop();
      bool const more = has_jobs(s);
      s.jobs_since.store(more ? now : (time_point::max)(), std::memory_order_relaxed);
      if (turn.callers.empty() && !ended && !lost && !to_stop) return more;
      job.emplace(s);
    }
    hand_over(turn);
    if (ended && &s == &s.owner->shards_.lobby()) s.owner->drain_is_over(*ended);
    else if (ended) tell({ended, ended->last_event_, false});
    if (lost) release(*lost);
    if (to_stop) ask_to_stop(*to_stop);
    job->end();
    return true;
  }
};

}  // namespace cacheflight::inline v1::detail
