// SPDX-License-Identifier: MIT
#pragma once

// The contract as a sequential program, written from docs/contract.md and kept naive: flights and calls are
// records in small arrays, and every question is a loop. It knows nothing of locks, queues, reference counts
// or heaps.
//
// Operations change the records at once, as the rules say. What must follow (events, turns, stop requests) is
// then owed: each observation must be permitted when it is made, and when an operation has returned, nothing
// may be owed. So the order that the contract leaves open is left open here, and re-entrance needs no special
// care.

#include <cacheflight/event.hpp>

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

namespace cacheflight_model {

using cacheflight::event_type;

using nanos = std::int64_t;
inline constexpr nanos never = std::numeric_limits<nanos>::max();
inline constexpr int no_one = -1;
inline constexpr int key_count = 4;
inline constexpr int call_count = 8;
inline constexpr int flight_count = 12;

enum class ending : std::uint8_t { open, value, error, abandoned, timed_out, cancelled };
enum class verdict : std::uint8_t { joins, leads, full, other_type, no_thread, no_memory };
enum class fate : std::uint8_t { undecided, of_flight, left, wait_timed_out, refused_entry };
/// `linking`: entered, not suspended yet. `refused`: its executor would not take its turn. `ready`: it has
/// its turn.
enum class stage : std::uint8_t { absent, entering, linking, waiting, refused, ready };
enum class task_is : std::uint8_t { unborn, running, gone };

struct flight {
  bool used = false;
  ending end = ending::open;
  task_is task = task_is::unborn;
  std::uint8_t key = 0;
  bool other_type = false;
  bool superseded = false;  // nobody joins it any more
  bool noted = false;       // a clock has seen when it began
  bool stoppable = false, stop_owed = false, stop_refused = false, stop_permitted = false, asked = false;
  bool last_event = false;  // has begun
  bool announced = false;   // the last event was delivered
  int delivering = 0;       // events of calls that entered and were not told all of theirs (rule 26)
  int waiters = 0;          // frozen when the flight ends
  int answer = 0;           // which value or error
  int metadata = 0;
  int stop_tries = 0;
  std::uint64_t id = 0;
  nanos started = 0, deadline = never;
};

struct call {
  stage at = stage::absent;
  fate how = fate::undecided;
  fate perhaps = fate::undecided;  // how it may have left instead, before it was released
  verdict answer = verdict::joins;
  std::uint8_t key = 0;
  bool other_type = false;
  bool timed = false;  // it was given a limit, or a moment
  nanos not_before = never;
  bool busy = false;  // its own `run` has not returned, or it is being destroyed
  int flight = no_one;
  int metadata = 0;
  int told = 0;             // how many of its own events
  int waiters_at_join = 0;  // itself included
  int tries = 0;            // how often its executor was asked during this operation
  std::uint32_t serial = 0;
  nanos entered = 0, deadline = never, wait_until = never;
};

struct books {
  std::uint64_t hits = 0, misses = 0, started = 0, resolved = 0, rejected = 0, timed_out = 0, cancelled = 0;
  std::uint64_t max_keys_rejected = 0, type_mismatches = 0, callback_failures = 0;
};

/// An event as it was seen.
struct seen {
  event_type type;
  int key;
  std::uint64_t id;
  std::size_t waiters;
  nanos duration;
  int error;  // 0: none; -1: abandoned_error; otherwise which
  int metadata, leaders;
};

/// What a caller got.
struct result {
  fate how;
  verdict entry;  // refused_entry
  ending end;     // of_flight
  int answer;     // value, error
};

inline constexpr int abandoned_answer = -1;

class model {
  /// Records are taken from the front: those behind `top` are unused.
  template <class Records>
  [[nodiscard]] static auto in_use(Records& all, int top) {
    return std::span(all.data(), static_cast<std::size_t>(top));
  }

 public:
  std::array<flight, flight_count> flights{};
  std::array<call, call_count> calls{};
  books counts;
  bool events = true;
  int max_keys = 0;
  nanos now = 0;

  /// The first violation, or null.
  char const* wrong = nullptr;
  void violated(char const* what) {
    if (!wrong) wrong = what;
  }
  void expect(bool fine, char const* what) {
    if (!fine) violated(what);
  }

  /// A new group.
  void begin() {
    counts = {};
    ids_.reset();
  }

  // ---- questions ------------------------------------------------------------------------------------------

  [[nodiscard]] int open_flight(int key) const {
    for (int i = 0; i < top_flight_; ++i)
      if (at(i).used && at(i).end == ending::open && !at(i).superseded && at(i).key == key) return i;
    return no_one;
  }
  /// The one that the call would join; what it finds may be too old for it (rule 50).
  [[nodiscard]] int flight_for(call const& c) const {
    int const f = open_flight(c.key);
    if (f == no_one || c.not_before == never) return f;
    return at(f).noted && at(f).started > c.not_before ? f : no_one;
  }
  /// What there is.
  struct totals {
    std::size_t open = 0, superseded = 0, waiters = 0, detached = 0;
    int alive = 0;      // flights
    int values = 0;     // those counted; as long as their flight, for callers drop theirs at once
    unsigned keys = 0;  // bit by bit
  };
  [[nodiscard]] totals count() const {
    totals t;
    for (auto const& f : in_use(flights, top_flight_)) {
      if (!f.used) continue;
      ++t.alive;
      if (f.end == ending::open) {
        t.waiters += static_cast<std::size_t>(f.waiters);
        if (f.superseded) {
          ++t.superseded;
          continue;
        }
        ++t.open;
        t.keys |= 1u << f.key;
      } else {
        t.detached += f.task != task_is::gone;
        t.values += f.end == ending::value && !f.other_type;
      }
    }
    return t;
  }
  [[nodiscard]] std::size_t open_flights() const { return count().open; }
  [[nodiscard]] int flights_alive() const { return count().alive; }
  [[nodiscard]] nanos next_deadline() const {
    nanos first = never;
    for (auto const& f : in_use(flights, top_flight_))
      if (f.used && f.end == ending::open && f.deadline < first) first = f.deadline;
    for (auto const& c : in_use(calls, top_call_))
      if (waits(c) && c.wait_until < first) first = c.wait_until;
    return first;
  }
  [[nodiscard]] bool is_deadline(nanos when) const {
    for (auto const& f : in_use(flights, top_flight_))
      if (f.used && f.end == ending::open && f.deadline == when) return true;
    for (auto const& c : in_use(calls, top_call_))
      if ((waits(c) && c.wait_until == when) ||
          (c.at == stage::entering && (c.wait_until == when || c.deadline == when)))
        return true;
    return false;
  }
  [[nodiscard]] bool something_refused() const {
    for (auto const& c : in_use(calls, top_call_))
      if (c.at == stage::refused) return true;
    for (auto const& f : in_use(flights, top_flight_))
      if (f.used && f.stop_refused) return true;
    return false;
  }
  // ---- operations -----------------------------------------------------------------------------------------

  /// Rules 1, 2, 8, 21. Changes nothing.
  [[nodiscard]] verdict decide(int c) const {
    int const f = flight_for(of(c));
    if (f != no_one) return at(f).other_type == of(c).other_type ? verdict::joins : verdict::other_type;
    if (open_flight(of(c).key) == no_one && max_keys != 0 &&
        open_flights() >= static_cast<std::size_t>(max_keys))
      return verdict::full;
    return verdict::leads;
  }

  void admit(int c, verdict answer) {
    call& me = of(c);
    me.answer = answer;
    switch (answer) {
      case verdict::joins: {
        me.flight = flight_for(me);
        flight& f = at(me.flight);
        me.waiters_at_join = ++f.waiters;
        if (events) ++f.delivering;
        ++counts.hits;
        break;
      }
      case verdict::leads: {
        supersede(me.key);
        me.flight = unused_flight();
        if (me.flight >= top_flight_) top_flight_ = me.flight + 1;
        flight& f = at(me.flight);
        f = flight();
        f.used = true;
        f.key = me.key;
        f.other_type = me.other_type;
        f.metadata = me.metadata;
        f.started = me.timed ? me.entered : now;  // with a limit the clock is read before the flight is built
        f.noted = me.timed || events;
        f.deadline = me.deadline;
        f.waiters = 1;
        if (events) ++f.delivering;
        ++counts.misses;
        ++counts.started;
        break;
      }
      case verdict::full:
        ++counts.misses;
        ++counts.max_keys_rejected;
        me.how = fate::refused_entry;
        break;
      case verdict::other_type:
        ++counts.type_mismatches;
        me.how = fate::refused_entry;
        break;
      default: me.how = fate::refused_entry; break;
    }
  }

  /// A new record for a call.
  [[nodiscard]] call& begin_call(int c) {
    if (c >= top_call_) top_call_ = c + 1;
    return of(c) = call();
  }

  void entered(int c) {
    call& me = of(c);
    bool const gone = me.answer == verdict::full;
    int const owed = !events                               ? 0
                     : me.answer == verdict::joins         ? 1
                     : me.answer == verdict::leads || gone ? 2
                                                           : 0;
    expect(me.told == owed, "rule 22: a call entered without its events");
    me.at = me.how == fate::refused_entry ? stage::waiting : stage::linking;
  }

  /// Rule 9. What a doomed flight's task still answers is dropped (rule 15).
  void settle(int i, ending how, int answer) {
    flight& f = at(i);
    f.task = task_is::gone;
    f.stop_owed = false;
    if (f.end != ending::open) return;
    f.answer = answer;
    close(i, how);
  }

  void stoppable(int i) {
    flight& f = at(i);
    f.stoppable = true;
    if (doomed(f) && f.task == task_is::running) f.stop_owed = f.stop_permitted = true;
  }

  /// Rules 11, 12, 18, 35.
  void leave(int c, fate how) {
    call& me = of(c);
    if (kept(me)) me.how = how;
    else if (me.how == fate::of_flight && !doomed(at(me.flight)))
      me.perhaps = how;  // if others' turns keep it
    if (me.how != fate::undecided) return;
    me.how = how;
    if (--at(me.flight).waiters == 0) close(me.flight, ending::cancelled);
  }

  /// Rule 13.
  bool cancel(int key) {
    int const f = open_flight(key);
    if (f == no_one) return false;
    close(f, ending::cancelled);
    return true;
  }
  /// Rule 49.
  bool supersede(int key) {
    int const f = open_flight(key);
    if (f != no_one) at(f).superseded = true;
    return f != no_one;
  }
  void supersede() {
    for (int key = 0; key < key_count; ++key) supersede(key);
  }
  void clear() {
    for (int i = 0; i < top_flight_; ++i)
      if (at(i).used && at(i).end == ending::open) close(i, ending::cancelled);
  }

  /// The group has gone: events that are due are counted, not delivered (rule 40).
  void silence() {
    for (auto& f : in_use(flights, top_flight_))
      if (f.used && f.end != ending::open) f.announced = f.last_event = true;
  }

  /// Rules 17, 18: the earliest of what is due; at a tie the flight's.
  bool expire_one() {
    nanos const due = next_deadline();
    if (due > now || due == never) return false;
    for (int i = 0; i < top_flight_; ++i)
      if (at(i).used && at(i).end == ending::open && at(i).deadline == due)
        return close(i, ending::timed_out), true;
    for (int c = 0; c < top_call_; ++c)
      if (waits(of(c)) && of(c).wait_until == due) return leave(c, fate::wait_timed_out), true;
    return false;
  }
  void expire_all() {
    while (expire_one()) {
    }
  }

  // ---- observations ---------------------------------------------------------------------------------------

  [[nodiscard]] int ended_flight(std::uint64_t id) const {
    for (int i = 0; i < top_flight_; ++i)
      if (at(i).used && at(i).id == id && at(i).end != ending::open && !at(i).last_event) return i;
    return no_one;
  }

  /// An event of the call `entering`, or a flight's last. Returns the flight whose last it is.
  int event_begins(seen const& e, int entering) {
    if (is_last(e.type)) {
      int const i = ended_flight(e.id);
      if (i == no_one)
        return violated("a last event for a flight that has not ended, or a second one"), no_one;
      flight& f = at(i);
      f.last_event = true;
      expect(f.delivering == 0, "rules 22, 26: a flight's last event before an earlier one was delivered");
      expect(e.type == last_event_of(f.end), "rules 19, 22: the wrong last event");
      expect(e.key == f.key, "rule 24: a last event with another key");
      expect(e.waiters == static_cast<std::size_t>(f.waiters),
             "rule 24: a last event with a wrong number of waiters");
      expect(e.duration == now - f.started, "rule 24: a wrong duration");
      expect(e.metadata == f.metadata && e.leaders == f.metadata,
             "rules 24, 47: a last event without the leader's metadata");
      int const error = f.end == ending::error ? f.answer : f.end == ending::abandoned ? abandoned_answer : 0;
      expect(e.error == error, "rules 7, 24: a last event with a wrong error");
      return i;
    }
    if (entering == no_one) return violated("an event of a call when none is entering"), no_one;
    call& me = of(entering);
    expect(e.type == own_event(me), "rule 22: the wrong event of a call");
    expect(e.key == me.key, "rule 24: an event with another key");
    expect(e.duration == 0 && e.error == 0, "rule 24: a duration or an error where there is none");
    expect(e.metadata == me.metadata, "rule 24: an event without its call's metadata");
    if (me.flight == no_one) {
      expect(e.id == 0 && e.waiters == 0 && e.leaders == 0,
             "rules 24, 47: an event of no flight with an id, waiters or a leader");
      return no_one;
    }
    flight& f = at(me.flight);
    if (e.type == event_type::miss) {
      expect(e.id != 0 && !(e.id < ids_.size() && ids_[e.id]), "rule 24: a flight's id is not its own");
      if (e.id < ids_.size()) ids_.set(e.id);
      f.id = e.id;
    }
    expect(e.id == f.id, "rule 24: an event with another flight's id");
    expect(e.leaders == f.metadata, "rule 47: an event without the metadata of its flight's leader");
    expect(!f.last_event, "rule 22: an event after the flight's last");
    std::size_t const waiters =
        me.answer == verdict::joins ? static_cast<std::size_t>(me.waiters_at_join) : 1;
    expect(e.waiters == waiters, "rule 24: an event with a wrong number of waiters");
    return no_one;
  }
  void event_ends(int last_of, int entering) {
    if (last_of != no_one) {
      at(last_of).announced = true;
    } else if (entering != no_one) {
      call& me = of(entering);
      ++me.told;
      if (me.flight != no_one && me.told == (me.answer == verdict::leads ? 2 : 1)) --at(me.flight).delivering;
    }
  }

  void invoked(int i) {
    flight& f = at(i);
    expect(f.task == task_is::unborn, "rule 1: a task was invoked twice");
    expect(f.end == ending::open, "a task was invoked for a flight that had ended");
    f.task = task_is::running;
  }

  /// Also when the task has unwound meanwhile: nothing is owed then, and nothing harmed.
  [[nodiscard]] bool may_be_asked_to_stop(int i) const { return at(i).stop_permitted && !at(i).asked; }
  void asked_to_stop(int i, bool refuses) {
    flight& f = at(i);
    expect(f.used && may_be_asked_to_stop(i), "rules 12, 13, 16: a stop request that nobody made");
    ++f.stop_tries;
    f.stop_owed = false;
    f.stop_refused = refuses;
    f.asked = !refuses;
  }

  [[nodiscard]] bool turn_is_owed(int c) const { return of(c).how != fate::undecided; }
  /// Rule 23, and that nobody is resumed twice (rule 10).
  void asked_to_take_turn(int c, bool refuses) {
    call& me = of(c);
    expect(me.at == stage::waiting || me.at == stage::refused,
           "rule 10: a caller was released twice, or unasked");
    expect(me.how != fate::undecided, "rule 10: a caller was released without an outcome");
    if (me.how == fate::of_flight)
      expect(may_tell(at(me.flight)), "rule 23: a caller goes on before the last event");
    ++me.tries;
    me.at = refuses ? stage::refused : stage::ready;
  }
  void armed(int c, bool suspends) {
    call& me = of(c);
    expect(me.at == stage::linking, "armed what is not linking");
    if (!suspends) {
      expect(me.how != fate::undecided, "rule 10: a caller is told to go on without an outcome");
      if (me.how == fate::of_flight)
        expect(may_tell(at(me.flight)), "rule 23: a caller goes on before the last event");
    }
    me.at = stage::waiting;
  }

  /// Rules 7, 10, 14, 17, 18.
  void completed(int c, result const& got) {
    call& me = of(c);
    expect(me.at == stage::ready, "rule 10: a call completed without its turn");
    expect(got.how == me.how || got.how == me.perhaps,
           "rules 10, 14, 18: a call got the wrong kind of outcome");
    if (me.how == fate::refused_entry)
      expect(got.entry == me.answer, "rules 8, 21, 31: a call failed for a wrong reason");
    if (got.how == fate::of_flight) {
      flight const& f = at(me.flight);
      expect(got.end == f.end, "rules 10, 19: a call got another outcome than its flight's");
      if (f.end == ending::value || f.end == ending::error)
        expect(got.answer == f.answer, "rules 6, 7: a call got another object than its flight's");
    }
    me.at = stage::absent;
  }

  // ---- between operations ---------------------------------------------------------------------------------

  void operation_begins() {
    for (auto& c : in_use(calls, top_call_)) c.tries = 0;
    for (auto& f : in_use(flights, top_flight_)) f.stop_tries = 0;
  }
  /// Nothing may be owed; what nobody can observe any more is forgotten. What was refused in the operation
  /// may have been tried once more, if the deadline thread ran.
  void operation_ends(bool thread_ran) {
    int const tries = thread_ran ? 2 : 1;
    for (auto const& c : in_use(calls, top_call_)) {
      if (c.at == stage::absent) continue;
      expect(c.at != stage::waiting || c.how == fate::undecided,
             "rules 9, 10: a caller with an outcome still waits");
      expect(c.tries <= tries, "rule 10: a caller's executor was asked twice");
    }
    for (auto& f : in_use(flights, top_flight_)) {
      if (!f.used) continue;
      expect(f.end == ending::open || f.announced, "rule 22: a flight ended without its last event");
      expect(!f.stop_owed, "rules 12, 13, 16: a doomed task was not asked to stop");
      expect(f.delivering == 0, "an event was not delivered");
      expect(f.stop_tries <= tries, "rule 16: a task was asked to stop twice");
      if (f.end != ending::open && f.task == task_is::gone && !f.stop_refused && !held(f)) f.used = false;
    }
    while (top_flight_ > 0 && !at(top_flight_ - 1).used) --top_flight_;
    while (top_call_ > 0 && of(top_call_ - 1).at == stage::absent) --top_call_;
  }

  [[nodiscard]] int unused_flight() const {
    for (int i = 0; i < flight_count; ++i)
      if (!at(i).used) return i;
    return no_one;
  }
  [[nodiscard]] bool doomed(flight const& f) const {
    return f.end == ending::timed_out || f.end == ending::cancelled;
  }
  [[nodiscard]] flight& at(int i) { return flights[static_cast<std::size_t>(i)]; }
  [[nodiscard]] flight const& at(int i) const { return flights[static_cast<std::size_t>(i)]; }
  [[nodiscard]] call& of(int c) { return calls[static_cast<std::size_t>(c)]; }
  [[nodiscard]] call const& of(int c) const { return calls[static_cast<std::size_t>(c)]; }

 private:
  /// Rules 2, 3, 4, 12: the one way in which a flight ends.
  void close(int i, ending how) {
    flight& f = at(i);
    f.end = how;
    f.announced = !events;
    switch (how) {
      case ending::value: ++counts.resolved; break;
      case ending::timed_out: ++counts.timed_out; break;
      case ending::cancelled: ++counts.cancelled; break;
      default: ++counts.rejected; break;
    }
    for (auto& c : in_use(calls, top_call_))
      if (c.at != stage::absent && c.flight == i && c.how == fate::undecided) c.how = fate::of_flight;
    if (doomed(f) && f.stoppable && f.task == task_is::running) f.stop_owed = f.stop_permitted = true;
  }

  [[nodiscard]] bool waits(call const& c) const {
    return c.at != stage::absent && c.flight != no_one && (c.how == fate::undecided || kept(c));
  }
  /// Its flight has settled, and the last event keeps it; it can still leave (rule 35).
  [[nodiscard]] bool kept(call const& c) const {
    return c.how == fate::of_flight && (c.at == stage::waiting || c.at == stage::linking) &&
           !may_tell(at(c.flight));
  }
  /// Rules 23, 35: whether the flight's callers may go on.
  [[nodiscard]] bool may_tell(flight const& f) const { return f.announced || doomed(f); }
  [[nodiscard]] bool held(flight const& f) const {
    for (auto const& c : in_use(calls, top_call_))
      if (c.at != stage::absent && c.flight != no_one && &at(c.flight) == &f) return true;
    return false;
  }
  [[nodiscard]] static bool is_last(event_type type) {
    return type == event_type::task_resolved || type == event_type::task_rejected ||
           type == event_type::task_timed_out || type == event_type::task_cancelled;
  }
  [[nodiscard]] static event_type last_event_of(ending end) {
    switch (end) {
      case ending::value: return event_type::task_resolved;
      case ending::timed_out: return event_type::task_timed_out;
      case ending::cancelled: return event_type::task_cancelled;
      default: return event_type::task_rejected;
    }
  }
  /// The event that the call must be told next.
  [[nodiscard]] static event_type own_event(call const& c) {
    bool const first = c.told == 0;
    switch (c.answer) {
      case verdict::joins: return first ? event_type::hit : event_type::task_resolved;
      case verdict::leads: return first ? event_type::miss : event_type::task_started;
      case verdict::full: return first ? event_type::miss : event_type::max_keys_rejected;
      default: return event_type::task_resolved;  // none of those is ever a call's own
    }
  }

  int top_flight_ = 0, top_call_ = 0;
  std::bitset<2048> ids_;
};

}  // namespace cacheflight_model
