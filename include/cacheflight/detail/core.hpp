// SPDX-License-Identifier: MIT
#pragma once

// The core: every decision about a flight is made here and in these parts, under its shard's lock, and
// nowhere else. Fronts interpret the answers. This file has what fronts and the group call.
//
//   enter    join the flight of a key, or lead a new one          rules 1, 2, 8, 21, 31
//   settle   the task is through: value, error, abandoned         rules 4, 9, 10, 15
//   leave    one waiter goes, the rest stay                       rules 11, 12
//   cancel   a key, or all of them (clear)                        rules 13, 30
//   drain    close the group, and wait until it is quiet          rules 58, 59
//
// Its parts:
//   core/steps.hpp        under the lock: join, close, doom, depart, release       rules 2 to 4, 12, 13
//   core/telling.hpp      then outside of it: turns, last events, stop requests    rules 10, 16, 26, 35
//   core/timekeeping.hpp  deadlines that pass, refusals, jobs for helper threads   rules 17, 18, 33
//   core/outcall.hpp      calls of user code that are under way                    rule 40
//   core/announcer.hpp    events on their way to the callback                      rules 19, 22, 24, 25
//   core/census.hpp       what stats() and snapshot() read                         rule 23
//   core/drains.hpp       a closed group, and who waits for its end                rules 58, 59
//   core/shard.hpp        one part of the table, with its lock; shards.hpp: all of them; flight.hpp: waiters
//                         and flights
//
// A flight is in one of three states, made of two facts:
//
//                  task may still run          task has unwound
//   why == open    joinable                    (never)
//   why != open    doomed, "detached"          settled
//
// Whoever moves `why` away from `open` does it in `close()`, in one step with unlinking the flight from the
// table, and then tells: a settled flight delivers its last event, then releases its waiters; a doomed one
// releases its waiters, then delivers the event and asks the task to stop. Only `close()` and `enter()`
// change the table, so what is in it is joinable (rules 1 to 4).
//
// Threads (rule 33). Whoever ends a flight tells, with one exception: the thread that keeps time (`run_due`)
// releases only prompt waiters. What else there is to tell is left in the shard, in the step in which the
// flight ends, as jobs for helper threads (`run_job`).
//
// Locks: one mutex per shard, a leaf. User code never runs under it, with the exceptions that rule 5 names
// (hash, equality); so any of it may call the group, from any thread (rule 27).
//
// References to a flight: one while it is open (then held by who releases its waiters), one for the task
// until it has unwound, and one for each waiter once the flight has closed or the waiter has left it; a
// waiter queued in an open flight needs none. A waiter may take over the reference of one that had its turn
// before, on the same thread. A shard keeps the core while it has flights; those that do not need it any more
// do not count, see `release_sole`.
//
// A waiter is a node that lives with the caller, in one of these places, changed under the shard's lock:
//   queued     in its flight's list
//   released   taken from the list; its caller has the outcome or is about to be handed it
//   stranded   released and not handed over yet: it left by itself, and is in a list of whoever made it
//              leave, or of the helpers; or its executor refused, and it is in the shard's list (rule 10:
//              it is tried again)
// It is touched by nobody else after `hand_over()` succeeded. Those of one place are released in batches, so
// that many waiters do not cost a lock each.

#include <cacheflight/detail/core/announcer.hpp>
#include <cacheflight/detail/core/census.hpp>
#include <cacheflight/detail/core/drains.hpp>
#include <cacheflight/detail/core/outcall.hpp>
#include <cacheflight/detail/core/shards.hpp>
#include <cacheflight/detail/core/steps.hpp>
#include <cacheflight/detail/core/telling.hpp>
#include <cacheflight/detail/core/timekeeping.hpp>
#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/flight_view.hpp>
#include <cacheflight/detail/fork.hpp>
#include <cacheflight/detail/nesting.hpp>
#include <cacheflight/detail/process.hpp>
#include <cacheflight/detail/type_identity.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/error.hpp>
#include <cacheflight/options.hpp>
#include <cacheflight/platform.hpp>
#include <cacheflight/statistics.hpp>

#include <any>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cacheflight::inline v1 {

namespace detail {

/// What a call brings to `enter`.
struct call {
  std::uint64_t hash;
  std::type_info const* type;
  limit timeout;
  limit wait_timeout;
  std::any const* metadata;
  rare_options const* rare;
  bool ready_to_suspend = false;  // need not arm in a step of its own
  bool lets_go =
      false;  // once it was released nothing of it needs the shard: nobody stops it, no hand-over is refused
};

enum class admission : std::uint8_t { joined, leads, at_capacity, closed, type_mismatch, group_gone };

/// How a call has entered. `suspended`: the caller was armed in the same step, and may have been resumed
/// already.
struct entry {
  admission how;
  bool suspended = false;
};

template <class P>
class core final : public deadline_work<typename P::clock>, private timekeeping<P> {
 public:
  using mutex = typename P::mutex;
  using typename steps<P>::clock;
  using typename steps<P>::time_point;
  using typename steps<P>::flight_type;
  using typename steps<P>::waiter_type;
  using steps<P>::released;
  using typename telling<P>::flight_reference;
  using telling<P>::give_turn, telling<P>::release, telling<P>::retain, telling<P>::stop_refused,
      telling<P>::strand;

  explicit core(options opts)
      : options_(std::move(opts)),
        events_(options_.on_event() != nullptr),
        clocked_(events_ || options_.measures_age()),
        shards_(this),
        drains_(shards_),
        announcer_(options_),
        references_(shards_.count() + 2) {
    forks_.emplace(*this);
  }

  core(core const&) = delete;
  core& operator=(core const&) = delete;

  [[nodiscard]] options const& settings() const noexcept { return options_; }
  [[nodiscard]] typename P::driver& driver() noexcept { return driver_; }

  // ---- transitions ----------------------------------------------------------------------------------------

  /// A flight that was built and is not visible to others: if it is not admitted, it is destroyed (rule 31).
  class unseen_flight {
   public:
    unseen_flight() = default;
    unseen_flight(unseen_flight const&) = delete;
    unseen_flight& operator=(unseen_flight const&) = delete;
    ~unseen_flight() { delete flight_; }
    [[nodiscard]] flight_type* get() const noexcept { return flight_; }

   private:
    friend core;
    flight_type* flight_ = nullptr;
  };

  /// Joins the flight for which `same(flight)` holds, or leads a new one that `build()` makes, outside of
  /// locks, into `fresh`; from then on `same` must compare with the key in `fresh`. `joined` and `leads` have
  /// made `w` a waiter, to be armed (unless it was in the same step) or left; `leads` has also given the
  /// caller the task's reference: `settle` must follow. The others have changed nothing but the books. Throws
  /// what `same`, `build`, memory for the deadlines and starting the driver throw, and has then changed
  /// nothing (rule 31).
  template <class Same, class Build>
  [[nodiscard]] entry enter(call const& c, waiter_type& w, unseen_flight& fresh, Same&& same, Build&& build) {
    shard<P>& s = shards_.of(c.hash);
    bool const events = events_;
    bool const arms = c.ready_to_suspend && !events;  // otherwise after the events
    time_point now{};
    bool const timed = c.timeout != no_limit || c.wait_timeout != no_limit;
    if (timed) {
      if (gone_.load(std::memory_order_relaxed)) {
        report(c, call_role::refused);
        return {admission::group_gone};
      }
      driver_.ensure(*this);
    }
    bool const dated = c.rare && c.rare->not_before;
    bool const inside = c.rare && c.rare->within && c.rare->within->is_of(this);
    if (timed || dated) now = clock::now();
    if (dated && *c.rare->not_before > now.time_since_epoch())
      throw std::invalid_argument("cacheflight: not_before is in the future: take the clock's now()");
    if (unarmed_.load(std::memory_order_relaxed)) try_again_soon();
    time_point const wait_until = deadline_after(now, c.wait_timeout);
    // Most likely a miss, and then one lock does. If not, the flight was built for nothing.
    bool builds = s.table.size() == 0 && has_room();
    entry in{admission::joined};
    flight_type* f;
    time_point first = wait_until;  // of the deadlines
    std::size_t waiters = 1;
    outcall_room delivery;  // used if `events`
    for (bool tried_to_fit = false;;) {
      if (builds) {
        fresh.flight_ = build();
        if (clocked_ && !timed && !dated) now = clock::now();
      }
      bool short_of_room;
      P::point(core_step::enter);
      {
        std::scoped_lock lock(s.mutex);
        f = s.table.find(c.hash, same);
        // A flight that may be too old for the call is superseded where it leads, not before (rule 50).
        flight_type* outdated = nullptr;
        if (f && dated &&
            (f->started_ == time_point() || f->started_.time_since_epoch() <= *c.rare->not_before))
          outdated = std::exchange(f, nullptr);
        if (f) {
          if (!detail::same_type(f->type(), *c.type)) {
            ++s.type_mismatches;
            report(c, call_role::refused);
            return {admission::type_mismatch};
          }
          short_of_room = wait_until != (time_point::max)() && !s.deadlines.has_room(1);
          if (!short_of_room) [[likely]] {
            ++s.hits;
            report(c, call_role::joined, f, f->waiters_ + 1);
            in.suspended = arms && wait_until == (time_point::max)();
            join(s, *f, w, wait_until, in.suspended ? phase::armed : phase::linking,
                 in.suspended && c.lets_go);
            if (events) {
              ++f->emitting_;
              waiters = f->waiters_;
              std::construct_at(&delivery.made, s);
            }
            break;
          }
        } else {
          if (s.who_leads != door::open && (s.gone || !inside)) [[unlikely]] {
            if (!s.gone) ++s.misses, ++s.closed_rejected;
            report(c, call_role::refused);
            return {s.gone ? admission::group_gone : admission::closed};
          }
          short_of_room = fresh.flight_ && !detail::fits_another(s, timed, tried_to_fit);
          if (!short_of_room) [[likely]] {
            if (!outdated && !(fresh.flight_ ? claim_key() : has_room())) {
              ++s.misses;
              ++s.max_keys_rejected;
              report(c, call_role::refused);
              return {admission::at_capacity};
            }
            if (fresh.flight_) {
              f = std::exchange(fresh.flight_, nullptr);
              time_point const until = deadline_after(now, c.timeout);
              f->hash = c.hash;
              f->home_ = &s;
              f->id_ = shards_.index_of(c.hash) + 1 + s.misses * shards_.count();
              f->started_ = now;
              f->references_.store(2, std::memory_order_relaxed);
              ++s.misses;
              ++s.living;
              if (s.who_leads == door::watched) [[unlikely]]
                drains_.begun(*this);
              if (outdated) supersede(s, *outdated);  // whose key it takes over
              s.table.insert(*f);
              report(c, call_role::led, f, 1);
              if (until != (time_point::max)()) s.deadlines.push(until, *f);
              if (until < first) first = until;
              in = {admission::leads, arms};
              join(s, *f, w, wait_until, arms ? phase::armed : phase::linking, c.lets_go);
              if (events) {
                f->emitting_ = 1;
                std::construct_at(&delivery.made, s);
              }
              break;
            }
          }
        }
      }
      builds = !short_of_room;
      if (short_of_room) detail::make_room(s, f ? 1 : timed ? 2 : 0), tried_to_fit |= !f;
    }
    // A caller that is suspended may have gone on, and if it has joined the group may be gone.
    arm_deadline(first);
    if (!events) return in;
    if (in.how == admission::joined) {
      announcer_.deliver(event_type::hit, f->key(), f->id_, waiters, metadata_of(c, fresh),
                         announcer<P>::metadata_of(*f));
    } else {
      key_view const key = f->key();
      std::any const& metadata = announcer<P>::metadata_of(*f);
      announcer_.deliver(event_type::miss, key, f->id_, waiters, metadata, metadata);
      if (!delivery.made.outlives_group())
        announcer_.deliver(event_type::task_started, key, f->id_, waiters, metadata, metadata);
    }
    in.suspended = end_delivery(delivery.made, *f, w, c.ready_to_suspend);
    std::destroy_at(&delivery.made);
    return in;
  }

  /// A callback of the user's threw (rule 25).
  void callback_failed() noexcept { announcer_.callback_failed(); }
  static void callback_failed(flight_type& f) noexcept { f.home_->owner->callback_failed(); }

  /// The events of a miss that was refused, for which reason `why` says.
  void report_refusal(key_view key, call const& c, unseen_flight const& fresh, event_type why) noexcept {
    if (!events_) return;
    std::any const& metadata = metadata_of(c, fresh);
    std::optional<outcall> delivery;
    if (!begin_outcall(shards_.of(c.hash), delivery)) return;
    announcer_.deliver(event_type::miss, key, 0, 0, metadata, nothing<std::any>.object);
    if (!delivery->outlives_group()) announcer_.deliver(why, key, 0, 0, metadata, nothing<std::any>.object);
    delivery->end();
  }

  /// The leader is about to invoke the task. False: the flight was doomed meanwhile; settle it as abandoned,
  /// do not invoke the task.
  [[nodiscard]] static bool may_start(flight_type const& f) noexcept { return f.why() == cause::open; }

  /// From now on a doom asks the task to stop (rule 16); asks at once if the flight is doomed already. The
  /// caller holds a reference.
  static void stoppable(flight_type& f) noexcept {
    P::point(core_step::stoppable);
    if (!(f.stop_.fetch_or(flight_type::stoppable, std::memory_order_acq_rel) & flight_type::stop_due))
      return;
    if (locked(f, [&] { return f.unwound_; })) return;
    retain(f);
    ask_to_stop(f);
  }

  /// Tells groups apart.
  [[nodiscard]] static void const* owner_of(flight_type const& f) noexcept { return f.home_->owner; }

  /// Who waits for the flight, and until when, for its task while that runs (rule 48).
  [[nodiscard]] static flight_reading read(flight_type& f) noexcept {
    constexpr std::size_t most = 64;
    shard<P>& s = *f.home_;
    std::scoped_lock lock(s.mutex);
    if (!f.open()) return {};
    time_point latest = f.waiters_ > most ? (time_point::max)() : (time_point::min)();
    if (f.waiters_ <= most)
      f.queue_.for_each([&](waiter_type const& w) {
        if (time_point const until = s.deadlines.when(w); until > latest) latest = until;
      });
    if (time_point const own = s.deadlines.when(f); own < latest) latest = own;
    flight_reading now{f.waiters_};
    if (latest != (time_point::max)()) now.deadline = as_steady(latest);
    return now;
  }

  /// The task has unwound, which is told once (rule 9); gives back its reference. If the flight is doomed,
  /// value and exception are dropped (rule 15). `own`: a waiter of the thread that settles, which will not be
  /// suspended, and which nobody else can `leave`.
  static void settle(flight_type& f, cause why, std::shared_ptr<void const>&& value,
                     std::exception_ptr&& exception, waiter_type* own = nullptr) noexcept {
    if (why == cause::rejected && !exception)
      exception =
          std::make_exception_ptr(std::invalid_argument("cacheflight: the task's exception_ptr was null"));
    shard<P>& s = *f.home_;
    core& owner = *s.owner;
    bool const events = owner.events_;
    if (owner.unarmed_.load(std::memory_order_relaxed)) owner.try_again_soon();
    bool tells = false;  // the last event, then the waiters; comes with the open flight's reference
    batch released;
    bool sole = false;      // there was one waiter only, and it was released
    outcall_room delivery;  // used if `tells`, and there are events
    P::point(core_step::settle);
    {
      std::scoped_lock lock(s.mutex);
      f.unwound_ = true;
      if (f.open()) {
        close(s, f, why);
        tells = f.emitting_ == 0;  // otherwise whoever delivers the event under way
        if (f.threw()) std::destroy_at(&f.value_), std::construct_at(&f.exception_, std::move(exception));
        else f.value_ = std::move(value);
        // The task's and the open flight's, and nobody else has one: then nobody gets one without the lock.
        bool const exclusive = f.references_.load(std::memory_order_acquire) == 2;
        // Without events nothing keeps the waiters from going now; and `own` goes on after the last event in
        // any case.
        sole = exclusive && f.waiters_ == 1 && (own || !events);
        if (sole) {
          release_sole(s, f, released, own != nullptr);
        } else {
          if (exclusive) f.references_.store(2 + f.waiters_, std::memory_order_relaxed);
          else f.references_.fetch_add(f.waiters_, std::memory_order_relaxed);
          if (!events) (void)release_batch(s, f, released);
        }
        if (events && tells) std::construct_at(&delivery.made, s);
      } else if (s.detached != 0) {  // not of a flight that was up when the process forked
        --s.detached;
      }
    }
    if (!released.callers.empty()) hand_over(released);
    if (events && tells) {
      deliver_last(f, delivery.made);
      std::destroy_at(&delivery.made);
    }
    if (sole) return;  // without events the flight may be gone, and the core
    if (tells) release_waiters(s, f);
    release(f, tells ? 2 : 1);
  }

  /// The caller goes alone, at once: if it was suspended it is given its turn, if not `arm` will say so. Does
  /// nothing if it was released already. On any thread.
  static void leave(waiter_type& w) noexcept {
    shard<P>& s = *w.flight_->home_;
    core& owner = *s.owner;
    closing end;
    list<waiter_type> leaver;
    P::point(core_step::leave);
    {
      std::scoped_lock lock(s.mutex);
      if (!w.queued_) return;
      owner.retain();  // for once the waiter is gone
      end = depart(s, *w.flight_, w, departure::left, leaver);
    }
    give_turns(s, leaver);
    conclude(end);
    owner.release();
  }

  /// The caller is about to suspend. False: it has been released already and must go on instead.
  [[nodiscard]] static bool arm(waiter_type& w) noexcept {
    P::point(core_step::arm);
    return !released(w) && locked(*w.flight_, [&] {
      if (released(w)) return false;
      w.phase_.store(phase::armed, std::memory_order_relaxed);
      return true;
    });
  }

  /// The flight's value, for one of its waiters, who was released with it.
  template <class T = void>
  [[nodiscard]] static std::shared_ptr<T const> take_value(flight_type& f) noexcept {
    using shared = std::shared_ptr<T const>;
    auto* const value = static_cast<typename shared::element_type*>(f.value_.get());
    if (f.references_.load(std::memory_order_acquire) == 1) return shared(std::move(f.value_), value);
    return shared(f.value_, value);
  }

  /// The caller had its turn and has read its outcome. The flight may be gone afterwards.
  static void finish(waiter_type& w) noexcept { release(*std::exchange(w.flight_, nullptr), w.references_); }

  /// The same, if `next` has its turn on this thread afterwards: if it waits for the same flight it takes
  /// over the reference, and so one atomic step does for all of them.
  static void finish(waiter_type& w, waiter_type& next) noexcept {
    if (next.flight_ != w.flight_) return finish(w);
    next.references_ += w.references_;
    w.flight_ = nullptr;
  }

  /// Whether the flight goes with the caller, if it is that one's turn.
  [[nodiscard]] static bool is_last(waiter_type const& w) noexcept {
    return w.flight_->references_.load(std::memory_order_relaxed) == w.references_;
  }

  /// The same as `finish`, and the flight is kept a little longer. Null if the waiter has joined none.
  [[nodiscard]] static flight_reference detach(waiter_type& w) noexcept {
    return flight_reference(std::exchange(w.flight_, nullptr), {w.references_});
  }

  /// The caller vanishes without its turn: its frame is destroyed, or its context. True: the waiter is
  /// nobody's any more. False: it was released, and the turn it was given must be dropped by who has it;
  /// `finish` must follow then.
  [[nodiscard]] static bool withdraw(waiter_type& w) noexcept {
    if (!w.flight_) return true;
    flight_type& f = *w.flight_;
    if (!f.home_) return false;
    shard<P>& s = *f.home_;
    closing end;
    list<waiter_type> leaver;
    {
      std::scoped_lock lock(s.mutex);
      if (w.queued_) end = depart(s, f, w, departure::left, leaver);
      else if (!w.stranded_) return false;
      if (std::exchange(w.stranded_, false)) w.unlink();
    }
    conclude(end);
    finish(w);
    return true;
  }

  /// Dooms the flight for which `same(flight)` holds (rule 13). Throws what `same` throws.
  template <class Same>
  bool cancel(std::uint64_t hash, Same&& same) {
    shard<P>& s = shards_.of(hash);
    closing end;
    P::point(core_step::cancel);
    {
      std::scoped_lock lock(s.mutex);
      flight_type* const f = s.table.find(hash, same);
      if (!f) return false;
      end = doom(s, *f, cause::cancelled);
    }
    conclude(end);
    return true;
  }

  /// The flight for which `same(flight)` holds stops being joinable (rule 49). Throws what `same` throws.
  template <class Same>
  bool supersede(std::uint64_t hash, Same&& same) {
    shard<P>& s = shards_.of(hash);
    P::point(core_step::supersede);
    std::scoped_lock lock(s.mutex);
    flight_type* const f = s.table.find(hash, same);
    if (!f) return false;
    supersede(s, *f);
    give_back_key(s);
    return true;
  }

  void supersede_all() noexcept {
    for (shard<P>& s : shards_) {
      P::point(core_step::supersede);
      std::scoped_lock lock(s.mutex);
      s.table.for_each([&](flight_type& f) {
        if (f.superseded_) return;
        supersede(s, f);
        give_back_key(s);
      });
    }
  }

  /// Dooms every flight (rule 13).
  void clear() noexcept {
    retain();  // a callback may destroy the group
    doom_all(cause::cleared);
    release();
  }

  // ---- the end of all -------------------------------------------------------------------------------------

  /// No call leads any more, unless it is made inside of a task (rule 58).
  void close() noexcept { drains_.close(); }
  [[nodiscard]] bool closed() const noexcept { return drains_.closed(); }

  /// Closes the group, and lets `w` wait until nothing is up (rule 59): the value that it is released with is
  /// a `bool`. `armed`: it is suspended, and may be gone when this returns. Throws what starting the driver
  /// throws, and has then closed the group and nothing else.
  void drain(waiter_type& w, typename drains<P>::fresh_flight fresh, limit timeout, bool armed) {
    drains_.close();
    time_point until = (time_point::max)();
    if (timeout != no_limit) {
      driver_.ensure(*this);
      until = deadline_after(clock::now(), timeout);
    }
    retain();
    drains_.join(w, std::move(fresh), until, armed, gone_);
    arm_deadline(until);
    release();
  }

  /// Its time is over: all that are up are doomed.
  void drain_is_over(flight_type& f) noexcept {
    retain();
    doom_all(cause::drained);
    drains_.finish(f, false);
    release();
  }

  /// One of those that drains wait for, which has kept the core.
  [[gnu::noinline, gnu::cold]] void flight_has_ended() noexcept {
    if (drains_.ended()) drains_.end(true);
    release();
  }

  /// Whether this thread is in the middle of the group's own user code, as far as that is known: who waits
  /// here for the end of all waits for itself.
  [[nodiscard]] bool is_around_here() const noexcept {
    stack_address const now = here();
    (void)thread_stack::has_both(now, now);  // learns it, outside of locks
    bool found = false;
    for (shard<P>& s : shards_.with_lobby()) {
      std::scoped_lock lock(s.mutex);
      found |= outcall::is_mine(s);
      s.table.for_each([&](flight_type& f) {
        f.queue_.for_each([&](waiter_type const& w) {
          found |= now < w.blocks_at() && thread_stack::has_both(now, w.blocks_at());
        });
      });
    }
    return found;
  }

  /// Runs `f` under the lock of the flight's shard: for what a front must publish together with a state. No
  /// user code.
  template <class F>
  static auto locked(flight_type& of, F&& f) noexcept {
    std::scoped_lock lock(of.home_->mutex);
    return f();
  }

  // ---- questions ------------------------------------------------------------------------------------------

  template <class Same>
  [[nodiscard]] bool has(std::uint64_t hash, Same&& same) const {
    shard<P>& s = shards_.of(hash);
    std::scoped_lock lock(s.mutex);
    return s.table.find(hash, same) != nullptr;
  }

  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (shard<P> const& s : shards_) {
      std::size_t const hidden = s.table.hidden(), all = s.table.size();
      if (all > hidden) sum += all - hidden;
    }
    return sum;
  }

  [[nodiscard]] statistics stats() const noexcept {
    statistics sum;
    for (shard<P>& s : shards_) census<P>::add_books(s, sum);
    sum.callback_failures = announcer_.callback_failures();
    return sum;
  }

  /// Calls `visit(sighting, now)` for each joinable flight, outside of locks. Throws what `visit` and memory
  /// throw.
  template <class Visit>
  void for_each_flight(Visit&& visit) const {
    for (shard<P>& s : shards_) census<P>::for_each_flight(s, visit);
  }

  // ---- time -----------------------------------------------------------------------------------------------

  /// On the thread that keeps time: decides what is due, and releases whom it can; the rest are jobs.
  time_point run_due() noexcept override {
    time_point next = (time_point::max)();
    for (shard<P>& s : shards_.with_lobby(drains_.any())) {
      time_point const due = gone_.load(std::memory_order_acquire) ? (time_point::max)() : expire(s);
      bool const waits = try_again(s);
      if (due < next) next = due;
      if (waits) {
        time_point const again = clock::now() + retry_after;
        if (again < next) next = again;
      }
    }
    return next;
  }

  /// On a helper thread, or where the group is destroyed: runs one of the jobs. False: there was none.
  bool run_job() noexcept override {
    std::size_t const first = next_job_.fetch_add(1, std::memory_order_relaxed);
    for (std::size_t i = 0; i < shards_.count(); ++i)
      if (run_job(shards_.of(first + i))) return true;
    return drains_.any() && run_job(shards_.lobby());
  }

  /// Since when a job waits; `max()` if none does.
  [[nodiscard]] time_point oldest_job() const noexcept override {
    time_point oldest = (time_point::max)();
    for (shard<P> const& s : shards_.with_lobby(drains_.any()))
      if (time_point const since = s.jobs_since.load(std::memory_order_relaxed); since < oldest)
        oldest = since;
    return oldest;
  }

  [[nodiscard]] std::size_t most_helpers() const noexcept override { return options_.max_helpers(); }

  void retain() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
  /// Many, by who has one.
  void retain(std::uint64_t count) noexcept {
    references_.fetch_add(static_cast<std::size_t>(count), std::memory_order_relaxed);
  }
  void release(std::int64_t count) noexcept {
    references_.fetch_sub(static_cast<std::size_t>(count), std::memory_order_relaxed);
  }
  void release() noexcept override {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// The group goes: `clear()`, and whoever still needs the core keeps it (rule 30). User code that was
  /// called for it on other threads is waited for; what this thread is in the middle of goes on afterwards
  /// (rule 40).
  void let_go() noexcept {
    gone_.store(true);
    flight_type* const drain = drains_.any() ? drains_.claim(true) : nullptr;
    doom_all(cause::destroyed);
    if (drain) drains_.finish(*drain, false);
    while (run_job()) {
    }
    driver_.await([this] { return nothing_under_way(); });
    driver_.close();
    bool const drained = drains_.any();
    std::size_t idle = drained ? 1 : 2;  // shards without flights, and the group itself
    for (shard<P>& s : shards_.with_lobby(drained)) {
      std::scoped_lock lock(s.mutex);
      s.silent = true;
      if (s.ended.close(s.living)) ++idle;
    }
    if (references_.fetch_sub(idle, std::memory_order_acq_rel) == idle) delete this;
  }

 private:
  friend inspector;
  friend class detail::drains<P>;
  friend class detail::outcall<P>;
  friend fork_handler<core>;
  friend steps<P>;
  friend telling<P>;
  friend timekeeping<P>;
  using outcall = detail::outcall<P>;
  using outcall_room = detail::outcall_room<P>;
  using typename steps<P>::batch;
  using typename steps<P>::closing;
  using typename steps<P>::phase;
  using steps<P>::close, steps<P>::depart, steps<P>::doom, steps<P>::forget, steps<P>::give_back_key,
      steps<P>::join, steps<P>::release_batch, steps<P>::release_sole, steps<P>::supersede;
  using telling<P>::ask_to_stop, telling<P>::begin_outcall, telling<P>::conclude, telling<P>::deliver_last,
      telling<P>::end_delivery, telling<P>::give_turns, telling<P>::hand_over, telling<P>::release_prompt,
      telling<P>::release_waiters, telling<P>::tell;
  using timekeeping<P>::expire, timekeeping<P>::run_job, timekeeping<P>::try_again;
  static constexpr std::chrono::milliseconds retry_after{1};

  ~core() = default;

  void tell_destructor() noexcept {
    driver_.tell();
    release();
  }

  [[nodiscard]] bool nothing_under_way() const noexcept {
    for (shard<P>& s : shards_.with_lobby(drains_.any())) {
      std::scoped_lock lock(s.mutex);
      if (!outcall::keep_mine(s)) return false;
    }
    return true;
  }

  /// `clear`, for who holds the core meanwhile. Nobody waits for another flight's user code, as far as that
  /// goes.
  void doom_all(cause why) noexcept {
    unlinked_flights<P> doomed, unasked;
    for (shard<P>& s : shards_) {
      P::point(core_step::clear);
      std::scoped_lock lock(s.mutex);
      if (why == cause::destroyed) {
        s.gone = true;
        if (s.who_leads == door::open) s.who_leads = door::closed;
      }
      s.table.for_each([&](flight_type& f) {
        closing const end = doom(s, f, why);
        f.last_event_ = end.event;
        f.ask_ = end.stop;
        doomed.push(f);
      });
    }
    doomed.for_each([](flight_type& f) { release_prompt(*f.home_, f); });
    while (flight_type* const f = doomed.pop()) {
      bool const asks = f->ask_;
      tell({f, f->last_event_, asks});
      if (asks) unasked.push(*f);
    }
    while (flight_type* const f = unasked.pop()) ask_to_stop(*f);
  }

  /// Under the lock, in the step in which the call enters or is refused (rule 46).
  static void report(call const& c, call_role role, flight_type const* f = nullptr,
                     std::size_t waiters = 0) noexcept {
    if (!c.rare || !c.rare->report) return;
    call_report& to = *c.rare->report;
    to = {role, f ? f->id_ : 0, waiters, {}};
    if (f && f->started_ != time_point()) to.began = as_steady(f->started_);
  }

  /// The same moment for users, whatever the platform's clock.
  [[nodiscard]] static std::chrono::steady_clock::time_point as_steady(time_point moment) noexcept {
    using std::chrono::steady_clock;
    return steady_clock::time_point(
        std::chrono::duration_cast<steady_clock::duration>(moment.time_since_epoch()));
  }

  /// A flight that was built has taken the call's metadata.
  [[nodiscard]] static std::any const& metadata_of(call const& c, unseen_flight const& fresh) noexcept {
    return fresh.flight_ ? announcer<P>::metadata_of(*fresh.flight_) : *c.metadata;
  }

  [[nodiscard]] bool has_room() const noexcept {
    return options_.max_keys() == 0 || keys_.load(std::memory_order_acquire) < options_.max_keys();
  }

  [[nodiscard]] bool claim_key() noexcept {
    if (options_.max_keys() == 0) return true;
    std::size_t keys = keys_.load(std::memory_order_relaxed);
    do {
      if (keys >= options_.max_keys()) return false;
    } while (!keys_.compare_exchange_weak(keys, keys + 1, std::memory_order_acq_rel));
    return true;
  }

  void arm_deadline(time_point when) noexcept {
    if (when != (time_point::max)()) driver_.arm(when);
  }

  // -- fork()

  struct no_fork_handler {
    explicit no_fork_handler(core&) noexcept {}
  };

  void before_fork() noexcept {
    if constexpr (P::forks) driver_.before_fork();
    for (shard<P>& s : shards_.with_lobby()) s.mutex.lock();
  }

  void after_fork(bool child) noexcept {
    if (child) {
      for (shard<P>& s : shards_) forget(s, shards_.lobby());
      forget(shards_.lobby(), shards_.lobby());
      references_.fetch_sub(static_cast<std::size_t>(drains_.forget()), std::memory_order_relaxed);
    }
    for (shard<P>& s : shards_.with_lobby()) s.mutex.unlock();
    if constexpr (P::forks) {
      std::size_t const threads = driver_.after_fork(child);
      if (!child) return;
      keys_.store(0, std::memory_order_relaxed);
      unarmed_.store(false, std::memory_order_relaxed);
      if (!gone_.load(std::memory_order_relaxed)) references_.fetch_sub(threads, std::memory_order_relaxed);
    }
  }

  void try_again_soon() noexcept {
    try {
      unarmed_.store(false, std::memory_order_relaxed);
      driver_.rouse(*this, clock::now() + retry_after);
    } catch (...) {  // no thread to be had now: the next call tries again
      unarmed_.store(true, std::memory_order_relaxed);
    }
  }

  options options_;
  bool const events_;
  bool const clocked_;  // flights know when they started
  shards<P> shards_;
  detail::drains<P> drains_;
  std::atomic<std::size_t> keys_{0};  // joinable flights, counted only under a cap
  announcer<P> announcer_;
  std::atomic<bool> gone_{
      false};  // no group any more: no deadlines either, only what was refused is still tried again
  std::atomic<std::size_t> next_job_{0};  // where helpers look first
  std::atomic<bool> unarmed_{false};      // something was refused and the driver could not be told
  std::atomic<std::size_t>
      references_;  // the group, shards, the driver's threads, and whoever needs the core for a moment
  typename P::driver driver_;
  std::optional<std::conditional_t<P::forks, fork_handler<core>, no_fork_handler>>
      forks_;  // while there are shards
};

}  // namespace detail
}  // namespace cacheflight::inline v1
