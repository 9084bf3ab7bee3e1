// SPDX-License-Identifier: MIT
#pragma once

// One part of a group's table: its lock and what it guards.

#include <cacheflight/detail/countdown.hpp>
#include <cacheflight/detail/deadline_heap.hpp>
#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/flight_table.hpp>
#include <cacheflight/detail/list.hpp>
#include <cacheflight/detail/retired.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace cacheflight::inline v1::detail {

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

/// Which calls may lead: all; those inside of tasks that were admitted before (rule 58); the same, while the
/// ends of flights are counted (rule 59).
enum class door : std::uint8_t { open, closed, watched };

/// One part of the table with its lock. What a plain call changes is in the first two cache lines.
template <class P>
struct alignas(64) shard {
  using time_point = typename P::clock::time_point;

  explicit shard(core<P>* owner_) noexcept : table(mutex), owner(owner_), deadlines(mutex) {}

  [[no_unique_address]] retiring_mutex<typename P::mutex> mutex;
  door who_leads = door::open;
  bool gone = false;          // the group is being destroyed: no call leads any more
  bool silent = false;        // it was destroyed: no event is delivered any more
  std::uint32_t waiters = 0;  // with those three in what the mutex leaves free
  std::uint64_t hits = 0, misses = 0, resolved = 0;
  std::uint64_t living = 0;       // flights for which `ended` counts
  flight_table<flight<P>> table;  // its buckets are in the second line

  core<P>* owner;
  countdown ended;            // closed when the group goes
  list<outcall<P>> outcalls;  // calls of user code that the group's destructor waits for
  std::uint64_t rejected = 0, timed_out = 0, cancelled = 0;
  std::size_t detached = 0;
  std::uint64_t max_keys_rejected = 0, closed_rejected = 0, type_mismatches = 0;
  std::int64_t forgotten = 0;  // flights that other threads were ending while the process forked, in whose
                               // child this is
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

}  // namespace cacheflight::inline v1::detail
