// SPDX-License-Identifier: MIT
#pragma once

// The end of a group's work: it is closed, and callers wait until it is quiet (rules 58 and 59).
//
// Those callers are waiters of a flight without key and task, in the lobby: so they are told, leave, and
// survive their contexts' ends as all waiters do. It ends, once, by whoever claims it: the last flight that
// ends, the time limit, or the group's destructor.
//
// How many flights are alive is known at no cost to those that nobody waits for: each part of the table knows
// how many have begun there, and how many have ended (countdown.hpp). From the first drain on the sum is
// counted in one place. A flight ends when it is destroyed: its task has unwound, its last event was
// delivered, and all its callers have gone on.

#include <cacheflight/detail/core/shards.hpp>
#include <cacheflight/detail/core/telling.hpp>
#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/key.hpp>

#include <algorithm>
#include <any>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <typeinfo>

namespace cacheflight::inline v1::detail {

/// What callers of a drain wait for.
template <class P>
class drain_flight final : public flight<P> {
 public:
  drain_flight() : flight<P>(std::any()) {}
  [[nodiscard]] key_view key() const noexcept override { return {}; }
  [[nodiscard]] key_copy copy_key() const noexcept override { return {}; }
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(bool); }
  [[nodiscard]] bool request_stop() noexcept override { return true; }
};

template <class P>
class drains : telling<P> {
 public:
  using typename telling<P>::time_point, typename telling<P>::flight_type, typename telling<P>::waiter_type;
  using fresh_flight = std::unique_ptr<drain_flight<P>>;

  explicit drains(shards<P>& parts) noexcept : parts_(parts) {}

  /// Whether anybody has ever drained. If not, the lobby is empty.
  [[nodiscard]] bool any() const noexcept { return any_.load(); }
  drains(drains const&) = delete;
  drains& operator=(drains const&) = delete;

  /// From here on only calls inside of tasks lead.
  void close() noexcept {
    for (shard<P>& s : parts_) {
      P::point(core_step::close);
      std::scoped_lock lock(s.mutex);
      if (s.who_leads == door::open) s.who_leads = door::closed;
    }
    closed_.store(true, std::memory_order_release);
  }
  [[nodiscard]] bool closed() const noexcept { return closed_.load(std::memory_order_acquire); }

  /// `w` waits until nothing is up, in the drain that is up or in `fresh`; `until`: when all that are up are
  /// doomed, and all who wait are told that. `armed`: the caller is suspended, and may be gone when this
  /// returns. The group is closed; the core is kept meanwhile. `group_goes`: or has already.
  void join(waiter_type& w, fresh_flight fresh, time_point until, bool armed,
            std::atomic<bool> const& group_goes) noexcept {
    shard<P>& lobby = parts_.lobby();
    any_.store(true);
    P::point(core_step::drain);
    {
      std::scoped_lock lock(lobby.mutex);
      if (!up_) {
        up_ = fresh.release();
        up_->home_ = &lobby;
        up_->references_.store(1, std::memory_order_relaxed);
        up_->waiters_ = 1;  // so that nobody is the last to leave
        ++lobby.living;
      }
      telling<P>::join(lobby, *up_, w, (time_point::max)(), armed ? phase::armed : phase::linking, false);
      if (!claimed() && until < lobby.deadlines.when(*up_)) {
        lobby.deadlines.remove(*up_);
        lobby.deadlines.push(until, *up_);
      }
    }
    if (group_goes.load()) return end(false);  // which has looked for drains before this one
    watch();
    if (alive_.load(std::memory_order_acquire) == 0) end(true);
  }

  // ---- flights of a part that is watched, each of which keeps the core

  /// Under the lock.
  void begun(core<P>& owner) noexcept {
    owner.retain();
    alive_.fetch_add(1, std::memory_order_relaxed);
  }
  /// True: it was the last; `end` must follow.
  [[nodiscard]] bool ended() noexcept { return alive_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  // ---- ends

  void end(bool quiet) noexcept {
    if (flight_type* const f = claim()) finish(*f, quiet);
  }

  /// From here on it is the caller's to `finish`. Null: there is none, or it is somebody else's.
  [[nodiscard]] flight_type* claim(bool group_goes = false) noexcept {
    P::point(core_step::drain);
    std::scoped_lock lock(parts_.lobby().mutex);
    if (group_goes) parts_.lobby().gone = true;
    if (!up_ || claimed()) return nullptr;
    return claim_due();
  }
  /// The same, on the thread that keeps time, under the lobby's lock, with its deadline off: nobody has.
  [[nodiscard]] flight_type* claim_due() noexcept {
    up_->unwound_ = true;
    parts_.lobby().deadlines.remove(*up_);
    return up_;
  }

  /// All who wait for the claimed one get their answer.
  void finish(flight_type& f, bool quiet) noexcept {
    static constexpr bool answers[] = {false, true};
    shard<P>& lobby = parts_.lobby();
    P::point(core_step::drain);
    {
      std::scoped_lock lock(lobby.mutex);
      up_ = nullptr;
      f.why_.store(cause::resolved, std::memory_order_release);
      f.value_ = std::shared_ptr<void const>(std::shared_ptr<void>(), &answers[quiet]);
      std::uint32_t const waiting = f.waiters_ - 1;
      lobby.waiters -= waiting;
      f.references_.fetch_add(waiting, std::memory_order_relaxed);
    }
    telling<P>::release_waiters(lobby, f);
    telling<P>::release(f);
  }

  /// In a child process, under all locks, when what was up is forgotten: who drains is in the parent. Returns
  /// how many flights had kept the core.
  [[nodiscard]] std::int64_t forget() noexcept {
    std::int64_t watched = 0;
    for (shard<P>& s : parts_) {
      if (s.who_leads == door::watched) {
        s.who_leads = door::closed;
        watched += s.ended.stop_watching(s.living);
      }
      s.forgotten = s.ended.under_way(s.living);
    }
    up_ = nullptr;
    watching_.store(false, std::memory_order_relaxed);
    alive_.store(1, std::memory_order_relaxed);
    return watched;
  }

 private:
  using typename telling<P>::phase;

  [[nodiscard]] bool claimed() const noexcept { return up_->unwound_; }

  /// From here on the ends of flights are counted.
  void watch() noexcept {
    if (watching_.exchange(true, std::memory_order_acq_rel)) return;
    for (shard<P>& s : parts_) {
      P::point(core_step::close);
      std::scoped_lock lock(s.mutex);
      s.who_leads = door::watched;
      s.owner->retain(s.living);  // before the first end is watched
      std::int64_t const alive = s.ended.watch(s.living);
      s.owner->release(static_cast<std::int64_t>(s.living) - alive);
      // One of those that are forgotten can be this thread's after all, and end.
      alive_.fetch_add((std::max)(alive - s.forgotten, std::int64_t{0}), std::memory_order_relaxed);
    }
    (void)ended();
  }

  shards<P>& parts_;
  flight_type* up_ = nullptr;  // under the lobby's lock
  std::atomic<bool> any_{false}, closed_{false}, watching_{false};
  std::atomic<std::int64_t> alive_{1};  // flights, and 1 until all parts are watched
};

}  // namespace cacheflight::inline v1::detail
