// SPDX-License-Identifier: MIT
#pragma once

// What the core keeps: waiters, flights and the shards of the table. What happens to them is decided in
// core.hpp.

#include <cacheflight/detail/countdown.hpp>
#include <cacheflight/detail/deadline_heap.hpp>
#include <cacheflight/detail/flight_table.hpp>
#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/list.hpp>
#include <cacheflight/detail/recycling.hpp>
#include <cacheflight/detail/retired.hpp>
#include <cacheflight/options.hpp>

#include <any>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1 {

/// The books of a group (rule 23). When no call is in progress they balance: `misses == started +
/// max_keys_rejected` and `started == resolved + rejected + timed_out + cancelled`.
struct statistics {
  std::uint64_t hits = 0;               ///< Calls that joined a flight.
  std::uint64_t misses = 0;             ///< Calls that found none.
  std::uint64_t started = 0;            ///< Flights admitted.
  std::uint64_t resolved = 0;           ///< Flights that ended with a value,
  std::uint64_t rejected = 0;           ///< with the task's exception, or abandoned,
  std::uint64_t timed_out = 0;          ///< by their timeout,
  std::uint64_t cancelled = 0;          ///< by `cancel`, `clear`, or when the last waiter left.
  std::uint64_t max_keys_rejected = 0;  ///< Misses refused at the cap.
  std::uint64_t type_mismatches =
      0;  ///< Calls refused because the flight's result type differs; neither hits nor misses.
  std::uint64_t callback_failures = 0;  ///< Times that `on_event` threw.
  std::size_t in_flight = 0;            ///< Joinable flights now.
  std::size_t waiters = 0;              ///< Callers waiting for them.
  std::size_t detached = 0;             ///< Tasks that were asked to stop and have not unwound yet.
};

namespace detail {

/// How a flight ended.
enum class cause : std::uint8_t { open, resolved, rejected, abandoned, timed_out, cancelled };

/// How a waiter left before its flight ended.
enum class departure : std::uint8_t { none, left, wait_timed_out };

[[nodiscard]] constexpr bool doomed(cause why) noexcept {
  return why == cause::timed_out || why == cause::cancelled;
}

/// `start + length`, or `max()` beyond the clock's range.
template <class TimePoint>
[[nodiscard]] TimePoint deadline_after(TimePoint start, limit length) noexcept {
  if (length == no_limit) return (TimePoint::max)();
  auto const left =
      std::chrono::duration_cast<limit>((TimePoint::max)() - (start < TimePoint{} ? TimePoint{} : start));
  return length >= left ? (TimePoint::max)()
                        : start + std::chrono::duration_cast<typename TimePoint::duration>(length);
}

template <class P>
class core;
template <class P>
class flight;
template <class P>
class outcall;
template <class P>
struct steps;
template <class P>
struct telling;
template <class P>
struct timekeeping;
template <class P>
struct shard;

/// Defined by tests that look inside.
struct inspector;

/// Something that must not go away just now; see `waiter::pin`.
class pinned {
 public:
  virtual void unpin() noexcept = 0;

 protected:
  ~pinned() = default;
};

struct unpinner {
  void operator()(pinned* p) const noexcept { p->unpin(); }
};
using pin_guard = std::unique_ptr<pinned, unpinner>;

/// One caller's place in a flight. Lives with the caller, who destroys it only when it is no longer queued:
/// after `finish`, or after `withdraw`.
template <class P>
class waiter : public list_node, private deadline_node {
 public:
  using waiters = list<waiter>;

  waiter(waiter const&) = delete;
  waiter& operator=(waiter const&) = delete;

  /// Give the caller its turn, on its own executor (rule 28). False: refused; the waiter is untouched and
  /// will be asked again. If it returns true the waiter may be gone already. `others` were released with it,
  /// and have the same `place()`: whose turns go with this one may be taken out of the list.
  [[nodiscard]] virtual bool hand_over(waiters& others) noexcept = 0;

  /// Waiters whose place is the same, and not null, are released together, in batches. Until its turn comes,
  /// one of a batch may be destroyed only where no other thread hands over.
  [[nodiscard]] virtual void const* place() const noexcept { return nullptr; }

  /// Called under the lock before another thread than the caller's hands over; for fronts where somebody else
  /// than the caller, say its context, can destroy the waiter. Puts into `guard` what makes that wait until
  /// the hand-over is done, for all waiters of this place. False: it is about to be destroyed, and must not
  /// be touched once the lock is free.
  [[nodiscard]] virtual bool pin(pin_guard&) noexcept { return true; }

  [[nodiscard]] flight<P>* joined() const noexcept { return flight_; }
  [[nodiscard]] departure how_left() const noexcept { return left_; }

 protected:
  /// `prompt`: `hand_over` runs nobody else's code (it wakes a thread, or posts to an executor that is
  /// known), so that the thread that keeps time may call it (rule 33).
  explicit waiter(bool prompt = false) noexcept : deadline_node(deadline_of::waiter), prompt_(prompt) {}
  virtual ~waiter() = default;

 private:
  friend class core<P>;
  friend struct steps<P>;
  friend struct telling<P>;
  friend struct timekeeping<P>;
  friend inspector;
  enum class phase : std::uint8_t { linking, armed, released };

  std::atomic<phase> phase_{
      phase::linking};  // under the shard's lock; whether it is released can be read without
  departure left_ = departure::none;
  bool queued_ = false;    // in the flight's list: under the shard's lock
  bool stranded_ = false;  // in the shard's list: under the shard's lock
  bool lets_go_ = false;   // see `call`
  bool const prompt_;
  std::uint32_t references_ =
      1;  // that it gives back; more than its own after others' turns on the same thread
  flight<P>* flight_ = nullptr;
};

/// One execution of one task. Fronts derive from it: they add the key, the task and the means to stop it.
template <class P>
class flight : public recycled, public table_links<flight<P>>, private deadline_node {
 public:
  using time_point = typename P::clock::time_point;

  flight(flight const&) = delete;
  flight& operator=(flight const&) = delete;

  [[nodiscard]] virtual key_view key() const noexcept = 0;
  [[nodiscard]] virtual key_copy copy_key() const noexcept = 0;

  /// What its value is; a call that wants another type cannot join.
  [[nodiscard]] virtual std::type_info const& type() const noexcept = 0;

  /// Ask the task to stop; called outside of locks, after the flight was doomed. False: could not be asked
  /// now (out of memory); it is called again until it returns true.
  [[nodiscard]] virtual bool request_stop() noexcept = 0;

  /// The outcome. Read only by waiters that were released with it.
  [[nodiscard]] cause why() const noexcept { return why_.load(std::memory_order_acquire); }
  [[nodiscard]] std::exception_ptr const& exception() const noexcept {
    return exception_;
  }  ///< If `why()` is `rejected`.

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  [[nodiscard]] time_point started() const noexcept {
    return started_;
  }  ///< The clock's epoch: it was not looked at.

 protected:
  explicit flight(std::any&& metadata) : deadline_node(deadline_of::flight), value_() {
    if (metadata.has_value()) metadata_.reset(new std::any(std::move(metadata)));
  }
  virtual ~flight() {
    if (threw()) exception_.~exception_ptr();
    else value_.~shared_ptr();
  }

 private:
  friend class core<P>;
  friend struct steps<P>;
  friend struct telling<P>;
  friend struct timekeeping<P>;
  friend inspector;

  [[nodiscard]] bool open() const noexcept { return why_.load(std::memory_order_relaxed) == cause::open; }

  // Both set: whoever set the second asks the task to stop.
  static constexpr std::uint8_t stoppable = 1, stop_due = 2;

  // Under the shard's lock; `why_` is also read without.
  std::atomic<cause> why_{cause::open};
  std::atomic<std::uint8_t> stop_{0};
  bool unwound_ = false;
  bool turns_ = false;  // some of those who joined are not prompt; in the queue they are behind those who are
  bool last_event_ =
      false;          // for who ends it, between close() and conclude(): the last event is to be delivered
  bool ask_ = false;  // and the task is to be asked to stop
  std::uint32_t emitting_ = 0;  // events being delivered; none begins once the flight has closed
  std::uint32_t waiters_ = 0;   // frozen when the flight closes
  std::atomic<std::uint32_t> references_{0};
  list<waiter<P>> queue_;

  shard<P>* home_ = nullptr;  // null: not needed any more
  // Fixed when the flight is admitted.
  std::uint64_t id_ = 0;
  time_point started_{};
  std::unique_ptr<std::any const> metadata_;  // null: none

  [[nodiscard]] bool threw() const noexcept { return why() == cause::rejected; }

  // Written under the lock by settle(), fixed afterwards.
  union {
    std::shared_ptr<void const> value_;
    std::exception_ptr exception_;  // if the task threw
  };
};

/// Flights that have left the table, in order, through a link that the table does not need any more.
template <class P, flight<P>* table_links<flight<P>>::* Link>
class flight_queue {
 public:
  [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
  void push(flight<P>& f) noexcept {
    f.*Link = nullptr;
    *last_ = &f;
    last_ = &(f.*Link);
  }
  [[nodiscard]] flight<P>* pop() noexcept {
    flight<P>* const f = first_;
    if (f && !(first_ = f->*Link)) last_ = &first_;
    return f;
  }
  template <class Visit>
  void for_each(Visit&& visit) {
    for (flight<P>* f = first_; f; f = f->*Link) visit(*f);
  }
  /// Moves all of `other` to the end.
  void splice(flight_queue& other) noexcept {
    while (flight<P>* const f = other.pop()) push(*f);
  }

 private:
  flight<P>* first_ = nullptr;
  flight<P>** last_ = &first_;
};
template <class P>
using unlinked_flights = flight_queue<P, &table_links<flight<P>>::next_unlinked>;
template <class P>
using flights_to_stop = flight_queue<P, &table_links<flight<P>>::next_in_bucket>;

/// One part of the table with its lock. What a plain call changes is in the first two cache lines.
template <class P>
struct alignas(64) shard {
  using time_point = typename P::clock::time_point;

  explicit shard(core<P>* owner_) noexcept : table(mutex), owner(owner_), deadlines(mutex) {}

  [[no_unique_address]] retiring_mutex<typename P::mutex> mutex;
  bool gone = false;          // the group is being destroyed: no call leads any more
  bool silent = false;        // it was destroyed: no event is delivered any more
  std::uint32_t waiters = 0;  // with those two in what the mutex leaves free
  std::uint64_t hits = 0, misses = 0, resolved = 0;
  std::uint64_t living = 0;       // flights for which `ended` counts
  flight_table<flight<P>> table;  // its buckets are in the second line

  core<P>* owner;
  countdown ended;            // closed when the group goes
  list<outcall<P>> outcalls;  // calls of user code that the group's destructor waits for
  std::uint64_t rejected = 0, timed_out = 0, cancelled = 0;
  std::size_t detached = 0;
  std::uint64_t max_keys_rejected = 0, type_mismatches = 0;
  deadline_heap<time_point> deadlines;

  // Jobs for helper threads (rule 33). A flight that has left the table has two links, for two jobs at most.
  std::atomic<time_point> jobs_since{
      (time_point::max)()};    // when the last was taken while others waited; max(): none do
  list<waiter<P>> turns;       // who is to be handed over
  unlinked_flights<P> ends;    // whose callers are to be released, and last events to be delivered
  unlinked_flights<P> lost;    // whose last reference the thread that keeps time has had
  flights_to_stop<P> to_stop;  // whose tasks are to be asked to stop

  // Refused, until the thread that keeps time comes by.
  list<waiter<P>> stranded;
  flights_to_stop<P> unstopped;
};

}  // namespace detail
}  // namespace cacheflight::inline v1
