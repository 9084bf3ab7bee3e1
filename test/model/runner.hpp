// SPDX-License-Identifier: MIT
#pragma once

// Runs a program against a group and the model at once, and compares after every operation. What depends on
// the front is in the classes derived from this one.

#include "model.hpp"
#include "platform.hpp"
#include "program.hpp"

#include <any>
#include <array>
#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <typeinfo>

namespace cacheflight_model {

struct task_failed : std::exception {
  char const* what() const noexcept override { return "the task failed"; }
};
struct callback_threw : std::exception {};
struct build_failed : std::exception {};
struct turn_refused : std::exception {};

class runner {
 public:
  runner() = default;
  runner(runner const&) = delete;
  runner& operator=(runner const&) = delete;
  virtual ~runner() = default;

  /// False: the contract was violated, `wrong()` says how, and this object must not be used, nor destroyed,
  /// any more.
  bool run(program const& p) {
    begin(p);
    for (std::size_t i = 0; i < p.operations.size() && !model_.wrong; ++i) {
      operation const& o = p.operations[i];
      if (o.kind() != code::hook) apply(o);
      else if (++i < p.operations.size()) set_hook(o, p.operations[i]);
    }
    if (!model_.wrong) finish(p);
    return !model_.wrong;
  }
  [[nodiscard]] char const* wrong() const noexcept { return model_.wrong; }
  [[nodiscard]] std::uint64_t operations() const noexcept { return operations_; }

  /// After a violation, for the next runner.
  static void forget() {
    here = {};
    clock::ticks = 0;
    answer::alive = 0;
  }

 protected:
  static constexpr nanos tick = 1'000'000;
  static constexpr nanos retry_within = 1'000'000;

  // ---- what a front does ----------------------------------------------------------------------------------

  /// Makes the call; `entered`, and so on, follow from inside.
  virtual void do_run(int c, std::string key, cacheflight::run_options opts) = 0;
  virtual void do_settle(int flight, ending how, int number) = 0;
  virtual void do_leave(int c) = 0;
  virtual void do_vanish(int c, stage was) = 0;
  virtual void do_arm(int) {}
  virtual void do_turn(int c) = 0;
  [[nodiscard]] virtual bool can_vanish(int c) const = 0;
  /// Tells when a flight is made, and can refuse stop requests.
  [[nodiscard]] virtual bool by_hand() const { return false; }
  [[nodiscard]] virtual int flights_alive() const { return model_.flights_alive(); }

  // ---- what a front tells ---------------------------------------------------------------------------------

  /// A flight is being made; throws if that shall fail.
  void building(int c) {
    unlocked();
    fire(place::build);
    if (fail_build_) {
      fail_build_ = false;
      model_.admit(c, verdict::no_memory);
      throw build_failed();
    }
    model_.admit(c, model_.decide(c));
  }

  /// The call is in: it waits, or has failed.
  void entered(int c) {
    if (entering() != c) return model_.violated("a call that was not entering has entered");
    check_report(c);
    --entering_count_;
    model_.entered(c);
  }
  /// The last one that has not entered yet.
  [[nodiscard]] int entering() const noexcept {
    return entering_count_ == 0 ? no_one : entering_[static_cast<std::size_t>(entering_count_ - 1)];
  }
  [[nodiscard]] bool is_entering(int c) const noexcept { return model_.of(c).at == stage::entering; }

  /// The caller's executor is asked. Returns whether it takes the turn.
  [[nodiscard]] bool handed(int c) {
    is_released(c);
    bool const refuses = refuse_turns_ > 0;
    if (refuses) --refuse_turns_;
    model_.asked_to_take_turn(c, refuses);
    return !refuses;
  }

  /// The caller goes on where it is released; nobody is asked.
  void goes_on(int c) {
    is_released(c);
    model_.asked_to_take_turn(c, false);
  }

  void completed(int c, result const& got) {
    unlocked();
    model_.completed(c, got);
    observed();
    fire(place::turn);
  }

  /// Returns whether the stop request is taken.
  [[nodiscard]] bool asked_to_stop(int i) {
    unlocked();
    if (expires_here()) {
      if (model_.at(i).stop_refused) model_.expire_all();
      while (!model_.may_be_asked_to_stop(i) && model_.expire_one()) {
      }
    }
    bool const refuses = refuse_stops_ > 0;
    if (refuses) --refuse_stops_;
    model_.asked_to_stop(i, refuses);
    if (refuses) return false;
    fire(place::stop);
    if (plan_of(i).does() == run_plan::task::obeys && parked_[static_cast<std::size_t>(i)])
      settle(i, ending::error, next_error());
    return true;
  }

  /// The task runs: what is done inside it. Returns how it ends at once; `open` if it waits.
  [[nodiscard]] ending in_task(int i) {
    unlocked();
    observed();
    fire(place::task);
    switch (plan_of(i).does()) {
      case run_plan::task::value_at_once: return ending::value;
      case run_plan::task::error_at_once: return ending::error;
      default: return ending::open;
    }
  }

  void settle(int i, ending how, int number) {
    parked_[static_cast<std::size_t>(i)] = false;
    model_.settle(i, how, number);
    do_settle(i, how, number);
  }

  void fire(place where, int filter = -1) {
    if (quiet_ || model_.wrong) return;
    hooks& list = hooks_[static_cast<std::size_t>(where)];
    for (std::size_t i = 0; i < list.count;) {
      hook const h = list.all[i];
      if (h.filter != any_event && filter >= 0 && h.filter != filter) {
        ++i;
        continue;
      }
      for (std::size_t j = i + 1; j < list.count; ++j) list.all[j - 1] = list.all[j];
      --list.count;
      apply(h.then);
      if (model_.wrong) return;
    }
  }

  void unlocked() {
    if (here.held || here.locked_twice) model_.violated("rule 5: user code under a lock");
  }

  [[nodiscard]] static std::string_view name(int key) noexcept {
    static constexpr std::array<std::string_view, key_count> names{"user:0", "user:1", "user:2", "user:3"};
    return names[static_cast<std::size_t>(key)];
  }

  /// Rule 46: it is written when the call enters, or is refused.
  void check_report(int c) {
    using cacheflight::call_role;
    call const& me = model_.of(c);
    cacheflight::call_report const& r = reports_[static_cast<std::size_t>(c)];
    bool const joins = me.answer == verdict::joins, leads = me.answer == verdict::leads;
    bool const unseen = me.answer == verdict::no_thread || me.answer == verdict::no_memory;
    model_.expect(r.role == (joins    ? call_role::joined
                             : leads  ? call_role::led
                             : unseen ? call_role::none
                                      : call_role::refused),
                  "rule 46: a report of another role");
    if (me.flight == no_one)
      return model_.expect(r.flight_id == 0 && r.waiters == 0 && !r.began, "rule 46: a report of no flight");
    flight const& f = model_.at(me.flight);
    model_.expect(r.flight_id != 0 && (!model_.events || r.flight_id == f.id),
                  "rule 46: a report with another flight's id");
    model_.expect(r.waiters == static_cast<std::size_t>(joins ? me.waiters_at_join : 1),
                  "rule 46: a report with another number of waiters");
    model_.expect(r.began.has_value() == f.noted &&
                      (!f.noted || r.began->time_since_epoch() == std::chrono::nanoseconds(f.started)),
                  "rule 46: a report of another beginning");
  }

  // ---- errors ---------------------------------------------------------------------------------------------

  static constexpr int error_count = 4;
  [[nodiscard]] static std::exception_ptr const& error(int number) {
    static std::array<std::exception_ptr, error_count> const all = [] {
      std::array<std::exception_ptr, error_count> made;
      for (auto& e : made) e = std::make_exception_ptr(task_failed());
      return made;
    }();
    return all[static_cast<std::size_t>(number - 1)];
  }
  /// Which of `error(…)`; 0 if none of them.
  [[nodiscard]] static int which_error(std::exception_ptr const& e) {
    for (int i = 1; i <= error_count; ++i)
      if (e == error(i)) return i;
    return 0;
  }
  [[nodiscard]] int next_error() noexcept { return 1 + static_cast<int>(++serial_ % error_count); }
  [[nodiscard]] int next_value() noexcept { return static_cast<int>(++serial_); }

  [[nodiscard]] run_plan const& plan(int c) const { return plans_[static_cast<std::size_t>(c)]; }
  [[nodiscard]] run_plan const& plan_of(int i) const { return flight_plans_[static_cast<std::size_t>(i)]; }
  void set_plan_of(int i, run_plan p) { flight_plans_[static_cast<std::size_t>(i)] = p; }
  void park(int i) { parked_[static_cast<std::size_t>(i)] = true; }

  model model_;
  std::optional<group_type> group_;
  bool inline_turns_ = false;

 private:
  static constexpr int any_event = 8;
  struct hook {
    int filter;
    operation then;
  };
  struct hooks {
    std::array<hook, 4> all;
    std::size_t count = 0;
  };

  void begin(program const& p) {
    here.shards = p.shards();
    here.one_hash = p.one_hash();
    here.refuse_threads = 0;
    here.rouses = 0;
    here.last_rouse_failed = false;
    model_.max_keys = p.max_keys();
    model_.events = p.events();
    default_timeout_ = p.default_timeout() ? 3 * tick : never;
    inline_turns_ = p.inline_turns();
    set_now(1'000'000'000);
    refuse_turns_ = refuse_stops_ = 0;
    throw_next_ = fail_build_ = false;
    serial_ = 0;
    for (auto& list : hooks_) list.count = 0;
    make_group();
  }

  void make_group() {
    cacheflight::options opts;
    if (model_.max_keys) opts.max_keys(static_cast<std::size_t>(model_.max_keys));
    if (default_timeout_ != never) opts.default_timeout(std::chrono::nanoseconds(default_timeout_));
    if (model_.events) opts.on_event([this](cacheflight::event const& e) { on_event(e); });
    group_.emplace(std::move(opts));
    core_ = &cacheflight::detail::access::core(*group_);
    model_.begin();
  }

  void set_now(nanos when) { clock::ticks = model_.now = when; }

  // ---- operations -----------------------------------------------------------------------------------------

  void apply(operation const& o) {
    bool const outermost = depth_++ == 0;
    int const rouses = here.rouses;
    if (outermost) {
      model_.operation_begins();
      set_now(model_.now + 1);
    }
    bool const tries_again = perform(o);
    --depth_;
    observed();
    if (outermost) between_operations(o.kind() == code::pass, tries_again && here.rouses == rouses);
  }

  /// Returns whether the core has had occasion to call for the deadline thread once more.
  bool perform(operation const& o) {
    switch (o.kind()) {
      case code::run: return run_call(o);
      case code::settle: return settle_one(o);
      case code::turn:
        if (int const c = pick(o.a, [](call const& w) { return w.at == stage::ready; }); c != no_one) {
          ++operations_;
          do_turn(c);
        }
        break;
      case code::leave: leave_one(o); break;
      case code::vanish: vanish_one(o); break;
      case code::arm:
        if (int const c = pick(o.a, [](call const& w) { return w.at == stage::linking && !w.busy; });
            c != no_one) {
          ++operations_;
          do_arm(c);
        }
        break;
      case code::cancel:
        if (has_group()) {
          ++operations_;
          int const key = o.a & 3;
          bool const there = model_.cancel(key);
          model_.expect(group_->cancel(name(key)) == there, "rule 13: cancel does not say what it did");
        }
        break;
      case code::supersede:
        if (has_group()) {
          ++operations_;
          int const key = o.a & 3;
          if (o.a & 4) {
            model_.supersede();
            group_->supersede();
          } else {
            bool const there = model_.supersede(key);
            model_.expect(group_->supersede(name(key)) == there,
                          "rule 49: supersede does not say what it did");
          }
        }
        break;
      case code::clear:
        if (has_group()) {
          ++operations_;
          bool const quiet = std::exchange(quiet_, quiet_ || here.shards > 1);
          model_.clear();
          group_->clear();
          quiet_ = quiet;
        }
        break;
      case code::pass: pass(o); break;
      case code::throw_next: throw_next_ = true; break;
      case code::refuse_turns: refuse_turns_ += 1 + (o.a & 3); break;
      case code::refuse_stops:
        if (by_hand()) refuse_stops_ += 1 + (o.a & 1);
        break;
      case code::refuse_threads: here.refuse_threads += 1 + (o.a & 1); break;
      case code::fail_build: fail_build_ = by_hand(); break;
      case code::destroy:
        if (has_group() && entering_count_ == 0) destroy();
        break;
      case code::hook: break;
    }
    return false;
  }

  [[nodiscard]] bool has_group() const noexcept { return group_ && !destroying_; }

  bool run_call(operation const& o) {
    if (!group_ && depth_ == 1 && model_.flights_alive() == 0 && !pick_any()) make_group();
    if (!has_group()) return false;
    int c = 0;
    while (c < call_count && (model_.of(c).at != stage::absent || model_.of(c).busy)) ++c;
    if (c == call_count || flight_count - model_.flights_alive() <= entering_count_) return false;
    ++operations_;

    run_plan const r{o.a, o.b};
    plans_[static_cast<std::size_t>(c)] = r;
    call& me = model_.begin_call(c);
    me.at = stage::entering;
    me.busy = true;
    me.key = r.key();
    me.other_type = r.other_type();
    me.serial = ++serial_;
    cacheflight::run_options opts;
    bool const timed = set_limits(r, me, opts);
    me.timed = timed || r.dated();
    me.entered = model_.now;
    if (r.dated()) {
      me.not_before = model_.now - (r.b & 1 ? tick : 0);
      opts.not_before(clock::time_point(std::chrono::nanoseconds(me.not_before)));
    }
    cacheflight::call_report& report = reports_[static_cast<std::size_t>(c)] = {};
    opts.report(report);
    if (r.metadata()) {
      me.metadata = static_cast<int>(me.serial);
      opts.metadata(std::any(me.metadata));
    }
    entering_[static_cast<std::size_t>(entering_count_++)] = c;
    bool const no_thread = timed && here.refuse_threads > 0;
    verdict const expected = no_thread ? verdict::no_thread : model_.decide(c);
    if (expected != verdict::leads || !by_hand()) model_.admit(c, expected);
    do_run(c, std::string(name(me.key)), std::move(opts));
    me.busy = false;
    return !no_thread;
  }

  /// Deadlines are all different, so that their order says what happens first; only a caller's own may be its
  /// flight's.
  bool set_limits(run_plan const& r, call& me, cacheflight::run_options& opts) {
    using std::chrono::nanoseconds;
    bool timed = false;
    int const kind = r.timeout();
    if (kind >= 1 && kind <= 5) {
      me.deadline = unused(model_.now + kind * tick, never);
      opts.timeout(nanoseconds(me.deadline - model_.now));
    } else if (kind == 7) {
      opts.timeout(nanoseconds(never - 1));
      timed = true;
    } else if (kind == 0 && default_timeout_ != never && due_depth_ == 0) {
      while (model_.is_deadline(model_.now + default_timeout_)) set_now(model_.now + 1);
      me.deadline = model_.now + default_timeout_;
    } else {
      opts.no_timeout();
    }
    int const wait = r.wait_timeout();
    if (wait >= 1 && wait <= 5) {
      me.wait_until = unused(model_.now + wait * tick, me.deadline);
    } else if (wait == 6) {
      int const f = model_.open_flight(me.key);
      nanos const with = f == no_one ? me.deadline : model_.at(f).deadline;
      if (with > model_.now) me.wait_until = with;
    }
    if (me.wait_until != never) opts.wait_timeout(nanoseconds(me.wait_until - model_.now));
    return timed || me.deadline != never || me.wait_until != never;
  }
  [[nodiscard]] nanos unused(nanos when, nanos other) const {
    while (when == other || model_.is_deadline(when)) ++when;
    return when;
  }

  bool settle_one(operation const& o) {
    int count = 0;
    for (bool p : parked_) count += p;
    if (count == 0) return false;
    ++operations_;
    int n = o.a % count;
    int i = 0;
    while (!parked_[static_cast<std::size_t>(i)] || n-- > 0) ++i;
    if ((o.b & 15) == 15) settle(i, ending::abandoned, abandoned_answer);
    else if (o.b & 2) settle(i, ending::error, next_error());
    else settle(i, ending::value, next_value());
    return true;
  }

  void leave_one(operation const& o) {
    int const c = pick(o.a, [](call const& w) {
      return w.flight != no_one &&
             (w.at == stage::linking || w.at == stage::waiting || w.at == stage::refused);
    });
    if (c == no_one) return;
    ++operations_;
    model_.leave(c, fate::left);
    do_leave(c);
  }

  void vanish_one(operation const& o) {
    int const c = pick(o.a, [this](call const& w) {
      return !w.busy && w.at != stage::entering && can_vanish(static_cast<int>(&w - model_.calls.data()));
    });
    if (c == no_one) return;
    ++operations_;
    call& me = model_.of(c);
    stage const was = me.at;
    if (me.flight != no_one) model_.leave(c, fate::left);
    me.busy = true;
    me.at = stage::entering;
    do_vanish(c, was);
    me.at = stage::absent;
    me.busy = false;
  }

  void pass(operation const& o) {
    if (due_depth_ != 0) return;
    ++operations_;
    nanos const next = model_.next_deadline();
    nanos until = model_.now;
    switch (o.a & 3) {
      case 0: until += 1 + o.b; break;
      case 1: until = next; break;
      case 2: until = next - 1; break;
      default: until += (1 + (o.b & 3)) * tick + o.b; break;
    }
    if (until != never && until != never - 1 && until > model_.now) set_now(until);
    if ((o.a & 4) == 0 && depth_ == 1) run_due();
  }

  void run_due() {
    if (!core_is_alive()) return;
    std::array<std::uint32_t, call_count> refused_calls{};
    std::array<bool, flight_count> refused_stops{};
    for (int c = 0; c < call_count; ++c)
      if (model_.of(c).at == stage::refused) refused_calls[static_cast<std::size_t>(c)] = model_.of(c).serial;
    for (int i = 0; i < flight_count; ++i)
      refused_stops[static_cast<std::size_t>(i)] = model_.at(i).used && model_.at(i).stop_refused;

    auto& driver = core_->driver();
    std::uint64_t const before = operations_;
    bool const quiet = std::exchange(quiet_, quiet_ || here.shards > 1);
    due_depth_ = depth_;
    core_->retain();  // as its thread does
    driver.wake = clock::time_point::max();
    here.last_rouse_failed = false;
    clock::time_point const due = core_->run_due();
    auto const timed_out = model_.counts.timed_out;
    model_.expire_all();  // all that is due, and nobody was told yet
    // The limits of callers whom helpers are about to release were still there.
    bool const early = model_.counts.timed_out != timed_out;
    while (core_->run_job()) {
    }
    // What is refused to a helper rouses the thread; it may have been roused for what is through since.
    nanos const next =
        (model_.something_refused() && driver.wake < due ? driver.wake : due).time_since_epoch().count();
    driver.arm(due);
    due_depth_ = 0;
    quiet_ = quiet;
    nanos expected = model_.next_deadline();
    if (model_.something_refused() && model_.now + retry_within < expected)
      expected = model_.now + retry_within;
    bool const unknown =
        here.last_rouse_failed;  // a helper was refused something, and could not say so: a call will
    if (before == operations_ && !unknown)
      model_.expect(next == expected || (early && next < expected && next > model_.now),
                    "rule 20: the next deadline is not what it should be");
    core_->release();

    for (int c = 0; c < call_count; ++c) {
      call const& w = model_.of(c);
      if (w.at == stage::refused && w.serial == refused_calls[static_cast<std::size_t>(c)])
        model_.expect(w.tries == 1, "rule 10: a refused caller was not asked again");
    }
    for (int i = 0; i < flight_count; ++i)
      if (refused_stops[static_cast<std::size_t>(i)])
        model_.expect(model_.at(i).stop_tries == 1, "rule 16: a refused stop request was not made again");
  }

  void destroy() {
    ++operations_;
    bool const quiet = std::exchange(quiet_, quiet_ || here.shards > 1);
    destroying_ = true;
    model_.clear();
    group_.reset();
    model_.silence();
    destroying_ = false;
    quiet_ = quiet;
  }

  template <class Wanted>
  [[nodiscard]] int pick(int n, Wanted&& wanted) const {
    int count = 0;
    for (auto const& c : model_.calls) count += c.at != stage::absent && wanted(c);
    if (count == 0) return no_one;
    n %= count;
    for (int c = 0; c < call_count; ++c)
      if (model_.of(c).at != stage::absent && wanted(model_.of(c)) && n-- == 0) return c;
    return no_one;
  }
  [[nodiscard]] bool pick_any() const {
    return pick(0, [](call const&) { return true; }) != no_one;
  }

  void set_hook(operation const& where, operation const& then) {
    hooks& list = hooks_[where.a % place_count];
    if (list.count == list.all.size() || then.kind() == code::hook) return;
    list.all[list.count++] = {where.a % place_count == 0 ? where.b % 9 : any_event, then};
  }

  // ---- observations ---------------------------------------------------------------------------------------

  void is_released(int c) {
    unlocked();
    if (!expires_here()) return;
    if (model_.of(c).at == stage::refused) model_.expire_all();
    while (!model_.turn_is_owed(c) && model_.expire_one()) {
    }
  }

  void on_event(cacheflight::event const& e) {
    unlocked();
    if (model_.wrong) return;
    seen const s = as_seen(e);
    if (expires_here())
      while (model_.ended_flight(s.id) == no_one && model_.expire_one()) {
      }
    int const me = entering();
    int const last_of = model_.event_begins(s, me);
    observed();
    fire(place::event, static_cast<int>(e.type));
    bool const throws = std::exchange(throw_next_, false);
    model_.event_ends(last_of, me);
    if (throws) {
      ++model_.counts.callback_failures;
      throw callback_threw();
    }
  }

  [[nodiscard]] seen as_seen(cacheflight::event const& e) {
    int const* const metadata = std::any_cast<int>(&e.metadata);
    model_.expect(metadata || !e.metadata.has_value(), "rule 24: metadata of another type");
    int error = 0;
    if (e.error && (error = which_error(e.error)) == 0) {
      try {
        std::rethrow_exception(e.error);
      } catch (cacheflight::abandoned_error const& a) {
        error = a.key() == e.key ? abandoned_answer : -2;
      } catch (...) {
        error = -3;
      }
    }
    int const* const leaders = std::any_cast<int>(&e.leader_metadata);
    model_.expect(leaders || !e.leader_metadata.has_value(), "rule 47: metadata of another type");
    return {e.type,
            key_of(e.key),
            e.flight_id,
            e.waiters,
            e.duration.count(),
            error,
            metadata ? *metadata : 0,
            leaders ? *leaders : 0};
  }

  /// Whether what is observed now is the deadline thread's doing.
  [[nodiscard]] bool expires_here() const noexcept { return due_depth_ != 0 && depth_ == due_depth_; }

  [[nodiscard]] static int key_of(std::string_view text) noexcept {
    for (int key = 0; key < key_count; ++key)
      if (name(key) == text) return key;
    return no_one;
  }

  /// Keys and books, field by field.
  void observed() {
    if (!has_group() || quiet_ || model_.wrong) return;
    model::totals const t = model_.count();
    for (int key = 0; key < key_count; ++key)
      model_.expect(group_->has(name(key)) == ((t.keys >> key & 1u) != 0), "rules 2, 12, 13, 23: has(key)");
    cacheflight::statistics const s = group_->stats();
    books const& m = model_.counts;
    model_.expect(group_->size() == t.open && s.in_flight == t.open, "rule 21: size()");
    model_.expect(s.hits == m.hits, "rule 23: stats().hits");
    model_.expect(s.misses == m.misses, "rule 23: stats().misses");
    model_.expect(s.started == m.started, "rule 23: stats().started");
    model_.expect(s.resolved == m.resolved, "rule 23: stats().resolved");
    model_.expect(s.rejected == m.rejected, "rule 23: stats().rejected");
    model_.expect(s.timed_out == m.timed_out, "rule 23: stats().timed_out");
    model_.expect(s.cancelled == m.cancelled, "rule 23: stats().cancelled");
    model_.expect(s.max_keys_rejected == m.max_keys_rejected, "rule 23: stats().max_keys_rejected");
    model_.expect(s.type_mismatches == m.type_mismatches, "rule 23: stats().type_mismatches");
    model_.expect(s.callback_failures == m.callback_failures, "rule 25: stats().callback_failures");
    model_.expect(s.superseded == t.superseded, "rule 49: stats().superseded");
    model_.expect(s.waiters == t.waiters, "rule 23: stats().waiters");
    model_.expect(s.detached == t.detached, "rule 21: stats().detached");
  }

  /// The group holds it, and flights do; and calls that could not enter until they have said so.
  [[nodiscard]] bool core_is_alive() const { return group_ || model_.flights_alive() > 0 || pick_any(); }

  void between_operations(bool thread_ran, bool nobody_tries_again) {
    unlocked();
    model_.expect(entering_count_ == 0, "a call is still entering");
    model_.operation_ends(thread_ran);
    if (model_.wrong) return;
    model::totals const t = model_.count();
    bool const core_alive = group_ || t.alive > 0 || pick_any();
    model_.expect(flights_alive() == t.alive, "rules 3, 15: flights that nobody needs, or too few");
    model_.expect(answer::alive == t.values, "rules 3, 15: values that nobody needs, or too few");
    model_.expect(here.cores == (core_alive ? 1 : 0), "rule 30: the core lives too long, or not long enough");
    if (!core_alive || model_.wrong) return;
    nanos const wake = core_->driver().wake.time_since_epoch().count();
    model_.expect(wake <= model_.next_deadline(), "rule 20: the deadline thread would sleep too long");
    if (model_.something_refused()) {
      bool const soon = wake <= model_.now + retry_within;
      model_.expect(soon || (here.last_rouse_failed && !nobody_tries_again),
                    "rule 10: nobody would ask again");
    }
  }

  /// Everybody goes; nothing may be left.
  void finish(program const& p) {
    for (auto& list : hooks_) list.count = 0;
    refuse_turns_ = refuse_stops_ = here.refuse_threads = 0;
    throw_next_ = fail_build_ = false;
    static constexpr operation goes{63, 0, 0}, settles{20, 0, 0}, arms{42, 0, 0}, takes_turn{30, 0, 0},
        passes{48, 0, 0};
    if (p.group_goes_first()) apply(goes);
    for (int round = 0; round < call_count + flight_count && !model_.wrong; ++round) {
      if (model_.flights_alive() == 0 && !pick_any()) break;
      for (auto const& each : {settles, arms, passes, takes_turn})
        if (!model_.wrong) apply(each);
    }
    if (!model_.wrong && !p.group_goes_first()) apply(goes);
    model_.expect(model_.flights_alive() == 0 && !pick_any(), "rule 9: somebody waits for ever");
    model_.expect(here.cores == 0, "rule 30: the core is left");
  }

  core_type* core_ = nullptr;
  nanos default_timeout_ = never;
  std::array<hooks, place_count> hooks_{};
  std::array<run_plan, call_count> plans_{};
  std::array<cacheflight::call_report, call_count> reports_{};
  std::array<run_plan, flight_count> flight_plans_{};
  std::array<bool, flight_count> parked_{};
  std::array<int, call_count> entering_{};
  int entering_count_ = 0;
  int depth_ = 0;
  int due_depth_ = 0;  // the depth of the operation that is the deadline thread's; 0: none
  bool quiet_ = false, destroying_ = false;
  int refuse_turns_ = 0, refuse_stops_ = 0;
  bool throw_next_ = false, fail_build_ = false;
  std::uint32_t serial_ = 0;
  std::uint64_t operations_ = 0;
};

}  // namespace cacheflight_model
