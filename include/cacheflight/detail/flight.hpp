// SPDX-License-Identifier: MIT
#pragma once

// What the core keeps of a caller and of a task: waiters and flights. What happens to them is decided in
// core.hpp.

#include <cacheflight/detail/deadline_heap.hpp>
#include <cacheflight/detail/flight_table.hpp>
#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/list.hpp>
#include <cacheflight/detail/recycling.hpp>
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

namespace cacheflight::inline v1::detail {

/// How a flight ended.
enum class cause : std::uint8_t {
  open,
  resolved,
  rejected,
  abandoned,
  timed_out,
  cancelled,  // by its key, or by the last waiter who left
  cleared,
  drained,   // by a drain whose time was over
  destroyed  // with its group
};

/// How a waiter left before its flight ended.
enum class departure : std::uint8_t { none, left, wait_timed_out };

[[nodiscard]] constexpr bool doomed(cause why) noexcept { return why >= cause::timed_out; }

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
class announcer;
template <class P>
struct census;
template <class P>
class core;
template <class P>
class drains;
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

  /// Where on its stack a thread waits or, if it leads, runs the task; 0: it is no such caller.
  [[nodiscard]] virtual std::uintptr_t blocks_at() const noexcept { return 0; }

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
  friend class announcer<P>;
  friend struct census<P>;
  friend class core<P>;
  friend class drains<P>;
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
  bool superseded_ = false;     // not joinable any more, though it is open
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

}  // namespace cacheflight::inline v1::detail
