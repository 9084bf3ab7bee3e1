// SPDX-License-Identifier: MIT
#pragma once

// Small programs of concurrent operations on the shipped core, run under the fiber scheduler and checked at
// every step.
//
// A mutex of this platform switches fibers when it is released, callers' code (tasks, callbacks, executors)
// switches inside, and the core says where it reads or changes something without the lock. Inside a section
// there is one more point, after `phase` was changed, which the waiter's caller reads without the lock. What
// is not reached this way are the orders of two reference counts, which matter only where somebody looks at
// one: there is a point before.

#include "fibers.hpp"
#include <cacheflight/cacheflight.hpp>

#include <unistd.h>

#include <algorithm>
#include <any>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>
#include <utility>

namespace cd = cacheflight::detail;

namespace schedule {

// ---- the platform -----------------------------------------------------------------------------------------

inline scheduler fibers;

struct clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<clock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept { return time_point(duration(ticks)); }
  static inline rep ticks = 0;
};

[[noreturn]] void violation(char const* what);
void look(bool inside = false);

class mutex {
 public:
  mutex() = default;
  mutex(mutex const&) = delete;
  mutex& operator=(mutex const&) = delete;
  ~mutex() {
    if (locked_) violation("a lock is destroyed while it is held");
  }
  void lock() {
    if (held_here()) violation("a lock is taken while one is held");
    fibers.wait([this] { return !locked_; });
    locked_ = true;
    holders |= bit();
  }
  void unlock() {
    look((holders & ~bit()) != 0);  // in the middle of another part's step?
    locked_ = false;
    holders &= ~bit();
    fibers.wake();
    fibers.point();
  }
  /// User code must find it false (rule 5).
  static bool held_here() { return (holders & bit()) != 0; }

  static inline std::uint32_t holders = 0;  // fibers

 private:
  static std::uint32_t bit() { return std::uint32_t{1} << fibers.current(); }
  bool locked_ = false;
};

inline void outside_of_locks(char const* who) {
  if (mutex::held_here()) violation(who);
}

/// The thread that keeps time is a fiber, and a helper thread is another; time jumps to the next deadline
/// whenever the first is chosen to run.
struct driver {
  using work_type = cacheflight::deadline_work<clock>;
  static constexpr clock::time_point never = clock::time_point::max();

  driver() { ++alive; }
  ~driver() {
    if (lets_go != scheduler::max_fibers && lets_go != fibers.current())
      violation("the core goes while its group lets go of it");
    --alive;
  }
  driver(driver const&) = delete;
  driver& operator=(driver const&) = delete;

  void ensure(work_type& of) {
    if (std::exchange(up, true)) return;
    work = &of;
    of.retain();
  }
  void arm(clock::time_point when) noexcept {
    if (alive == 0) violation("the deadline thread is told of a deadline by a core that has gone");
    if (when >= due) return;
    due = when;
    if (!std::exchange(has_job, true)) give_job();
  }
  void rouse(work_type& of, clock::time_point when) {
    ensure(of);
    arm(when);
  }
  template <class Predicate>
  void await(Predicate over) noexcept {
    for (;;) {
      told = false;
      if (over()) return;
      fibers.wait([] { return told; });
    }
  }
  void tell() noexcept {
    told = true;
    fibers.wake();
  }
  void close() noexcept {
    closed = true;
    fibers.wait([] { return !running; });
    if (through()) end();
  }

  static void give_job();
  static void give_help();
  static void round() {
    if (due != never) clock::ticks = std::max(clock::ticks, due.time_since_epoch().count());
    due = never;
    running = true;
    keeps_time |= std::uint32_t{1} << fibers.current();
    auto const next = work->run_due();
    keeps_time &= ~(std::uint32_t{1} << fibers.current());
    running = false;
    if (next < due) due = next;
    fibers.wake();
    if (closed && through()) return end();
    if (work->oldest_job() != never && !std::exchange(has_help, true)) give_help();
  }
  static void help() {
    ++helping;
    work->retain();
    while (work->run_job()) {
    }
    has_help = false;
    --helping;
    auto* const of = work;
    fibers.wake();
    if (closed && through()) end();
    of->release();
  }
  static bool through() {
    return !running && due == never && helping == 0 && work && work->oldest_job() == never;
  }
  static void end() {
    if (std::exchange(up, false)) work->release();
  }
  static void reset() {
    up = running = closed = has_job = has_help = told = false;
    keeps_time = 0;
    helping = 0;
    due = never;
    work = nullptr;
    lets_go = scheduler::max_fibers;
  }
  /// What may run somebody's code must find it false (rule 33).
  static bool keeps_time_here() { return keeps_time >> fibers.current() & 1; }

  static constexpr std::size_t fiber = scheduler::max_fibers - 2, helper = scheduler::max_fibers - 3;
  static inline work_type* work = nullptr;
  static inline clock::time_point due = never;
  static inline bool up = false, running = false, closed = false, has_job = false, has_help = false,
                     told = false;
  static inline std::uint32_t keeps_time = 0;  // fibers
  static inline int helping = 0;
  static inline int alive = 0;
  static inline std::size_t lets_go =
      scheduler::max_fibers;  // the fiber that destroys the group; else nobody
};

/// What may run somebody's code.
inline void on_no_thread_that_keeps_time(char const* who) {
  if (driver::keeps_time_here()) violation(who);
}

struct platform {
  using mutex = schedule::mutex;
  using clock = schedule::clock;
  using driver = schedule::driver;
  static std::size_t shards() noexcept { return shard_count; }
  static void point(cacheflight::core_step step) noexcept {
    using enum cacheflight::core_step;
    if (step == release) look(true);
    if (step == release || step == enter || step == stoppable) fibers.point();
  }
  static constexpr bool forks = false;
  using thread_id = std::size_t;
  static thread_id this_thread() noexcept { return fibers.current(); }
  static inline std::size_t shard_count = 1;
};

using core = cd::core<platform>;

}  // namespace schedule

/// What the checks read of flights and shards.
struct cacheflight::detail::inspector {
  using flight_type = flight<schedule::platform>;
  static bool admitted(flight_type const& f) { return f.id_ != 0; }
  static bool unwound(flight_type const& f) { return f.unwound_; }
  static bool asked_to_stop(flight_type const& f) {
    return f.stop_ == (flight_type::stoppable | flight_type::stop_due);
  }
  static std::size_t waiters(flight_type const& f) { return f.waiters_; }
  static bool prompt_queued(flight_type& f) { return !f.queue_.empty() && f.queue_.front().prompt_; }
  static bool silent(flight_type const& f) { return f.home_ && f.home_->silent; }
  static bool is_over(flight_type const& f) { return f.home_ == nullptr; }
  static bool nobody_queued(flight_type const& f) { return f.queue_.empty(); }
  static std::uint64_t& id(flight_type& f) { return f.id_; }
  static std::array<std::uint64_t*, 8> books(core<schedule::platform>& c, std::size_t shard) {
    auto& s = c.shards_[shard];
    return {&s.hits,      &s.misses,    &s.resolved,          &s.rejected,
            &s.timed_out, &s.cancelled, &s.max_keys_rejected, &s.closed_rejected};
  }
  static std::uint64_t& living(core<schedule::platform>& c, std::size_t shard) {
    return c.shards_[shard].living;
  }
  static countdown& ended(core<schedule::platform>& c, std::size_t shard) { return c.shards_[shard].ended; }
  static bool superseded(flight_type const& f) { return f.superseded_; }
  static std::size_t joinable(core<schedule::platform> const& c) {
    std::size_t sum = 0;
    for (auto const& s : c.shards_) sum += s.table.size() - s.table.hidden();
    return sum;
  }
  static std::size_t superseded(core<schedule::platform> const& c) {
    std::size_t sum = 0;
    for (auto const& s : c.shards_) sum += s.table.hidden();
    return sum;
  }
};

namespace schedule {

using cd::cause;
using cd::inspector;

// ---- programs ---------------------------------------------------------------------------------------------

/// What a thread does, one letter each; small letters do it with a second key.
constexpr std::string_view all_operations =
    "R"   // runs a task that yields a value later, on a thread of its own
    "F"   // the same, the task fails, and can be asked to stop only after it has started
    "I"   // runs a task that yields its value inside the call
    "O"   // the same on its own stack, as a thread does that nobody can make leave
    "G"   // runs a task that yields later, as a coroutine does that nobody can make leave
    "A"   // starts a call whose completion runs where the flight settles, and starts another for the key
    "K"   // starts a call with a wait timeout whose completion runs wherever the wait ends
    "V"   // calls, and destroys its frame while it is suspended
    "T"   // runs with a timeout
    "Q"   // the same, and its task waits in a queue, on a thread of its own, before it begins
    "W"   // runs with a wait timeout
    "B"   // runs with both, equal
    "H"   // runs; the event callback throws
    "N"   // runs; the event callback cancels the key and looks it up when the flight ends
    "P"   // runs and takes no flight that was joinable before (not_before)
    "L"   // the first caller that waits leaves
    "C"   // cancel(key)
    "S"   // supersede(key)
    "Y"   // supersede()
    "Z"   // clear()
    "X"   // close()
    "M"   // drain()
    "J"   // drain() with a time limit
    "D"   // destroys the group
    "E";  // the same, and nothing but the core's own references keeps it meanwhile

constexpr std::string_view calls_among = "RFIOGAKVTQWBHNP";
constexpr bool times_out(char kind) { return kind == 'T' || kind == 'Q' || kind == 'B'; }
constexpr bool is_callback(char kind) { return kind == 'A' || kind == 'K'; }
constexpr bool waits_shortly(char kind) { return kind == 'W' || kind == 'B' || kind == 'K'; }

struct setup {
  bool events = false;
  std::size_t max_keys = 0;
  std::size_t refusals = 0;  // how many hand-overs and stop requests are refused at most, wherever that hurts
};

struct program {
  std::array<std::string, 4> threads;
  std::size_t count = 0;

  [[nodiscard]] std::string text() const {
    std::string s;
    for (std::size_t i = 0; i < count; ++i) s += (i ? "|" : "") + threads[i];
    return s;
  }
};

inline void note(char const* what, char detail = ' ');

// ---- what is known about flights and calls ----------------------------------------------------------------

class test_flight;
class test_call;

enum class doing : std::uint8_t {
  nothing,
  settling,
  cancelling,
  clearing,
  superseding,
  leaving,
  timing,
  entering,
  stopping,
  helping
};

struct flight_record {
  test_flight* alive = nullptr;
  char key = 0;
  char kind = 0;
  bool closed = false, superseded = false, stop_due = false, stop_decided = false;
  cause why = cause::open;
  std::int8_t invoked = 0, stops = 0, settled = 0, leaders = 0;
  std::int8_t word = 0;  // how much of miss, task_started, end was delivered
  std::int8_t delivering = 0, delivering_hits = 0;
  std::int8_t outcomes = 0;
};

struct call_record {
  test_call* node = nullptr;
  flight_record* joined = nullptr;
  char kind = 0;
  char key = 0;
  bool nested = false;
  bool entering = false, live = false, turn = false, leave_asked = false, hit = false, hit_seen = false;
  std::uint32_t leavers = 0;        // fibers that make it leave just now
  std::uint32_t closed_before = 0;  // flights that nobody could join any more when it began
  bool late = false;                // the group was closed when it began
};

/// One run of one program. Fibers: the threads, then tasks, and the deadline thread.
struct world {
  setup with;
  program const* what = nullptr;
  core* flights = nullptr;
  // A call's place is its own, whatever the schedule, and so is that of the flight that it leads.
  static constexpr std::size_t places = 24, nested_from = 12;
  std::array<flight_record, places> flight{};
  std::array<call_record, places> call{};
  std::array<doing, scheduler::max_fibers + 1> does{};
  std::array<flight_record*, scheduler::max_fibers + 1> settles{};
  std::array<std::int8_t, scheduler::max_fibers + 1> closes{}, supersedes{};
  std::size_t refusals = 0;
  int entering = 0;
  int begun = 0, completed = 0;
  bool destroyed = false, gone = false, booked = true, over = false, closing = false;
  bool limited = false;                             // somebody drains with a time limit
  bool closes_group = false, closed_group = false;  // close() has begun, and returned
  cacheflight::statistics expected;
  bool trace = false;

  [[nodiscard]] static std::size_t me() { return fibers.current(); }
  [[nodiscard]] std::uint32_t closed_flights() const {
    std::uint32_t closed = 0;
    for (std::size_t i = 0; i < flight.size(); ++i)
      if (flight[i].closed || flight[i].superseded) closed |= std::uint32_t{1} << i;
    return closed;
  }
  [[nodiscard]] std::uint32_t admitted_flights() const;
};
inline world now;

inline std::shared_ptr<int const> anchor;
inline std::exception_ptr task_error;

inline void note(char const* what, char detail) {
  if (now.trace) std::printf("  [%2zu] %s %c\n", now.me(), what, detail);
}

[[noreturn]] inline void violation(char const* what) {
  std::printf("VIOLATION: %s\n  replay: --program '%s'%s%s%s --choices %s\n", what, now.what->text().c_str(),
              now.with.events ? " --events" : "",
              now.with.max_keys ? (" --max-keys " + std::to_string(now.with.max_keys)).c_str() : "",
              now.with.refusals ? (" --refusals " + std::to_string(now.with.refusals)).c_str() : "",
              fibers.choose.text().c_str());
  std::fflush(stdout);
  _exit(1);
}
inline void require(bool holds, char const* what) {
  if (!holds) violation(what);
}

/// What the fiber is about, for the checks inside of critical sections.
class about {
 public:
  explicit about(doing what, flight_record* settles = nullptr)
      : me_(now.me()),
        before_(now.does[me_]),
        settled_before_(now.settles[me_]),
        closes_before_(now.closes[me_]) {
    now.does[me_] = what;
    now.settles[me_] = settles;
    now.closes[me_] = 0;
  }
  about(about const&) = delete;
  about& operator=(about const&) = delete;
  ~about() {
    now.does[me_] = before_;
    now.settles[me_] = settled_before_;
    now.closes[me_] = closes_before_;
  }
  [[nodiscard]] int closed() const { return now.closes[me_]; }

 private:
  std::size_t me_;
  doing before_;
  flight_record* settled_before_;
  std::int8_t closes_before_;
};

// ---- a front by hand --------------------------------------------------------------------------------------

class test_flight final : public cd::flight<platform> {
 public:
  test_flight(flight_record& r, std::any metadata) : flight(std::move(metadata)), record(r), key_(r.key) {
    record.alive = this;
  }
  ~test_flight() override {
    outside_of_locks("a flight is destroyed under a lock");
    on_no_thread_that_keeps_time("a flight is destroyed on the thread that keeps time");
    for (call_record& c : now.call) c.closed_before &= ~(std::uint32_t{1} << (&record - now.flight.data()));
    flight_record const r = std::exchange(record, {});
    if (!r.leaders) return;
    require(r.closed && r.settled == 1, "a flight did not settle");
    require(r.stops == (r.stop_due ? 1 : 0), r.stop_due ? "not asked to stop" : "asked to stop for nothing");
    // The group may have gone before a caller that left it had delivered the event of that.
    if (now.with.events)
      require((r.word == 3 || (cd::doomed(r.why) && inspector::silent(*this))) && !r.delivering &&
                  !r.delivering_hits,
              "an event is missing");
  }
  [[nodiscard]] cd::key_view key() const noexcept override {
    return {&key_, &typeid(char), std::string_view(&key_, 1)};
  }
  [[nodiscard]] cd::key_copy copy_key() const noexcept override { return {}; }
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(int); }

  [[nodiscard]] bool request_stop() noexcept override {
    outside_of_locks("a stop request under a lock");
    on_no_thread_that_keeps_time("a task is asked to stop on the thread that keeps time");
    if (now.refusals && fibers.decide(2)) {
      --now.refusals;
      note("refuses the stop request");
      return false;
    }
    note("is asked to stop", record.key);
    require(cd::doomed(why()), "a flight that is not doomed is asked to stop");
    require(++record.stops == 1, "asked to stop twice");
    fibers.point();
    return true;
  }

  /// The leader starts its task.
  void start(char kind, cd::waiter<platform>& leader) {
    if (now.with.events) fibers.point();
    if (kind == 'Q') {
      fibers.give(task_fiber(), [this] {
        if (!begin()) return;
        stoppable();
        settle(cause::resolved);
      });
      return fibers.point();
    }
    if (!begin()) return;
    if (kind == 'I') return settle(cause::resolved);
    if (kind == 'O') return settle(cause::resolved, &leader);
    core::retain(*this);
    if (kind != 'F') stoppable();
    fibers.give(task_fiber(), [this, kind] { settle(kind == 'F' ? cause::rejected : cause::resolved); });
    fibers.point();
    if (kind == 'F') stoppable();
    core::release(*this);
  }

  flight_record& record;

 private:
  [[nodiscard]] std::size_t task_fiber() const {
    std::size_t const fiber = now.what->count + static_cast<std::size_t>(&record - now.flight.data());
    require(fiber < driver::helper, "too many tasks");
    return fiber;
  }
  /// False: the flight has ended; its task never begins.
  [[nodiscard]] bool begin() {
    if (!core::may_start(*this)) return settle(cause::abandoned), false;
    require(!record.closed, "a task begins though its flight has ended");
    require(++record.invoked == 1, "a task is invoked twice");
    note("invokes the task of", record.key);
    return true;
  }
  void stoppable() {
    about const mine(doing::stopping, &record);
    core::stoppable(*this);
    require(record.stop_decided || !inspector::asked_to_stop(*this),
            "doomed, and nobody looked whether to ask the task");
  }
  void settle(cause why, cd::waiter<platform>* own = nullptr) {
    about const mine(doing::settling, &record);
    note("settles", record.key);
    require(++record.settled == 1, "settled twice");
    core::settle(
        *this, why,
        why == cause::resolved ? std::shared_ptr<void const>(anchor, &record) : std::shared_ptr<void const>(),
        why == cause::rejected ? task_error : std::exception_ptr(), own);
  }

  char key_;
};

void start_nested(std::size_t place, char key);

/// The call is no longer entering: it returned, or its caller has gone on already.
inline void entered(call_record& c) {
  if (!std::exchange(c.entering, false)) return;
  --now.entering;
  fibers.wake();
}

class test_call final : public cd::waiter<platform> {
 public:
  /// A thread that waits is prompt, and so is who has asked for no other executor.
  explicit test_call(call_record& r) : waiter(!is_callback(r.kind) && r.kind != 'G'), record(r) {
    record.node = this;
  }
  ~test_call() override { record = {}; }

  /// Two places; the callers of one take those that were released with them along.
  [[nodiscard]] void const* place() const noexcept override {
    static constexpr std::array<char, 2> places{};
    return record.kind == 'R' || record.kind == 'V' ? &places[0]
           : record.kind == 'A' || record.kind == 'I' || record.kind == 'O' || record.kind == 'G' ||
                   record.kind == 'F'
               ? &places[1]
               : nullptr;
  }

  [[nodiscard]] bool hand_over(waiters& others) noexcept override {
    outside_of_locks("a hand-over under a lock");
    if (is_callback(record.kind) || record.kind == 'G')
      on_no_thread_that_keeps_time("a callback or coroutine goes on on the thread that keeps time");
    if (now.refusals && record.kind != 'G' && fibers.decide(2)) {
      --now.refusals;
      note("refuses a hand-over");
      return false;
    }
    // A turn may take long: nobody who needs none may still be waiting then (rules 33, 35), unless it is
    // given by another thread than the one that releases the flight's callers, because this one leaves.
    if (auto& f = static_cast<test_flight&>(*joined());
        is_callback(record.kind) && !waits_shortly(record.kind) && !record.leave_asked)
      require(!inspector::prompt_queued(f), "a caller that needs no turn waits for another's");
    give_turn();
    if (record.kind == 'R')
      while (auto* const other = static_cast<test_call*>(others.pop_front())) {
        require(other->place() == place(), "released together with somebody of another place");
        other->give_turn();
      }
    if (is_callback(record.kind)) {
      go_on();
    } else {
      fibers.wake();
    }
    fibers.point();
    return true;
  }

  /// The caller has its outcome.
  void go_on() {
    call_record& c = record;
    c.live = false;
    std::uint32_t const mine = std::uint32_t{1} << now.me();
    fibers.wait([&] { return (c.leavers & ~mine) == 0; });
    read_outcome();
    core::finish(*this);
    bool const again = c.kind == 'A' && !c.nested;
    char const key = c.key;
    auto const place = static_cast<std::size_t>(&c - now.call.data());
    delete this;
    ++now.completed;
    if (again && !now.destroyed) start_nested(place + world::nested_from, key);
  }

  call_record& record;

 private:
  void give_turn() {
    require(!record.turn, "a caller is resumed twice");
    record.turn = true;
    entered(record);
  }

  void read_outcome() {
    note("goes on", record.kind);
    auto& f = static_cast<test_flight&>(*joined());
    require(!record.joined || &f.record == record.joined, "another flight's outcome");
    if (how_left() == cd::departure::left)
      return require(record.leave_asked, "left without having been asked to");
    if (how_left() == cd::departure::wait_timed_out)
      return require(waits_shortly(record.kind), "timed out without a limit");
    flight_record& r = f.record;
    require(r.closed && f.why() == r.why, "an outcome that was not decided under the lock");
    require(!(record.closed_before >> (&r - now.flight.data()) & 1),
            "an outcome of a flight that nobody could join when the call began");
    auto const value = f.why() == cause::rejected ? nullptr : core::take_value(f);
    require((f.why() == cause::resolved) == (value != nullptr), "a value without success, or none");
    if (value) require(value.get() == &r, "another flight's value");
    if (f.why() == cause::rejected) require(f.exception() == task_error, "another exception");
    ++r.outcomes;
    if (!now.with.events) return;
    if (!cd::doomed(r.why))
      require(r.word == 3 && !r.delivering, "a caller goes on before the flight's last event was delivered");
    if (record.hit) require(record.hit_seen, "a joiner goes on before its hit was delivered");
  }
};

/// Who drains; in no place of the world's, and no caller of a flight.
class test_drain final : public cd::waiter<platform> {
 public:
  test_drain() : waiter(true) {}

  [[nodiscard]] bool hand_over(waiters&) noexcept override {
    outside_of_locks("a hand-over under a lock");
    require(!turn, "who drains is resumed twice");
    if (now.refusals && fibers.decide(2)) {
      --now.refusals;
      note("refuses a hand-over");
      return false;
    }
    turn = true;
    fibers.wake();
    fibers.point();
    return true;
  }

  void go_on() {
    require(joined()->why() == cause::resolved, "a drain that has no answer");
    bool const quiet = *core::take_value<bool>(*joined());
    note(quiet ? "has drained" : "has not drained");
    if (quiet) {
      for (flight_record const& r : now.flight)
        require(!r.alive || !inspector::admitted(*r.alive) || inspector::is_over(*r.alive),
                "a drain ends while a flight is up");
    } else {
      require(now.destroyed || now.limited, "a drain gives up");
    }
    core::finish(*this);
  }

  bool turn = false;
};

/// Enters and, as leader, starts the task. Null: the call is through already.
inline test_call* enter(char kind, char key, std::size_t place) {
  call_record& c = now.call[place];
  require(c.node == nullptr, "a place is taken");
  ++now.begun;
  c.kind = kind;
  c.key = key;
  c.nested = place >= world::nested_from;
  c.late = now.closed_group;
  c.closed_before = kind == 'P' ? now.admitted_flights() : now.closed_flights();
  auto* const node = new test_call(c);
  using std::chrono::nanoseconds;
  std::any const metadata = static_cast<int>(place);
  bool const nested = c.nested;
  cd::rare_options rare;
  if (kind == 'P') rare.not_before = nanoseconds(clock::ticks);
  bool const ready = nested || kind == 'K' || kind == 'V' || kind == 'W' || kind == 'G';
  cd::call const described{static_cast<std::uint64_t>(key - 'a'),
                           &typeid(int),
                           times_out(kind) ? nanoseconds(10) : cd::no_limit,
                           waits_shortly(kind) ? nanoseconds(10) : cd::no_limit,
                           &metadata,
                           kind == 'P' ? &rare : nullptr,
                           ready,
                           kind == 'G'};
  auto const same = [key](cd::flight<platform> const& f) {
    return static_cast<test_flight const&>(f).record.key == key;
  };
  ++now.entering;
  c.entering = true;
  cd::entry answer;
  test_flight* built = nullptr;
  {
    about const mine(doing::entering);
    now.supersedes[now.me()] = 0;
    core::unseen_flight fresh;
    answer = now.flights->enter(described, *node, fresh, same, [&] {
      outside_of_locks("a flight is built under a lock");
      flight_record& r = now.flight[place];
      r.key = key;
      r.kind = kind;
      return built = new test_flight(r, metadata);
    });
    require(now.supersedes[now.me()] == 0 || (answer.how == cd::admission::leads && kind == 'P'),
            "a call has superseded a flight and does not lead");
    using enum cacheflight::event_type;
    if (answer.how == cd::admission::at_capacity || answer.how == cd::admission::closed)
      now.flights->report_refusal({&key, &typeid(char), std::string_view(&key, 1)}, described, fresh,
                                  answer.how == cd::admission::closed ? closed_rejected : max_keys_rejected);
  }
  entered(c);
  if (answer.how == cd::admission::at_capacity) {
    ++now.expected.misses;
    ++now.expected.max_keys_rejected;
    require(now.with.max_keys != 0, "refused without a cap");
    ++now.completed;
    delete node;
    return nullptr;
  }
  if (answer.how == cd::admission::closed) {
    ++now.expected.misses;
    ++now.expected.closed_rejected;
    require(now.closes_group, "refused by a group that nobody has closed");
    ++now.completed;
    delete node;
    return nullptr;
  }
  bool const gone = answer.suspended && is_callback(kind);  // perhaps, and another call may be at its place
  if (!gone) {
    c.joined = &static_cast<test_flight&>(*node->joined()).record;
    require(c.joined->key == key, "joined another key's flight");
    c.closed_before &= std::uint32_t{1} << (c.joined - now.flight.data());
    c.live = true;
  }
  if (answer.how == cd::admission::leads) {
    ++now.expected.misses;
    ++now.expected.started;
    require(++built->record.leaders == 1, "two leaders");
    require(gone || !c.late, "a closed group starts a flight");
    note("leads", key);
    built->start(nested ? 'I' : kind, *node);
  } else {
    ++now.expected.hits;
    if (!gone) c.hit = true;
    note("joins", key);
  }
  if (gone) return nullptr;
  if (answer.suspended) return node;
  if (now.with.events) fibers.point();
  if (core::arm(*node)) return node;
  node->go_on();
  return nullptr;
}

inline void start_nested(std::size_t place, char key) { (void)enter('A', key, place); }

inline void wait_for_turn(call_record& c) {
  fibers.wait([&] { return c.turn; });
}

inline void operation(char letter, std::size_t place) {
  char const key = letter >= 'a' ? 'b' : 'a';
  char const kind = static_cast<char>(letter >= 'a' ? letter - 'a' + 'A' : letter);
  if (now.destroyed) return;
  if (calls_among.find(kind) != std::string_view::npos) {
    test_call* const node = enter(kind, key, place);
    if (!node || is_callback(kind)) return;
    call_record& c = node->record;
    if (kind != 'V') {
      wait_for_turn(c);
      return node->go_on();
    }
    fibers.point();
    c.live = false;
    fibers.wait([&] { return c.leavers == 0; });
    about const mine(doing::leaving);
    if (!core::withdraw(*node)) {
      wait_for_turn(c);
      core::finish(*node);
    }
    note("vanishes");
    delete node;
    ++now.completed;
    return;
  }
  if (kind == 'D' || kind == 'E') {
    fibers.wait([] { return now.entering == 0; });
    if (now.destroyed) return;
    about const mine(doing::clearing);
    note("destroys the group");
    now.destroyed = true;
    now.booked = kind == 'D';
    if (now.booked) now.flights->retain();  // for the books
    driver::lets_go = now.me();
    now.flights->let_go();
    driver::lets_go = scheduler::max_fibers;
    now.gone = true;
    fibers.wake();
    return;
  }
  ++now.entering;
  switch (kind) {
    case 'L':
      for (call_record& c : now.call) {
        if (!c.live || c.kind == 'O' || c.kind == 'G') continue;
        about const mine(doing::leaving);
        note("makes leave", c.kind);
        c.leave_asked = true;
        c.leavers |= std::uint32_t{1} << now.me();
        core::leave(*c.node);
        require(!c.node || core::released(*c.node), "who is made to leave does not leave at once");
        c.leavers &= ~(std::uint32_t{1} << now.me());
        break;
      }
      break;
    case 'C': {
      about const mine(doing::cancelling);
      note("cancels", key);
      bool const did = now.flights->cancel(static_cast<std::uint64_t>(key - 'a'), [key](auto const& f) {
        return static_cast<test_flight const&>(f).record.key == key;
      });
      require(mine.closed() == (did ? 1 : 0), "cancel() returned something else than what it did");
      break;
    }
    case 'S': {
      about const mine(doing::superseding);
      note("supersedes", key);
      (void)now.flights->supersede(static_cast<std::uint64_t>(key - 'a'), [key](auto const& f) {
        return static_cast<test_flight const&>(f).record.key == key;
      });
      break;
    }
    case 'Y': {
      about const mine(doing::superseding);
      note("supersedes all");
      std::uint32_t const before = now.admitted_flights();
      now.flights->supersede_all();
      require((before & now.admitted_flights() & ~now.closed_flights()) == 0,
              "supersede() left a flight joinable");
      break;
    }
    case 'Z': {
      about const mine(doing::clearing);
      note("clears");
      std::array<std::uint64_t, world::places> open{};
      for (std::size_t i = 0; i < open.size(); ++i)
        if (flight_record const& r = now.flight[i]; r.alive && inspector::admitted(*r.alive) && !r.closed)
          open[i] = inspector::id(*r.alive);
      now.flights->clear();
      for (std::size_t i = 0; i < open.size(); ++i)
        if (flight_record const& r = now.flight[i]; open[i] && r.alive && inspector::id(*r.alive) == open[i])
          require(r.closed, "clear() left a flight joinable");
      break;
    }
    case 'X': {
      note("closes the group");
      now.closes_group = true;
      now.flights->close();
      require(now.flights->closed(), "close() does not close");
      now.closed_group = true;
      break;
    }
    case 'M':
    case 'J': {
      note("drains");
      now.closes_group = true;
      if (kind == 'J') now.limited = true;
      auto drain = std::make_unique<test_drain>();
      now.flights->drain(*drain, std::make_unique<cd::drain_flight<platform>>(),
                         kind == 'J' ? std::chrono::nanoseconds(10) : cd::no_limit, false);
      now.closed_group = true;
      --now.entering;
      fibers.wake();
      if (core::arm(*drain)) fibers.wait([&] { return drain->turn; });
      return drain->go_on();
    }
    default: violation("no such operation");
  }
  --now.entering;
  fibers.wake();
}

// ---- checks -----------------------------------------------------------------------------------------------

/// At the end of each critical section, still inside; and within one before anybody can see what it has done
/// so far.
inline std::uint32_t world::admitted_flights() const {
  std::uint32_t admitted = 0;
  for (std::size_t i = 0; i < flight.size(); ++i)
    if (flight[i].alive && inspector::admitted(*flight[i].alive)) admitted |= std::uint32_t{1} << i;
  return admitted;
}

inline void look(bool inside) {
  if (!now.flights || driver::alive == 0) return;
  std::array<int, 2> open{};
  std::size_t joinable = 0, superseded = 0;
  std::size_t const me = now.me();
  for (flight_record& r : now.flight) {
    if (!r.alive || !inspector::admitted(*r.alive)) continue;
    test_flight const& f = *r.alive;
    cause const why = f.why();
    if (inspector::superseded(f) != r.superseded) {
      require(!r.superseded && why == cause::open,
              "a flight is joinable again, or was superseded at its end");
      doing const does = now.does[me];
      require(does == doing::superseding || does == doing::entering, "superseded by nobody");
      r.superseded = true;
      ++now.supersedes[me];
      note("is superseded", r.key);
    }
    if (why == cause::open) {
      ++(r.superseded ? superseded : joinable);
      if (inside) continue;
      require(!r.closed, "a flight was opened again");
      require(inspector::waiters(f) > 0, "a joinable flight that nobody waits for");
      require(!inspector::nobody_queued(f), "waiters are counted that are not queued");
      require(!inspector::unwound(f), "the task has unwound and the flight is open");
      if (r.superseded) continue;
      require(++open[static_cast<std::size_t>(r.key - 'a')] == 1, "two joinable flights for one key");
    } else if (!r.closed) {
      r.closed = true;
      r.why = why;
      // Asked by who closes it, if it can be asked by then; else by who makes it so.
      if (inspector::asked_to_stop(f)) r.stop_decided = r.stop_due = true;
      ++now.closes[me];
      note("closes", r.key);
      doing const does = now.does[me];
      if (why == cause::timed_out) {
        require(does == doing::timing && times_out(r.kind), "timed out by nobody");
        ++now.expected.timed_out;
      } else if (why == cause::cancelled) {
        bool const alone = inspector::waiters(f) == 0;
        require((does == doing::cancelling && !r.superseded) ||
                    ((does == doing::leaving || does == doing::timing) && alone),
                "cancelled by nobody");
        ++now.expected.cancelled;
      } else if (why == cause::drained) {
        require(now.limited && (does == doing::helping || does == doing::clearing), "drained by nobody");
        ++now.expected.cancelled;
      } else if (why == cause::cleared || why == cause::destroyed) {
        require(does == doing::clearing && now.destroyed == (why == cause::destroyed), "cleared by nobody");
        ++now.expected.cancelled;
      } else {
        require(does == doing::settling && now.settles[me] == &r, "settled by another flight's task");
        why == cause::resolved ? ++now.expected.resolved : ++now.expected.rejected;
      }
    } else {
      require(r.why == why, "an outcome was changed");
    }
    if (!r.stop_decided && inspector::asked_to_stop(f) && now.does[me] == doing::stopping &&
        now.settles[me] == &r) {
      r.stop_decided = true;
      r.stop_due = !inspector::unwound(f);
    }
  }
  require(inspector::joinable(*now.flights) == joinable,
          "the table has another number of flights than are joinable");
  require(inspector::superseded(*now.flights) == superseded,
          "another number of flights are counted as superseded");
  if (now.with.max_keys) require(joinable <= now.with.max_keys, "more keys in flight than max_keys");
}

inline void on_event(cacheflight::event const& e) {
  using enum cacheflight::event_type;
  outside_of_locks("an event under a lock");
  on_no_thread_that_keeps_time("an event is delivered on the thread that keeps time");
  require(!now.gone, "an event after the group has gone");
  note(to_string(e.type));
  auto const index = static_cast<std::size_t>(*std::any_cast<int>(&e.metadata));
  call_record& c = now.call[index];
  auto const& leaders = e.leader_metadata;
  if (e.flight_id == 0) {
    require(!leaders.has_value(), "the metadata of a leader that there is not");
    require(e.type == miss || e.type == max_keys_rejected || e.type == closed_rejected,
            "an event without a flight");
    return;
  }
  flight_record* r = nullptr;
  for (flight_record& each : now.flight)
    if (each.alive && inspector::admitted(*each.alive) && inspector::id(*each.alive) == e.flight_id)
      r = &each;
  require(r != nullptr, "an event of no flight");
  require(*std::any_cast<int>(&leaders) == static_cast<int>(r - now.flight.data()),
          "another metadata than the leader's");
  require(e.key.size() == 1 && e.key[0] == r->key, "an event with another key");
  bool const end = e.type != hit && e.type != miss && e.type != task_started;
  if (e.type == hit) {
    require(r->word < 3, "a hit after the flight's end");
    ++r->delivering_hits;
  } else {
    require(r->delivering == 0, "two events of a flight are delivered at once");
    ++r->delivering;
    require(e.type == miss           ? r->word == 0
            : e.type == task_started ? r->word == 1
                                     : r->word == 2,
            "events out of order");
  }
  if (end) {
    require(r->delivering_hits == 0, "the last event while a hit is being delivered");
    require(r->closed, "the last event of a joinable flight");
    require(cd::doomed(r->why) || r->outcomes == 0, "a caller went on before the last event");
    auto const type = r->why == cause::resolved    ? task_resolved
                      : r->why == cause::timed_out ? task_timed_out
                      : cd::doomed(r->why)         ? task_cancelled
                                                   : task_rejected;
    require(e.type == type, "the last event tells another story");
    require((e.error != nullptr) == (type == task_rejected), "an error where there is none, or none");
  }
  fibers.point();
  require(!now.gone, "the group has gone in the middle of an event");
  if (end && c.kind == 'N' && !now.destroyed) {
    ++now.entering;
    about const mine(doing::cancelling);
    auto const same = [&](auto const& f) { return static_cast<test_flight const&>(f).record.key == c.key; };
    (void)now.flights->cancel(static_cast<std::uint64_t>(c.key - 'a'), same);
    (void)now.flights->has(static_cast<std::uint64_t>(c.key - 'a'), same);
    --now.entering;
    fibers.wake();
  }
  if (e.type == hit) {
    c.hit_seen = true;
    --r->delivering_hits;
  } else {
    ++r->word;
    --r->delivering;
  }
  if (c.kind == 'H') {
    ++now.expected.callback_failures;
    throw 1;
  }
}

inline void driver::give_job() {
  if (now.closing) return;  // close() drives it
  fibers.give(fiber, [] {
    about const mine(doing::timing);
    while (!now.over && up && due != never) round();
    has_job = false;
  });
}

inline void driver::give_help() {
  if (now.closing) return help();  // close() drives it
  fibers.give(helper, [] {
    about const mine(doing::helping);
    if (up) help();
    else has_help = false;
  });
}

/// What should be counted, in the order of `inspector::books`.
inline std::array<std::uint64_t, 8> counts_of(cacheflight::statistics const& s) {
  return {s.hits,      s.misses,    s.resolved,          s.rejected,
          s.timed_out, s.cancelled, s.max_keys_rejected, s.closed_rejected};
}

/// What lives and what has ended grow with what has been; what matters is their difference.
struct countdown_numbers {
  std::uint64_t living = 0;
  std::int64_t left = 0;

  void hide(std::uint64_t& of, cd::countdown& ended) {
    static_assert(sizeof ended == sizeof left);
    living = of;
    std::memcpy(&left, static_cast<void*>(&ended), sizeof left);
    // Until it is closed their sum, then the second alone. Whether it is watched is known elsewhere, too.
    constexpr std::int64_t watching = std::int64_t{1} << 62;
    if (left > watching / 2) {
      bool const is_closed = left > watching;
      (is_closed ? countdown_numbers{0, left}
                 : countdown_numbers{living + static_cast<std::uint64_t>(left - watching), watching})
          .write(of, ended);
      return;
    }
    (left > 0 ? countdown_numbers{0, left} : countdown_numbers{living + static_cast<std::uint64_t>(left), 0})
        .write(of, ended);
  }
  void write(std::uint64_t& to, cd::countdown& ended) const {
    to = living;
    std::memcpy(static_cast<void*>(&ended), &left, sizeof left);
  }
};

/// What tells states apart without a consequence is hidden while the state is read: how many flights there
/// were.
struct hidden {
  std::array<std::array<std::uint64_t, 8>, 2> books;
  cacheflight::statistics expected;
  std::array<std::uint64_t, world::places> ids;
  std::array<countdown_numbers, 2> living;
  int begun, completed;

  void hide() {
    expected = std::exchange(now.expected, {});
    now.expected.callback_failures = expected.callback_failures;
    for (std::size_t i = 0; driver::alive && i < platform::shard_count; ++i) {
      // Only the difference of what is counted and what should be matters.
      auto const counts = inspector::books(*now.flights, i);
      auto const should_be = counts_of(expected);
      for (std::size_t n = 0; n < counts.size(); ++n) {
        books[i][n] = *counts[n];
        if (i == 0) *counts[n] -= should_be[n];
      }
      living[i].hide(inspector::living(*now.flights, i), inspector::ended(*now.flights, i));
    }
    begun = std::exchange(now.begun, now.begun - now.completed);
    completed = std::exchange(now.completed, 0);
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (auto* const f = now.flight[i].alive) ids[i] = std::exchange(inspector::id(*f), 0);
  }
  void show() {
    now.expected = expected;
    for (std::size_t i = 0; driver::alive && i < platform::shard_count; ++i) {
      for (std::size_t n = 0; n < books[i].size(); ++n) *inspector::books(*now.flights, i)[n] = books[i][n];
      living[i].write(inspector::living(*now.flights, i), inspector::ended(*now.flights, i));
    }
    now.begun = begun;
    now.completed = completed;
    for (std::size_t i = 0; i < ids.size(); ++i)
      if (auto* const f = now.flight[i].alive) inspector::id(*f) = ids[i];
  }
};
inline hidden secret;

/// Tells all state there is besides stacks and heap.
inline void declare_globals() {
  fibers.globals = {{&now, sizeof now},
                    {&mutex::holders, sizeof mutex::holders},
                    {&driver::work, sizeof driver::work},
                    {&driver::due, sizeof driver::due},
                    {&driver::up, 1},
                    {&driver::running, 1},
                    {&driver::closed, 1},
                    {&driver::has_job, 1},
                    {&driver::has_help, 1},
                    {&driver::told, 1},
                    {&driver::keeps_time, sizeof driver::keeps_time},
                    {&driver::helping, sizeof driver::helping},
                    {&driver::lets_go, sizeof driver::lets_go},
                    {&clock::ticks, sizeof clock::ticks}};
  for (auto const& [memory, size] : {std::pair<void*, std::size_t>(&driver::alive, sizeof driver::alive),
                                     {&anchor, sizeof anchor},
                                     {&task_error, sizeof task_error}})
    fibers.globals.emplace_back(memory, size);
  fibers.hide = [] { secret.hide(); };
  fibers.show = [] { secret.show(); };
}

inline void check_the_books() {
  cacheflight::statistics const s = now.flights->stats();
  cacheflight::statistics const& e = now.expected;
  require(s.hits == e.hits && s.misses == e.misses && s.started == e.started && s.resolved == e.resolved &&
              s.rejected == e.rejected && s.timed_out == e.timed_out && s.cancelled == e.cancelled &&
              s.max_keys_rejected == e.max_keys_rejected && s.closed_rejected == e.closed_rejected &&
              s.callback_failures == e.callback_failures,
          "the books tell another story");
  require(s.started == s.resolved + s.rejected + s.timed_out + s.cancelled, "the books do not balance");
  require(
      s.in_flight == 0 && s.superseded == 0 && s.waiters == 0 && s.detached == 0 && now.flights->size() == 0,
      "something is left at rest");
  now.flights->release();
}

inline void check_at_the_end() {
  require(now.completed == now.begun, "a call did not complete, or twice");
  for (flight_record const& r : now.flight) require(r.alive == nullptr, "a flight is still there");
  if (now.booked) check_the_books();
  now.flights = nullptr;
  require(driver::alive == 0, "the core is still there");
  require(anchor.use_count() == 1, "a value is still there");
}
/// What follows the program: what was refused is tried again, the group goes, and nothing is left.
inline void close() {
  while (driver::up && driver::due != driver::never) driver::round();
  if (!now.destroyed) {
    now.destroyed = true;
    now.flights->retain();
    about const mine(doing::clearing);
    now.flights->let_go();
  }
  while (driver::up) driver::round();
  check_at_the_end();
  anchor = nullptr;
  task_error = nullptr;
}

/// All threads are through: the deadline thread ends, then `close()`.
inline bool next_phase() {
  if (!std::exchange(now.over, true)) {
    fibers.no_daemons();
    return true;
  }
  if (std::exchange(now.closing, true)) return false;
  fibers.give(scheduler::max_fibers - 1, [] { close(); });
  return true;
}

/// The program's first state.
inline void begin(program const& p, setup const& with, bool trace = false) {
  fibers.begin();
  arena::reset();
  new (&now) world{};
  new (&anchor) std::shared_ptr<int const>();
  now.what = &p;
  now.with = with;
  now.trace = trace;
  now.refusals = with.refusals;
  mutex::holders = 0;
  driver::reset();
  driver::alive = 0;
  clock::ticks = 1000;

  arena::active = true;
  anchor = std::make_shared<int const>(0);
#ifndef CACHEFLIGHT_TEST_ASAN
  new (&task_error) std::exception_ptr();  // its memory was the arena's
#endif
  task_error = std::make_exception_ptr(1);
  {
    cacheflight::options opts;
    if (with.max_keys) opts.max_keys(with.max_keys);
    if (with.events) opts.on_event(on_event);
    now.flights = new core(std::move(opts));
  }
  for (std::size_t i = 0; i < p.count; ++i)
    fibers.give(i, [i] {
      std::string const& body = now.what->threads[i];
      for (std::size_t j = 0; j < body.size(); ++j)
        operation(body[j], i * (world::nested_from / now.what->count) + j);
    });
  fibers.daemon(driver::fiber);
  arena::active = false;
}

/// Goes on, along the choices. False: cut off in a known state.
inline bool go_on() {
  arena::active = true;
  bool const whole = fibers.run();
  arena::active = false;
  return whole;
}

}  // namespace schedule
