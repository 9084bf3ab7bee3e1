// SPDX-License-Identifier: MIT
#pragma once

// The core: every decision about a flight is made here, under its shard's lock, and nowhere else. Fronts interpret the
// answers.
//
//   enter    join the flight of a key, or lead a new one          rules 1, 2, 8, 21
//   settle   the task is through: value, error, abandoned         rules 4, 9, 10, 15
//   leave    one waiter goes, the rest stay                       rules 11, 12
//   doom     cancel(key), clear(), the last waiter left           rules 12, 13
//   expire   a deadline passed                                    rules 17, 18
//
// A flight is in one of four states, made of two facts:
//
//                  task may still run          task has unwound
//   why == open    joinable                    (never)
//   why != open    doomed, "detached"          settled
//
// Whoever moves `why` away from `open` does it in `close()`, in one step with unlinking the flight from the table, and
// then tells: a settled flight delivers its last event, then releases its waiters; a doomed one releases its waiters,
// then delivers the event and asks the task to stop. Only `close()` and `enter()` change the table, so what is in it is
// joinable (rules 1 to 4).
//
// Threads (rule 33). Whoever ends a flight tells, with one exception: the thread that keeps time (`run_due`) releases
// only prompt waiters. What else there is to tell is left in the shard, in the step in which the flight ends, as jobs
// for helper threads (`run_job`).
//
// Locks: one mutex per shard, a leaf. User code never runs under it, with rule 5's exceptions (hash, equality).
//
// References to a flight: one while it is open (then held by who releases its waiters), one for the task until it has
// unwound, and one for each waiter once the flight has closed or the waiter has left it; a waiter queued in an open
// flight needs none. A waiter may take over the reference of one that had its turn before, on the same thread. Shards
// hold the core as long as they have flights, but for those of which nothing needs the shard any more: see
// `release_sole`.
//
// A waiter is a node that lives with the caller, in one of these places, changed under the shard's lock:
//   queued     in its flight's list
//   released   taken from the list; its caller has the outcome or is about to be handed it
//   stranded   released and not handed over yet: it left by itself, and is in a list of whoever made it leave, or of
//              the helpers; or its executor refused, and it is in the shard's list (rule 10: it is tried again)
// It is touched by nobody else after `hand_over()` succeeded. Those of one place are released in batches, so that many
// waiters do not cost a lock each.

#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/fork.hpp>
#include <cacheflight/detail/process.hpp>
#include <cacheflight/detail/type_identity.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/error.hpp>
#include <cacheflight/options.hpp>
#include <cacheflight/platform.hpp>

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
  bool ready_to_suspend = false;  // need not arm in a step of its own
  bool lets_go = false;  // once it was released nothing of it needs the shard: nobody stops it, no hand-over is refused
};

enum class admission : std::uint8_t { joined, leads, at_capacity, type_mismatch, group_gone };

/// How a call has entered. `suspended`: the caller was armed in the same step, and may have been resumed already.
struct entry {
  admission how;
  bool suspended = false;
};

template <class P>
class core final : public deadline_work<typename P::clock> {
 public:
  using mutex = typename P::mutex;
  using clock = typename P::clock;
  using time_point = typename clock::time_point;
  using flight_type = flight<P>;
  using waiter_type = waiter<P>;

  explicit core(options opts)
      : options_(std::move(opts)),
        events_(options_.on_event() != nullptr),
        clocked_(events_ || options_.measures_age()) {
    count_ = P::shards();
    shards_ = static_cast<shard<P>*>(::operator new(count_ * sizeof(shard<P>), std::align_val_t{alignof(shard<P>)}));
    for (std::size_t i = 0; i < count_; ++i) ::new (static_cast<void*>(shards_ + i)) shard<P>(this);
    references_.store(count_ + 1, std::memory_order_relaxed);
    try {
      forks_.emplace(*this);
    } catch (...) {
      destroy_shards();
      throw;
    }
  }

  core(core const&) = delete;
  core& operator=(core const&) = delete;

  [[nodiscard]] options const& settings() const noexcept { return options_; }
  [[nodiscard]] typename P::driver& driver() noexcept { return driver_; }

  // ---- transitions ------------------------------------------------------------------------------------------------

  /// A flight that was built and is not visible to others: if it is not admitted, it is destroyed.
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

  /// Joins the flight for which `same(flight)` holds, or leads a new one that `build()` makes, outside of locks, into
  /// `fresh`; from then on `same` must compare with the key in `fresh`. `joined` and `leads` have made `w` a waiter, to
  /// be armed (unless it was in the same step) or left; `leads` has also given the caller the task's reference: `settle`
  /// must follow. The others have changed nothing but the books. Throws what `same`, `build`, memory for the deadlines
  /// and starting the driver throw, and has then changed nothing.
  template <class Same, class Build>
  [[nodiscard]] entry enter(call const& c, waiter_type& w, unseen_flight& fresh, Same&& same, Build&& build) {
    shard<P>& s = shards_[c.hash & (count_ - 1)];
    bool const events = events_;
    bool const arms = c.ready_to_suspend && !events;  // otherwise after the events
    time_point now{};
    bool const timed = c.timeout != no_limit || c.wait_timeout != no_limit;
    if (timed) {
      if (gone_.load(std::memory_order_relaxed)) return {admission::group_gone};
      driver_.ensure(*this), now = clock::now();
    }
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
        if (clocked_ && !timed) now = clock::now();
      }
      bool short_of_room;
      P::point(core_step::enter);
      {
        std::scoped_lock lock(s.mutex);
        f = s.table.find(c.hash, same);
        if (f) {
          if (!detail::same_type(f->type(), *c.type)) {
            ++s.type_mismatches;
            return {admission::type_mismatch};
          }
          short_of_room = wait_until != (time_point::max)() && !s.deadlines.has_room(1);
          if (!short_of_room) [[likely]] {
            ++s.hits;
            in.suspended = arms && wait_until == (time_point::max)();
            join(s, *f, w, wait_until, in.suspended ? phase::armed : phase::linking, in.suspended && c.lets_go);
            if (events) {
              ++f->emitting_;
              waiters = f->waiters_;
              std::construct_at(&delivery.made, s);
            }
            break;
          }
        } else {
          if (s.gone) return {admission::group_gone};
          short_of_room = fresh.flight_ && !fits_another(s, timed, tried_to_fit);
          if (!short_of_room) [[likely]] {
            if (!(fresh.flight_ ? claim_key() : has_room())) {
              ++s.misses;
              ++s.max_keys_rejected;
              return {admission::at_capacity};
            }
            if (fresh.flight_) {
              f = std::exchange(fresh.flight_, nullptr);
              time_point const until = deadline_after(now, c.timeout);
              f->hash = c.hash;
              f->home_ = &s;
              f->id_ = (c.hash & (count_ - 1)) + 1 + s.misses * count_;
              f->started_ = now;
              f->references_.store(2, std::memory_order_relaxed);
              ++s.misses;
              ++s.living;
              s.table.insert(*f);
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
      if (short_of_room) make_room(s, f ? 1 : timed ? 2 : 0), tried_to_fit |= !f;
    }
    // A caller that is suspended may have gone on, and if it has joined the group may be gone.
    arm_deadline(first);
    if (!events) return in;
    if (in.how == admission::joined) {
      deliver(event_type::hit, f->key(), f->id_, waiters, {}, no_error, metadata_of(c, fresh));
    } else {
      key_view const key = f->key();
      deliver(event_type::miss, key, f->id_, waiters, {}, no_error, metadata_of(*f));
      if (!delivery.made.outlives_group())
        deliver(event_type::task_started, key, f->id_, waiters, {}, no_error, metadata_of(*f));
    }
    in.suspended = end_delivery(delivery.made, *f, w, c.ready_to_suspend);
    std::destroy_at(&delivery.made);
    return in;
  }

  /// A callback of the user's threw (rule 25).
  void callback_failed() noexcept { callback_failures_.fetch_add(1, std::memory_order_relaxed); }
  static void callback_failed(flight_type& f) noexcept { f.home_->owner->callback_failed(); }

  /// The events of a miss that was refused at the cap.
  void report_refusal(key_view key, call const& c, unseen_flight const& fresh) noexcept {
    if (!events_) return;
    std::any const& metadata = metadata_of(c, fresh);
    std::optional<outcall> delivery;
    if (!begin_outcall(shards_[c.hash & (count_ - 1)], delivery)) return;
    deliver(event_type::miss, key, 0, 0, {}, no_error, metadata);
    if (!delivery->outlives_group()) deliver(event_type::max_keys_rejected, key, 0, 0, {}, no_error, metadata);
    delivery->end();
  }

  /// The leader is about to invoke the task. False: the flight was doomed meanwhile; settle it as abandoned, do not
  /// invoke the task.
  [[nodiscard]] static bool may_start(flight_type const& f) noexcept { return f.why() == cause::open; }

  /// From now on a doom asks the task to stop (rule 16); asks at once if the flight is doomed already. The caller holds
  /// a reference.
  static void stoppable(flight_type& f) noexcept {
    P::point(core_step::stoppable);
    if (!(f.stop_.fetch_or(flight_type::stoppable, std::memory_order_acq_rel) & flight_type::stop_due)) return;
    if (locked(f, [&] { return f.unwound_; })) return;
    retain(f);
    ask_to_stop(f);
  }

  /// The task has unwound; gives back its reference. If the flight is doomed, value and exception are dropped (rule
  /// 15). `own`: a waiter of the thread that settles, which will not be suspended, and which nobody else can `leave`.
  static void settle(flight_type& f, cause why, std::shared_ptr<void const>&& value, std::exception_ptr&& exception,
                     waiter_type* own = nullptr) noexcept {
    if (why == cause::rejected && !exception)
      exception = std::make_exception_ptr(std::invalid_argument("cacheflight: the task's exception_ptr was null"));
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
        // Without events nothing keeps the waiters from going now; and `own` goes on after the last event in any case.
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
      owner.deliver_last(f, delivery.made);
      std::destroy_at(&delivery.made);
    }
    if (sole) return;  // without events the flight may be gone, and the core
    if (tells) release_waiters(s, f);
    release(f, tells ? 2 : 1);
  }

  /// The caller goes alone, at once: if it was suspended it is given its turn, if not `arm` will say so. Does nothing
  /// if it was released already. On any thread.
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

  /// Whether the caller's outcome is there already; `arm` would say false.
  [[nodiscard]] static bool released(waiter_type const& w) noexcept {
    return w.phase_.load(std::memory_order_acquire) == phase::released;
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

  /// The same, if `next` has its turn on this thread afterwards: if it waits for the same flight it takes over the
  /// reference, and so one atomic step does for all of them.
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
  struct releaser {
    std::uint32_t count = 1;
    void operator()(flight_type* f) const noexcept { release(*f, count); }
  };
  using flight_reference = std::unique_ptr<flight_type, releaser>;
  [[nodiscard]] static flight_reference detach(waiter_type& w) noexcept {
    return flight_reference(std::exchange(w.flight_, nullptr), releaser{w.references_});
  }

  /// The caller vanishes without its turn: its frame is destroyed, or its context. True: the waiter is nobody's any
  /// more. False: it was released, and the turn it was given must be dropped by who has it; `finish` must follow then.
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

  /// Dooms the flight for which `same(flight)` holds. Throws what `same` throws.
  template <class Same>
  bool cancel(std::uint64_t hash, Same&& same) {
    shard<P>& s = shards_[hash & (count_ - 1)];
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

  /// Dooms every flight.
  void clear() noexcept {
    retain();  // a callback may destroy the group
    doom_all(false);
    release();
  }

  /// Not suspended, or not where it can go on at once: gives the caller its turn, now or when its executor takes it.
  static void give_turn(waiter_type& w) noexcept {
    list<waiter_type> alone;
    if (!w.hand_over(alone)) strand(w);
  }

  /// Called by a front whose hand-over on the caller's own executor was refused: it is tried again (rule 10).
  static void strand(waiter_type& w) noexcept {
    shard<P>& s = *w.flight_->home_;
    core& owner = *s.owner;
    owner.retain();  // the waiter may be handed over, and the group gone, as soon as the lock is free
    {
      std::scoped_lock lock(s.mutex);
      strand(s.stranded, w);
    }
    owner.try_again_soon();
    owner.release();
  }

  /// The stop request could not be delivered after all: it is tried again. Consumes a reference.
  static void stop_refused(flight_type& f) noexcept {
    shard<P>& s = *f.home_;
    core& owner = *s.owner;
    owner.retain();
    {
      std::scoped_lock lock(s.mutex);
      s.unstopped.push(f);
    }
    owner.try_again_soon();
    owner.release();
  }

  /// Runs `f` under the lock of the flight's shard: for what a front must publish together with a state. No user code.
  template <class F>
  static auto locked(flight_type& of, F&& f) noexcept {
    std::scoped_lock lock(of.home_->mutex);
    return f();
  }

  static void retain(flight_type& f) noexcept { f.references_.fetch_add(1, std::memory_order_relaxed); }
  static void release(flight_type& f, std::uint32_t count = 1) noexcept {
    if (f.references_.load(std::memory_order_acquire) != count &&
        f.references_.fetch_sub(count, std::memory_order_acq_rel) != count)
      return;
    shard<P>* const s = f.home_;
    delete &f;
    if (s && s->ended.end()) s->owner->release();
  }

  // ---- questions --------------------------------------------------------------------------------------------------

  template <class Same>
  [[nodiscard]] bool has(std::uint64_t hash, Same&& same) const {
    shard<P>& s = shards_[hash & (count_ - 1)];
    std::scoped_lock lock(s.mutex);
    return s.table.find(hash, same) != nullptr;
  }

  [[nodiscard]] std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < count_; ++i) sum += shards_[i].table.size();
    return sum;
  }

  [[nodiscard]] statistics stats() const noexcept {
    statistics sum;
    for (std::size_t i = 0; i < count_; ++i) {
      shard<P>& s = shards_[i];
      std::scoped_lock lock(s.mutex);
      sum.hits += s.hits, sum.misses += s.misses, sum.started += s.misses - s.max_keys_rejected;
      sum.resolved += s.resolved, sum.rejected += s.rejected;
      sum.timed_out += s.timed_out, sum.cancelled += s.cancelled;
      sum.max_keys_rejected += s.max_keys_rejected, sum.type_mismatches += s.type_mismatches;
      sum.waiters += s.waiters, sum.detached += s.detached, sum.in_flight += s.table.size();
    }
    sum.callback_failures = callback_failures_.load(std::memory_order_relaxed);
    return sum;
  }

  /// What is known of a flight at one moment, and what keeps it.
  struct sighting {
    flight_reference flight;
    std::size_t waiters;
    time_point until;
  };

  /// Calls `visit(sighting, now)` for each joinable flight, outside of locks. Throws what `visit` and memory throw.
  template <class Visit>
  void for_each_flight(Visit&& visit) const {
    for (std::size_t i = 0; i < count_; ++i) {
      shard<P>& s = shards_[i];
      std::vector<sighting> seen;
      for (std::size_t room = s.table.size(); seen.empty() && room != 0;) {
        seen.reserve(room);
        std::scoped_lock lock(s.mutex);
        room = s.table.size();
        if (room > seen.capacity()) continue;
        s.table.for_each([&](flight_type& f) {
          retain(f);
          seen.push_back({flight_reference(&f), f.waiters_, s.deadlines.when(f)});
        });
      }
      time_point const now = seen.empty() ? time_point() : clock::now();
      for (sighting const& one : seen) visit(one, now);
    }
  }

  // ---- time -------------------------------------------------------------------------------------------------------

  /// On the thread that keeps time: decides what is due, and releases whom it can; the rest are jobs.
  time_point run_due() noexcept override {
    time_point next = (time_point::max)();
    for (std::size_t i = 0; i < count_; ++i) {
      time_point const due = gone_.load(std::memory_order_acquire) ? (time_point::max)() : expire(shards_[i]);
      bool const waits = try_again(shards_[i]);
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
    for (std::size_t i = 0; i < count_; ++i)
      if (run_job(shards_[(first + i) & (count_ - 1)])) return true;
    return false;
  }

  /// Since when a job waits; `max()` if none does.
  [[nodiscard]] time_point oldest_job() const noexcept override {
    time_point oldest = (time_point::max)();
    for (std::size_t i = 0; i < count_; ++i)
      if (time_point const since = shards_[i].jobs_since.load(std::memory_order_relaxed); since < oldest)
        oldest = since;
    return oldest;
  }

  [[nodiscard]] std::size_t most_helpers() const noexcept override { return options_.max_helpers(); }

  void retain() noexcept override { references_.fetch_add(1, std::memory_order_relaxed); }
  void release() noexcept override {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  /// The group goes: `clear()`, and whoever still needs the core keeps it (rule 30). User code that was called for it
  /// on other threads is waited for; what this thread is in the middle of goes on afterwards (rule 40).
  void let_go() noexcept {
    gone_.store(true, std::memory_order_release);
    doom_all(true);
    while (run_job()) {
    }
    driver_.await([this] { return nothing_under_way(); });
    driver_.close();
    std::size_t idle = 1;  // shards without flights, and the group itself
    for (std::size_t i = 0; i < count_; ++i) {
      std::scoped_lock lock(shards_[i].mutex);
      shards_[i].silent = true;
      if (shards_[i].ended.close(shards_[i].living)) ++idle;
    }
    if (references_.fetch_sub(idle, std::memory_order_acq_rel) == idle) delete this;
  }

 private:
  friend inspector;
  friend shard<P>;
  static constexpr std::chrono::milliseconds retry_after{1};
  static inline std::exception_ptr const& no_error = nothing<std::exception_ptr>.object;
  static inline std::any const& no_metadata = nothing<std::any>.object;
  using phase = typename waiter_type::phase;

  /// Callers that were released together, and what keeps them until they have their turns.
  struct batch {
    list<waiter_type> callers;
    pin_guard guard;
  };
  static constexpr std::size_t batch_size = 64;

  ~core() {
    forks_.reset();
    destroy_shards();
  }
  void destroy_shards() noexcept {
    for (std::size_t i = 0; i < count_; ++i) shards_[i].~shard<P>();
    ::operator delete(shards_, std::align_val_t{alignof(shard<P>)});
  }

  /// A call of the user's code, on this thread, that the group's destructor waits for, unless it is called inside of it;
  /// in a list of its shard.
  class outcall : public list_node {
   public:
    /// Under the lock.
    explicit outcall(shard<P>& s) noexcept : shard_(s), thread_(P::this_thread()) { s.outcalls.push_back(*this); }
    ~outcall() {
      if (kept_) kept_->release();
    }

    /// The group was destroyed inside of it.
    [[nodiscard]] bool outlives_group() const noexcept { return kept_ != nullptr; }

    /// Under the lock: it is over. True: the destructor waits, and must be told, with a reference to the core.
    [[nodiscard]] bool over() noexcept {
      if (kept_) return false;
      this->unlink();
      if (!shard_.gone) return false;
      shard_.owner->retain();
      return true;
    }
    void end() noexcept {
      core& owner = *shard_.owner;
      bool last;
      {
        std::scoped_lock lock(shard_.mutex);
        last = over();
      }
      if (last) owner.tell_destructor();
    }

    /// Under the lock: what is not waited for, because this thread is in the middle of it, keeps the core. Returns
    /// whether nothing else is under way.
    [[nodiscard]] static bool keep_mine(shard<P>& s) noexcept {
      list<outcall> others;
      while (outcall* const one = s.outcalls.pop_front()) {
        if (one->thread_ != P::this_thread()) {
          others.push_back(*one);
        } else {
          s.owner->retain();
          one->kept_ = s.owner;
        }
      }
      s.outcalls.splice(others);
      return s.outcalls.empty();
    }

    /// Under the lock, in a child process: only this thread's are under way there.
    static void forget_others(shard<P>& s) noexcept {
      list<outcall> mine;
      while (outcall* const one = s.outcalls.pop_front())
        if (one->thread_ == P::this_thread()) mine.push_back(*one);
      s.outcalls.splice(mine);
    }

   private:
    shard<P>& shard_;
    typename P::thread_id thread_;
    core* kept_ = nullptr;
  };

  /// Room for an outcall, where it is known otherwise whether there is one: an optional's flag would cost every call
  /// without events.
  union outcall_room {
    outcall_room() noexcept {}
    ~outcall_room() {}
    outcall made;
  };

  void tell_destructor() noexcept {
    driver_.tell();
    release();
  }

  [[nodiscard]] bool nothing_under_way() const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      std::scoped_lock lock(shards_[i].mutex);
      if (!outcall::keep_mine(shards_[i])) return false;
    }
    return true;
  }

  /// What is left to do, outside of the lock, for a flight that was doomed.
  struct closing {
    flight_type* f = nullptr;  // waiters to be released; comes with the open flight's reference
    bool event = false;        // the last event, after them
    bool stop = false;         // the stop request; comes with a reference
  };

  /// `clear`, for who holds the core meanwhile. Nobody waits for another flight's user code, as far as that goes.
  void doom_all(bool group_goes) noexcept {
    unlinked_flights<P> doomed, unasked;
    for (std::size_t i = 0; i < count_; ++i) {
      shard<P>& s = shards_[i];
      P::point(core_step::clear);
      std::scoped_lock lock(s.mutex);
      if (group_goes) s.gone = true;
      s.table.for_each([&](flight_type& f) {
        closing const end = doom(s, f, cause::cancelled);
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

  /// A flight that was built has taken the call's metadata.
  [[nodiscard]] static std::any const& metadata_of(call const& c, unseen_flight const& fresh) noexcept {
    return fresh.flight_ ? metadata_of(*fresh.flight_) : *c.metadata;
  }
  [[nodiscard]] static std::any const& metadata_of(flight_type const& f) noexcept {
    return f.metadata_ ? *f.metadata_ : no_metadata;
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

  /// Under the lock: whether there is room for one flight more. If room was made once already only the deadlines need it.
  [[nodiscard]] static bool fits_another(shard<P> const& s, bool timed, bool tried_to_fit) noexcept {
    if (tried_to_fit) return !timed || s.deadlines.has_room(2);
    return s.table.fits() && (!timed || s.deadlines.fits(2));
  }

  /// Gives the table the buckets, and the deadlines the room, that fit if one flight and so many deadlines are added; got
  /// and freed outside of the lock (rule 41). Throws `std::bad_alloc` if the deadlines have no room.
  [[gnu::noinline, gnu::cold]] static void make_room(shard<P>& s, std::size_t more) {
    std::unique_lock lock(s.mutex);
    std::size_t const buckets = s.table.wanted(), room = s.deadlines.wanted(more);
    lock.unlock();
    typename decltype(s.table)::storage_type for_flights(buckets);
    typename decltype(s.deadlines)::storage_type for_deadlines(room);
    lock.lock();
    if (for_flights.count() != 0 && s.table.wanted() == buckets) s.table.use(for_flights);
    if (for_deadlines.count() != 0 && s.deadlines.wanted(more) == room) s.deadlines.use(for_deadlines);
    bool const short_of_memory = room != 0 && for_deadlines.count() == 0 && !s.deadlines.has_room(more);
    lock.unlock();
    if (short_of_memory) throw std::bad_alloc();
  }

  void arm_deadline(time_point when) noexcept {
    if (when != (time_point::max)()) driver_.arm(when);
  }

  // -- under the shard's lock

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

  /// Returns whether the caller was suspended: whoever released it must hand over.
  [[nodiscard]] static bool set_released(waiter_type& w) noexcept {
    bool const suspended = w.phase_.load(std::memory_order_relaxed) == phase::armed;
    w.phase_.store(phase::released, std::memory_order_release);
    P::point(core_step::release);
    return suspended;
  }

  /// Leaves its flight, which closes if it was the last. Or the flight has closed already, and its waiters are kept by
  /// its last event (rule 35), or by others' turns: then it is doomed, and the waiter has that outcome. If it was
  /// suspended it goes into `leaver`, stranded: whoever concludes gives it its turn.
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
    f.references_.fetch_add(f.waiters_ + (end.stop ? 1 : 0) + (other_event ? 1 : 0), std::memory_order_relaxed);
    return end;
  }

  /// The one place where a flight ends (rules 2 to 4). Its waiters' references are still to be counted.
  static void close(shard<P>& s, flight_type& f, cause why) noexcept {
    f.why_.store(why, std::memory_order_release);
    s.table.unlink(f);
    s.deadlines.remove(f);
    s.waiters -= f.waiters_;
    if (s.owner->options_.max_keys() != 0) s.owner->keys_.fetch_sub(1, std::memory_order_acq_rel);
    switch (why) {
      case cause::resolved: ++s.resolved; break;
      case cause::timed_out: ++s.timed_out; break;
      case cause::cancelled: ++s.cancelled; break;
      default: ++s.rejected; break;
    }
  }

  /// Releases the first waiter. If it was not suspended it goes on at once, and the flight may go with it.
  static void release_next(shard<P>& s, flight_type& f, batch& released) noexcept {
    waiter_type& w = f.queue_.front();
    unqueue(s, w);
    if (!set_released(w)) return;
    if (!released.callers.empty() || w.pin(released.guard)) released.callers.push_back(w);
    else strand(s.stranded, w);
  }

  /// Releases the only waiter of a flight to which nobody else has a reference; the settler gives back its two in the
  /// same step, and the flight may be gone. In the section that has closed it only: later the group may have let go, and
  /// the flight would take the lock along. If the waiter lets go nothing of the flight needs the shard afterwards: so its
  /// end need not be counted, which would be an atomic step. (The group is there: with it every open flight goes.)
  static void release_sole(shard<P>& s, flight_type& f, batch& released, bool lets_go) noexcept {
    f.references_.store(1, std::memory_order_release);
    if (lets_go || f.queue_.front().lets_go_) {
      --s.living;
      f.home_ = nullptr;
    }
    release_next(s, f, released);
  }

  /// Releases waiters of a closed flight, at most a batch. True: they were the last.
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

  // -- outside of locks

  static void hand_over(batch& released) noexcept {
    while (waiter_type* const w = released.callers.pop_front())
      if (!w->hand_over(released.callers)) strand(*w);
    released.guard.reset();
  }

  static void conclude(closing end) noexcept {
    if (!end.f) return;
    tell(end);
    if (end.stop) ask_to_stop(*end.f);
  }

  /// Releases a doomed flight's waiters, then delivers its last event: nobody's answer waits for that (rule 35).
  /// Consumes the open flight's reference.
  static void tell(closing end) noexcept {
    flight_type& f = *end.f;
    shard<P>& s = *f.home_;
    release_waiters(s, f);
    if (std::optional<outcall> delivery; end.event && begin_outcall(s, delivery)) s.owner->deliver_last(f, *delivery);
    release(f);
  }

  /// False: no event is delivered any more.
  [[nodiscard]] static bool begin_outcall(shard<P>& s, std::optional<outcall>& delivery) noexcept {
    std::scoped_lock lock(s.mutex);
    if (!s.silent) delivery.emplace(s);
    return delivery.has_value();
  }

  void deliver_last(flight_type& f, outcall& delivery) noexcept {
    auto const end = [&](event_type type, std::exception_ptr const& error) {
      deliver(type, f.key(), f.id_, f.waiters_, clock::now() - f.started_, error, metadata_of(f));
    };
    switch (f.why()) {
      case cause::resolved: end(event_type::task_resolved, no_error); break;
      case cause::timed_out: end(event_type::task_timed_out, no_error); break;
      case cause::cancelled: end(event_type::task_cancelled, no_error); break;
      case cause::rejected: end(event_type::task_rejected, f.exception_); break;
      default: end(event_type::task_rejected, std::make_exception_ptr(abandoned_error(f.copy_key()))); break;
    }
    delivery.end();
  }

  template <bool OnlyPrompt = false>
  static void release_waiters(shard<P>& s, flight_type& f) noexcept {
    for (bool through = false; !through;) {
      batch released;
      {
        std::scoped_lock lock(s.mutex);
        through = release_batch<OnlyPrompt>(s, f, released);
      }
      hand_over(released);
    }
  }
  static void release_prompt(shard<P>& s, flight_type& f) noexcept { release_waiters<true>(s, f); }

  static void ask_to_stop(flight_type& f) noexcept {
    if (f.request_stop()) release(f);
    else stop_refused(f);
  }

  void deliver(event_type type, key_view key, std::uint64_t id, std::size_t waiters, std::chrono::nanoseconds duration,
               std::exception_ptr const& error, std::any const& metadata) noexcept {
    try {
      options_.on_event()(event{type, key.text, id, waiters, duration, error, metadata, key});
    } catch (...) {
      if (detail::unwinding()) std::terminate();  // it cannot pass: its flight is still to be told, and its callers
      callback_failed();
    }
  }

  /// An event of the flight was delivered. If the flight closed meanwhile and this was the last delivery under way, its
  /// last event is ours (rule 26), and its waiters if it has settled; with a reference.
  /// If the caller is ready to suspend it is armed in the same step; returns whether it was.
  [[nodiscard]] static bool end_delivery(outcall& delivery, flight_type& f, waiter_type& w,
                                         bool ready_to_suspend) noexcept {
    shard<P>& s = *f.home_;
    core& owner = *s.owner;
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
    if (!silent) owner.deliver_last(f, delivery);
    if (!doomed(f.why())) release_waiters(s, f);
    release(f);
    return armed;
  }

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
          end = doom(s, *f, cause::timed_out);
          doomed = true;
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

  /// Under the lock: what helpers do for a flight that was doomed, if it was. True: there is nobody to be told but those
  /// who are released here, and the open flight's reference is the caller's.
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
    if (ended) tell({ended, ended->last_event_, false});
    if (lost) release(*lost);
    if (to_stop) ask_to_stop(*to_stop);
    job->end();
    return true;
  }

  // -- anywhere

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

  static void take_stranded(shard<P>& s, waiter_type& w, batch& one) noexcept {
    w.stranded_ = false;
    if (w.pin(one.guard)) one.callers.push_back(w);
    else strand(s.stranded, w);
  }

  // -- fork()

  struct fork_handler final : forkable {
    explicit fork_handler(core& c) : of(c) { this->join_forks(); }
    ~fork_handler() override { this->leave_forks(); }
    void before_fork() noexcept override { of.before_fork(); }
    void after_fork(bool child) noexcept override { of.after_fork(child); }
    core& of;
  };
  struct no_fork_handler {
    explicit no_fork_handler(core&) noexcept {}
  };

  void before_fork() noexcept {
    if constexpr (P::forks) driver_.before_fork();
    for (std::size_t i = 0; i < count_; ++i) shards_[i].mutex.lock();
  }

  void after_fork(bool child) noexcept {
    if (child)
      for (std::size_t i = 0; i < count_; ++i) forget(shards_[i]);
    for (std::size_t i = 0; i < count_; ++i) shards_[i].mutex.unlock();
    if constexpr (P::forks) {
      std::size_t const threads = driver_.after_fork(child);
      if (!child) return;
      keys_.store(0, std::memory_order_relaxed);
      unarmed_.store(false, std::memory_order_relaxed);
      if (!gone_.load(std::memory_order_relaxed)) references_.fetch_sub(threads, std::memory_order_relaxed);
    }
  }

  /// In the child: what was up in the parent is not up here. Nobody is told, and what it holds is not given back: it
  /// belongs to threads that are not there. Only the thread that has forked may still be in the middle of some of it.
  static void forget(shard<P>& s) noexcept {
    s.table.for_each([&](flight_type& f) {
      f.references_.fetch_add(f.waiters_, std::memory_order_relaxed);
      close(s, f, cause::cancelled);
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
    outcall::forget_others(s);
    s.waiters = 0;
    s.detached = 0;
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
  std::size_t count_ = 0;
  shard<P>* shards_ = nullptr;
  std::atomic<std::size_t> keys_{0};  // joinable flights, counted only under a cap
  std::atomic<std::uint64_t> callback_failures_{0};
  std::atomic<bool> gone_{false};  // no group any more: no deadlines either, only what was refused is still tried again
  std::atomic<std::size_t> next_job_{0};  // where helpers look first
  std::atomic<bool> unarmed_{false};      // something was refused and the driver could not be told
  std::atomic<std::size_t> references_{
      0};  // the group, shards, the driver's threads, and whoever needs the core for a moment
  typename P::driver driver_;
  std::optional<std::conditional_t<P::forks, fork_handler, no_fork_handler>> forks_;  // while there are shards
};

}  // namespace detail
}  // namespace cacheflight::inline v1
