// SPDX-License-Identifier: MIT

#pragma once

// The contract, rule by rule: scenarios for every front. A scenario that needs what only one front has stands
// in that front's own test file.

#include "fixture.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <latch>
#include <new>
#include <set>
#include <thread>

namespace cacheflight_test {
namespace {

TYPED_TEST_SUITE(contract, fronts, front_names);

// ---- one flight per key -----------------------------------------------------------------------------------

TYPED_TEST(contract, R01_joiners_wait_for_one_execution_and_their_tasks_never_run) {
  auto const lead = make_task(), other = make_task();
  call& a = this->run("k", lead);
  call& b = this->run("k", other);
  call& c = this->run("k", other);
  EXPECT_EQ(lead->invoked, 1);
  EXPECT_EQ(this->flights->size(), 1u);
  EXPECT_FALSE(a.done() || b.done() || c.done());
  this->resolve(lead, 7);
  EXPECT_EQ(other->invoked, 0);
  for (call* each : {&a, &b, &c}) {
    ASSERT_TRUE(each->value);
    EXPECT_EQ(each->value->number, 7);
    EXPECT_EQ(each->completions, 1);
  }
  this->expect_at_rest();
}

TYPED_TEST(contract, R02_after_the_outcome_is_decided_a_call_starts_a_newer_flight) {
  auto const first = make_task(), second = make_task();
  call& a = this->run("k", first);
  call* again = nullptr;
  a.on_complete = [&] { again = &this->run("k", second); };
  this->resolve(first, 1);
  ASSERT_TRUE(again);
  EXPECT_EQ(second->invoked, 1);
  EXPECT_FALSE(again->done());
  this->resolve(second, 2);
  EXPECT_EQ(again->value->number, 2);
}

TYPED_TEST(contract, R02_nobody_joins_between_settling_and_the_resumption_of_the_waiters) {
  auto const first = make_task(), second = make_task();
  call& a = this->run("k", first);
  call& waits = this->run("k", make_task());
  this->make_recording_group();  // a second group, to call from inside a settle below
  (void)waits;
  this->front.pump();
  EXPECT_TRUE(a.failed_with<cacheflight::cancelled_error>());
  call& c = this->run("k", second);
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type != event_type::task_resolved) return;
    EXPECT_FALSE(this->flights->has("k"));
    this->on_event = nullptr;
    this->run("k", make_task());
  };
  this->resolve(second, 2);
  EXPECT_EQ(c.value->number, 2);
  EXPECT_EQ(this->flights->stats().started, 2u);
}

TYPED_TEST(contract, R03_nothing_is_stored_at_rest) {
  auto task = make_task();
  std::weak_ptr<task_state> const watched = task;
  std::weak_ptr<answer const> value;
  {
    call& a = this->run("a key long enough to be on the heap", task);
    this->resolve(task, 1);
    value = a.value;
    a.value.reset();
  }
  task.reset();
  EXPECT_TRUE(watched.expired());
  EXPECT_TRUE(value.expired());
  EXPECT_EQ(answer::alive, 0);
  EXPECT_FALSE(this->flights->has("a key long enough to be on the heap"));
  this->expect_at_rest();
}

TYPED_TEST(contract, R04_a_late_end_of_an_old_flight_does_not_touch_a_newer_one) {
  for (int how = 0; how < 3; ++how) {
    auto const old = make_task(), young = make_task();
    call& a = this->run("k", old, run_options().timeout(1s));
    if (how == 0) this->cancel("k");
    else if (how == 1) this->pass_time(1s);
    else this->leave(a);
    this->front.pump();
    ASSERT_EQ(a.completions, 1);
    call& b = this->run("k", young);
    if (how == 0) this->resolve(old, 1);
    else if (how == 1) this->reject(old, std::make_exception_ptr(task_failed("late")));
    else if constexpr (TypeParam::can_abandon) this->abandon(old);
    else this->resolve(old, 1);
    EXPECT_TRUE(this->flights->has("k"));
    EXPECT_FALSE(b.done());
    EXPECT_EQ(a.completions, 1);
    this->resolve(young, 2);
    ASSERT_TRUE(b.value);
    EXPECT_EQ(b.value->number, 2);
    this->expect_at_rest();
  }
}

TYPED_TEST(contract, R05_user_code_runs_outside_of_locks) {
  // expect_unlocked() stands in every task, callback, stop request, handler and destructor of this suite;
  // here they all run once, and call the group besides.
  this->make_recording_group(options().max_keys(2));
  auto const task = make_task(), doomed = make_task();
  auto const ask = [&] {
    (void)this->flights->stats(), (void)this->flights->has("k"), (void)this->flights->size();
  };
  this->on_event = [&](cacheflight::event const&) { ask(); };
  task->when_invoked = ask;
  call& a = this->run("k", task);
  a.on_complete = ask;
  this->run("k", make_task());
  call& c = this->run("d", doomed, run_options().timeout(1s));
  c.on_complete = ask;
  this->run("more", make_task());
  doomed->obeys = true;
  this->pass_time(1s);
  this->front.pump();
  this->resolve(task, 1);
  this->expect_at_rest();
}

// ---- results and errors -----------------------------------------------------------------------------------

TYPED_TEST(contract, R06_every_waiter_gets_the_same_object) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->resolve(task, 7);
  ASSERT_TRUE(a.value);
  EXPECT_EQ(a.value.get(), b.value.get());
  EXPECT_EQ(answer::alive, 1);
}

TYPED_TEST(contract, R07_an_exception_reaches_every_waiter_as_the_original) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  auto const error = std::make_exception_ptr(task_failed("no such user"));
  this->reject(task, error);
  EXPECT_TRUE(a.error == error);
  EXPECT_TRUE(b.error == error);
  EXPECT_EQ(this->flights->stats().rejected, 1u);
  this->expect_at_rest();
}

TYPED_TEST(contract, R08_another_result_type_is_refused_and_the_flight_untouched) {
  this->make_recording_group();
  auto const task = make_task(), other = make_task();
  call& a = this->run("k", task);
  call& b = this->front.run_other_type(*this->flights, "k", {}, other);
  this->front.pump();
  ASSERT_TRUE(b.failed_with<cacheflight::type_mismatch_error>());
  EXPECT_EQ(other->invoked, 0);
  EXPECT_EQ(this->flights->stats().hits, 0u);
  EXPECT_EQ(this->flights->stats().misses, 1u);
  EXPECT_EQ(this->flights->stats().type_mismatches, 1u);
  EXPECT_EQ(std::count(this->seen.begin(), this->seen.end(), event_type::hit), 0);
  EXPECT_FALSE(a.done());
  this->resolve(task, 1);
  EXPECT_EQ(a.value->number, 1);
}

TYPED_TEST(contract, R09_a_task_that_throws_while_it_is_invoked_settles) {
  auto const task = make_task();
  task->inline_error = std::make_exception_ptr(task_failed("at once"));
  call& a = this->run("k", task);
  this->front.pump();
  EXPECT_TRUE(a.error == task->inline_error);
  this->expect_at_rest();
}

TYPED_TEST(contract, R09_a_task_that_is_destroyed_without_an_answer_abandons_its_flight) {
  if constexpr (!TypeParam::can_abandon) GTEST_SKIP() << TypeParam::cannot_abandon;
  this->make_recording_group();
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->abandon(task);
  EXPECT_TRUE(a.failed_with<cacheflight::abandoned_error>());
  EXPECT_TRUE(b.failed_with<cacheflight::abandoned_error>());
  EXPECT_TRUE(task->unwound);
  ASSERT_EQ(this->seen.back().type, event_type::task_rejected);
  EXPECT_TRUE(this->seen.back().has_error);
  EXPECT_EQ(this->flights->stats().rejected, 1u);
  this->expect_at_rest();
}

TYPED_TEST(contract, R10_each_call_completes_exactly_once) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task(), run_options().wait_timeout(1s));
  call& c = this->run("k", make_task());
  this->pass_time(1s);
  this->front.pump();
  this->leave(c);
  this->leave(c);
  this->resolve(task, 1);
  this->leave(a);
  this->leave(b);
  this->pass_time(1h);
  this->front.pump();
  for (call* each : {&a, &b, &c}) EXPECT_EQ(each->completions, 1);
  this->expect_at_rest();
}

// ---- leaving, cancelling, clearing ------------------------------------------------------------------------

TYPED_TEST(contract, R11_a_joiner_leaves_alone_and_at_once) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->leave(b);
  EXPECT_TRUE(b.left);
  EXPECT_FALSE(a.done());
  EXPECT_FALSE(task->stop_requested);
  EXPECT_EQ(this->flights->stats().waiters, 1u);
  this->resolve(task, 1);
  EXPECT_EQ(a.value->number, 1);
}

TYPED_TEST(contract, R11_the_leader_leaves_and_its_task_goes_on_for_the_others) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->leave(a);
  EXPECT_TRUE(a.left);
  EXPECT_FALSE(task->stop_requested);
  EXPECT_TRUE(this->flights->has("k"));
  call& c = this->run("k", make_task());
  this->resolve(task, 1);
  EXPECT_EQ(b.value->number, 1);
  EXPECT_EQ(c.value->number, 1);
}

TYPED_TEST(contract, R12_when_the_last_waiter_leaves_the_task_is_stopped_and_the_key_is_free) {
  this->make_recording_group();
  auto const task = make_task(), next = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->leave(a);
  EXPECT_FALSE(task->stop_requested);
  this->leave(b);
  EXPECT_FALSE(this->flights->has("k"));
  EXPECT_EQ(this->flights->stats().detached, 1u);
  EXPECT_TRUE(task->stop_requested);
  EXPECT_FALSE(task->unwound);
  call& c = this->run("k", next);
  EXPECT_EQ(next->invoked, 1);
  EXPECT_FALSE(c.done());
  this->resolve(next, 2);
  EXPECT_EQ(c.value->number, 2);
  this->resolve(task, 1);
  this->expect_at_rest();
  EXPECT_EQ(this->flights->stats().cancelled, 1u);
}

TYPED_TEST(contract, R13_cancel_frees_the_key_and_decides_every_outcome_whether_or_not_the_task_obeys) {
  for (bool const obeys : {false, true}) {
    auto const task = make_task();
    task->obeys = obeys;
    call& a = this->run("k", task);
    call& b = this->run("k", make_task());
    EXPECT_TRUE(this->cancel("k"));
    EXPECT_FALSE(this->flights->has("k"));
    EXPECT_FALSE(this->cancel("k"));
    this->front.pump();
    EXPECT_TRUE(a.failed_with<cacheflight::cancelled_error>());
    EXPECT_TRUE(b.failed_with<cacheflight::cancelled_error>());
    EXPECT_TRUE(task->stop_requested);
    if (!obeys) {
      EXPECT_EQ(this->flights->stats().detached, 1u);
      this->resolve(task, 1);
    }
    this->expect_at_rest();
  }
  EXPECT_FALSE(this->cancel("never seen"));
}

TYPED_TEST(contract, R13_clear_cancels_every_flight) {
  std::vector<task_ptr> tasks;
  std::vector<call*> calls;
  for (int i = 0; i < 20; ++i) {
    tasks.push_back(make_task());
    calls.push_back(&this->run("k" + std::to_string(i), tasks.back()));
  }
  EXPECT_EQ(this->flights->size(), 20u);
  this->flights->clear();
  EXPECT_EQ(this->flights->size(), 0u);
  this->front.pump();
  for (call* c : calls) EXPECT_TRUE(c->failed_with<cacheflight::cancelled_error>());
  for (auto const& t : tasks) {
    EXPECT_TRUE(t->stop_requested);
    this->resolve(t, 1);
  }
  EXPECT_EQ(this->flights->stats().cancelled, 20u);
  this->expect_at_rest();
}

TYPED_TEST(contract, R13_a_flight_that_is_cancelled_before_its_task_started_never_runs_it) {
  // The `miss` callback cancels: the flight is visible and its task has not started.
  this->make_recording_group();
  auto const task = make_task();
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type == event_type::miss) {
      EXPECT_TRUE(this->flights->cancel(e.key));
    }
  };
  call& a = this->run("k", task);
  this->front.pump();
  EXPECT_TRUE(a.failed_with<cacheflight::cancelled_error>());
  EXPECT_EQ(task->invoked, 0);
  EXPECT_EQ(this->types(),
            (std::vector{event_type::miss, event_type::task_started, event_type::task_cancelled}));
  this->expect_at_rest();
}

TYPED_TEST(contract, R14_a_cancelled_flight_and_a_cancelled_caller_are_different_errors) {
  auto const task = make_task();
  call& flight_cancelled = this->run("k", task);
  call& caller_cancelled = this->run("k", make_task());
  this->leave(caller_cancelled);
  this->cancel("k");
  this->front.pump();
  EXPECT_TRUE(caller_cancelled.left);
  EXPECT_FALSE(flight_cancelled.left);
  EXPECT_TRUE(flight_cancelled.failed_with<cacheflight::cancelled_error>());
  this->resolve(task, 0);
}

TYPED_TEST(contract, R15_a_doomed_flights_late_outcome_is_dropped_and_destroyed_when_the_task_unwinds) {
  auto const task = make_task();
  call& a = this->run("k", task);
  this->cancel("k");
  this->front.pump();
  EXPECT_FALSE(task->unwound);
  EXPECT_EQ(this->flights->stats().detached, 1u);
  this->resolve(task, 1);
  EXPECT_TRUE(task->unwound);
  EXPECT_EQ(answer::alive, 0);
  EXPECT_EQ(a.completions, 1);
  EXPECT_FALSE(a.value);
  auto const s = this->flights->stats();
  EXPECT_EQ(s.resolved, 0u);
  EXPECT_EQ(s.cancelled, 1u);
  this->expect_at_rest();
}

TYPED_TEST(contract, R16_a_task_is_asked_to_stop_once_and_only_when_its_flight_is_doomed) {
  auto const resolved = make_task(), doomed = make_task();
  this->run("a", resolved);
  this->run("b", doomed);
  this->resolve(resolved, 1);
  EXPECT_FALSE(resolved->stop_requested);
  this->cancel("b");
  this->front.pump();
  EXPECT_TRUE(doomed->stop_requested);
  this->resolve(doomed, 1);
}

// ---- time -------------------------------------------------------------------------------------------------

TYPED_TEST(contract, R17_the_leaders_timeout_ends_the_flight_for_everybody_even_if_the_task_ignores_it) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(10s));
  call& b = this->run("k", make_task(), run_options().timeout(1s));  // a joiner's is ignored
  this->pass_time(9'999'999'999ns);
  this->front.pump();
  EXPECT_FALSE(a.done() || b.done());
  this->pass_time(1ns);
  EXPECT_FALSE(this->flights->has("k"));
  this->front.pump();
  for (call* c : {&a, &b}) {
    ASSERT_TRUE(c->failed_with<cacheflight::timeout_error>());
    try {
      std::rethrow_exception(c->error);
    } catch (cacheflight::timeout_error const& e) {
      EXPECT_EQ(e.scope(), cacheflight::timeout_scope::flight);
      EXPECT_EQ(e.key(), "k");
    }
  }
  EXPECT_TRUE(task->stop_requested);
  EXPECT_EQ(this->flights->stats().timed_out, 1u);
  this->resolve(task, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R17_the_groups_default_applies_where_a_call_sets_none) {
  this->make_group(options().default_timeout(5s));
  auto const by_default = make_task(), longer = make_task(), none = make_task();
  call& a = this->run("a", by_default);
  call& b = this->run("b", longer, run_options().timeout(6s));
  call& c = this->run("c", none, run_options().no_timeout());
  this->pass_time(5s);
  this->front.pump();
  EXPECT_TRUE(a.failed_with<cacheflight::timeout_error>());
  EXPECT_FALSE(b.done());
  this->pass_time(1s);
  this->front.pump();
  EXPECT_TRUE(b.failed_with<cacheflight::timeout_error>());
  this->pass_time(1000h);
  EXPECT_FALSE(c.done());
  for (auto const& t : {by_default, longer, none}) this->resolve(t, 1);
  EXPECT_EQ(c.value->number, 1);
}

TYPED_TEST(contract, R17_a_settled_flight_does_not_time_out) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(1s));
  this->resolve(task, 1);
  this->pass_time(10s);
  EXPECT_EQ(a.completions, 1);
  EXPECT_TRUE(a.value);
  EXPECT_EQ(this->flights->stats().timed_out, 0u);
}

TYPED_TEST(contract, R18_wait_timeout_bounds_one_callers_own_wait) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task(), run_options().wait_timeout(1s));
  this->pass_time(1s);
  this->front.pump();
  ASSERT_TRUE(b.failed_with<cacheflight::timeout_error>());
  try {
    std::rethrow_exception(b.error);
  } catch (cacheflight::timeout_error const& e) {
    EXPECT_EQ(e.scope(), cacheflight::timeout_scope::wait);
    EXPECT_EQ(e.key(), "k");
  }
  EXPECT_FALSE(a.done());
  EXPECT_FALSE(task->stop_requested);
  this->resolve(task, 1);
  EXPECT_EQ(a.value->number, 1);
}

TYPED_TEST(contract, R18_a_leader_may_wait_shorter_than_its_task_runs) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().wait_timeout(1s));
  call& b = this->run("k", make_task());
  this->pass_time(1s);
  this->front.pump();
  EXPECT_TRUE(a.failed_with<cacheflight::timeout_error>());
  this->resolve(task, 1);
  EXPECT_EQ(b.value->number, 1);
}

TYPED_TEST(contract, R18_the_last_one_whose_wait_runs_out_dooms_the_flight) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().wait_timeout(1s));
  call& b = this->run("k", make_task(), run_options().wait_timeout(2s));
  this->pass_time(3s);
  this->front.pump();
  EXPECT_TRUE(a.failed_with<cacheflight::timeout_error>() && b.failed_with<cacheflight::timeout_error>());
  EXPECT_TRUE(task->stop_requested);
  EXPECT_EQ(this->flights->stats().cancelled, 1u);
  EXPECT_EQ(this->flights->stats().timed_out, 0u);
  this->resolve(task, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R18_at_a_tie_the_flights_timeout_fires_first) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(1s).wait_timeout(1s));
  this->pass_time(1s);
  this->front.pump();
  try {
    std::rethrow_exception(a.error);
  } catch (cacheflight::timeout_error const& e) {
    EXPECT_EQ(e.scope(), cacheflight::timeout_scope::flight);
  }
  EXPECT_EQ(this->flights->stats().timed_out, 1u);
  this->resolve(task, 1);
}

TYPED_TEST(contract, R19_a_tasks_own_errors_are_rejections_whatever_their_type) {
  this->make_recording_group();
  for (auto const& error :
       {std::make_exception_ptr(cacheflight::timeout_error(cacheflight::timeout_scope::flight)),
        std::make_exception_ptr(cacheflight::cancelled_error()),
        std::make_exception_ptr(std::system_error(std::make_error_code(std::errc::operation_canceled))),
        std::make_exception_ptr(boost::system::system_error(net::error::operation_aborted))}) {
    auto const task = make_task();
    call& a = this->run("k", task);
    this->reject(task, error);
    EXPECT_TRUE(a.error == error);
    EXPECT_FALSE(a.left);
    EXPECT_EQ(this->seen.back().type, event_type::task_rejected);
  }
  auto const s = this->flights->stats();
  EXPECT_EQ(s.rejected, 4u);
  EXPECT_EQ(s.timed_out + s.cancelled, 0u);
}

TYPED_TEST(contract, R20_bad_durations_and_counts_are_refused_by_name) {
  auto const refused = [](auto&& f, std::string_view name) {
    try {
      f();
    } catch (std::invalid_argument const& e) {
      return std::string_view(e.what()).find(name) != std::string_view::npos;
    }
    return false;
  };
  EXPECT_TRUE(refused([] { options().max_keys(0); }, "max_keys"));
  EXPECT_TRUE(refused([] { options().max_keys(-1); }, "max_keys"));
  EXPECT_TRUE(refused([] { options().default_timeout(0s); }, "default_timeout"));
  EXPECT_TRUE(refused([] { options().on_event(nullptr); }, "on_event"));
  EXPECT_TRUE(refused([] { run_options().timeout(-1ns); }, "timeout"));
  EXPECT_TRUE(refused([] { run_options().wait_timeout(0ms); }, "wait_timeout"));
}

TYPED_TEST(contract, R20_durations_beyond_the_clocks_range_mean_none) {
  auto const task = make_task();
  call& a = this->run(
      "k", task,
      run_options().timeout(std::chrono::hours::max()).wait_timeout(std::chrono::nanoseconds::max() - 1ns));
  this->pass_time(1000h);
  this->front.pump();
  EXPECT_FALSE(a.done());
  this->resolve(task, 1);
}

TYPED_TEST(contract, R20_a_call_without_deadlines_reads_no_clock_and_needs_no_thread) {
  auto const reads = manual_clock::reads();
  int const ensured = manual_driver::ensured;
  auto const task = make_task();
  this->run("k", task);
  this->run("k", make_task());
  this->resolve(task, 1);
  EXPECT_EQ(manual_clock::reads(), reads);
  EXPECT_EQ(manual_driver::ensured, ensured);
  auto const timed = make_task();
  this->run("k", timed, run_options().timeout(1s));
  EXPECT_EQ(manual_clock::reads(), reads + 1);
  EXPECT_EQ(manual_driver::ensured, ensured + 1);
  this->resolve(timed, 1);
}

TYPED_TEST(contract, R20_no_thread_for_deadlines_fails_the_call_that_needs_it_alone) {
  auto const task = make_task();
  manual_driver::refuse = true;
  call& a = this->run("k", task, run_options().timeout(1s));
  this->front.pump();
  manual_driver::refuse = false;
  EXPECT_TRUE(a.failed_with<std::system_error>());
  EXPECT_EQ(task->invoked, 0);
  EXPECT_EQ(this->flights->stats().misses, 0u);
  this->expect_at_rest();
}

// ---- limits -----------------------------------------------------------------------------------------------

TYPED_TEST(contract, R21_at_the_cap_misses_are_refused_and_joins_work) {
  this->make_recording_group(options().max_keys(2));
  auto const a = make_task(), b = make_task(), c = make_task();
  this->run("a", a);
  this->run("b", b);
  call& refused = this->run("c", c, run_options().metadata("third"));
  this->front.pump();
  ASSERT_TRUE(refused.failed_with<cacheflight::max_keys_error>());
  EXPECT_EQ(c->invoked, 0);
  call& joins = this->run("a", make_task());
  EXPECT_FALSE(joins.done());
  EXPECT_EQ(this->flights->size(), 2u);
  // A doomed flight gives its place back at once, and is counted as detached.
  this->cancel("b");
  EXPECT_EQ(this->flights->stats().detached, 1u);
  call& fits = this->run("c", c);
  EXPECT_FALSE(fits.done());
  EXPECT_EQ(c->invoked, 1);
  for (auto const& t : {a, b, c}) this->resolve(t, 1);
  auto const s = this->flights->stats();
  EXPECT_EQ(s.max_keys_rejected, 1u);
  EXPECT_EQ(s.misses, 4u);
  this->expect_at_rest();
  auto const at = std::find(this->seen.begin(), this->seen.end(), event_type::max_keys_rejected);
  ASSERT_NE(at, this->seen.end());
  EXPECT_EQ((at - 1)->type, event_type::miss);
  EXPECT_EQ(at->flight_id, 0u);
  EXPECT_EQ(at->key, "c");
  EXPECT_EQ(at->metadata, "third");
}

// ---- events and books -------------------------------------------------------------------------------------

TYPED_TEST(contract, R22_events_of_a_flight_come_in_order) {
  this->make_recording_group();
  auto const ok = make_task(), failing = make_task(), slow = make_task(), unwanted = make_task();
  this->run("ok", ok);
  this->run("ok", make_task());
  this->resolve(ok, 1);
  EXPECT_EQ(this->types(), (std::vector{event_type::miss, event_type::task_started, event_type::hit,
                                        event_type::task_resolved}));
  this->seen.clear();
  this->run("failing", failing);
  this->reject(failing, std::make_exception_ptr(task_failed("x")));
  EXPECT_EQ(this->types(),
            (std::vector{event_type::miss, event_type::task_started, event_type::task_rejected}));
  this->seen.clear();
  this->run("slow", slow, run_options().timeout(1s));
  this->pass_time(1s);
  EXPECT_EQ(this->types(),
            (std::vector{event_type::miss, event_type::task_started, event_type::task_timed_out}));
  this->seen.clear();
  call& only = this->run("unwanted", unwanted);
  this->leave(only);
  EXPECT_EQ(this->types(),
            (std::vector{event_type::miss, event_type::task_started, event_type::task_cancelled}));
  this->seen.clear();
  this->resolve(slow, 1);
  this->resolve(unwanted, 1);
  EXPECT_TRUE(this->seen.empty()) << "late ends of doomed flights are quiet";
}

TYPED_TEST(contract, R22_a_task_that_completes_inside_the_starting_call_has_the_same_events) {
  this->make_recording_group();
  auto const task = make_task();
  task->inline_value = 3;
  call& a = this->run("k", task);
  this->front.pump();
  EXPECT_EQ(a.value->number, 3);
  EXPECT_EQ(this->types(),
            (std::vector{event_type::miss, event_type::task_started, event_type::task_resolved}));
}

TYPED_TEST(contract, R23_the_last_event_comes_with_the_key_free_and_before_any_waiter_resumes) {
  this->make_recording_group();
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  bool checked = false;
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type != event_type::task_resolved) return;
    EXPECT_FALSE(this->flights->has("k"));
    EXPECT_EQ(this->flights->stats().resolved, 1u);
    EXPECT_FALSE(a.done() || b.done());
    checked = true;
  };
  a.on_complete = [&] {
    EXPECT_TRUE(checked);
    EXPECT_EQ(this->flights->stats().resolved, 1u);
  };
  this->resolve(task, 1);
  EXPECT_TRUE(checked && a.done() && b.done());
}

TYPED_TEST(contract, R24_events_carry_key_id_waiters_duration_error_and_metadata) {
  this->make_recording_group();
  auto const task = make_task();
  this->run("k", task, run_options().metadata("leader"));
  this->run("k", make_task(), run_options().metadata("joiner"));
  manual_clock::advance(3s);
  this->reject(task, std::make_exception_ptr(task_failed("x")));
  ASSERT_EQ(this->seen.size(), 4u);
  for (auto const& e : this->seen) {
    EXPECT_EQ(e.key, "k");
    EXPECT_NE(e.flight_id, 0u);
    EXPECT_EQ(e.flight_id, this->seen[0].flight_id);
    EXPECT_EQ(e.metadata, e.type == event_type::hit ? "joiner" : "leader");
    EXPECT_EQ(e.duration, e.type == event_type::task_rejected ? 3s : 0s);
    EXPECT_EQ(e.has_error, e.type == event_type::task_rejected);
  }
  EXPECT_EQ(this->seen[0].waiters, 1u);
  EXPECT_EQ(this->seen[2].waiters, 2u);
  EXPECT_EQ(this->seen[3].waiters, 2u);
  auto const next = make_task();
  this->run("k", next);
  EXPECT_NE(this->seen.back().flight_id, this->seen[0].flight_id);
  this->resolve(next, 1);
}

TYPED_TEST(contract, R25_a_throwing_callback_changes_nothing_and_is_counted) {
  this->make_recording_group(options().max_keys(1));
  this->on_event = [](cacheflight::event const&) { throw std::runtime_error("from the callback"); };
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  call& c = this->run("other", make_task());
  this->resolve(task, 1);
  EXPECT_TRUE(a.value && b.value);
  EXPECT_TRUE(c.failed_with<cacheflight::max_keys_error>());
  auto const s = this->flights->stats();
  EXPECT_EQ(s.callback_failures, 6u);
  // Automatic cancellation still works: no waiter was leaked.
  auto const next = make_task();
  call& d = this->run("k", next);
  call& e = this->run("k", make_task());
  this->leave(d);
  this->leave(e);
  EXPECT_TRUE(next->stop_requested);
  this->resolve(next, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R26_callbacks_may_call_the_group) {
  this->make_recording_group();
  auto const inner = make_task();
  call* nested = nullptr;
  this->on_event = [&](cacheflight::event const& e) {
    if (e.key == "outer" && e.type == event_type::miss) nested = &this->run("inner", inner);
    if (e.key == "outer" && e.type == event_type::hit) this->flights->cancel("inner");
    if (e.key == "outer" && e.type == event_type::task_started) (void)this->flights->size();
  };
  auto const outer = make_task();
  call& a = this->run("outer", outer);
  this->front.pump();
  ASSERT_TRUE(nested);
  EXPECT_EQ(inner->invoked, 1);
  call& b = this->run("outer", make_task());
  this->front.pump();
  EXPECT_TRUE(nested->failed_with<cacheflight::cancelled_error>());
  this->resolve(outer, 1);
  EXPECT_TRUE(a.value && b.value);
  this->resolve(inner, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R26_a_hit_callback_that_ends_the_flight_is_followed_by_its_last_event) {
  this->make_recording_group();
  auto const task = make_task();
  call& a = this->run("k", task);
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type == event_type::hit) {
      EXPECT_TRUE(this->flights->cancel("k"));
      EXPECT_FALSE(this->flights->has("k"));
      EXPECT_EQ(this->seen.back().type, event_type::hit) << "the last event waits for this callback";
    }
  };
  call& b = this->run("k", make_task());
  this->front.pump();
  EXPECT_EQ(this->seen.back().type, event_type::task_cancelled);
  EXPECT_TRUE(a.failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(b.failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(task->stop_requested);
  this->resolve(task, 1);
  this->expect_at_rest();
}

// ---- threads and lifetime ---------------------------------------------------------------------------------

TYPED_TEST(contract, R27_tasks_and_callers_may_call_the_group) {
  auto const outer = make_task(), inner = make_task();
  call* nested = nullptr;
  outer->when_invoked = [&] { nested = &this->front.run(*this->flights, "inner", {}, inner); };
  inner->inline_value = 5;
  call& a = this->run("outer", outer);
  a.on_complete = [&] { this->flights->clear(); };
  this->front.pump();
  EXPECT_EQ(nested->value->number, 5);
  this->resolve(outer, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R28_a_waiter_is_not_resumed_inside_the_call_that_ends_its_flight) {
  if constexpr (!TypeParam::pumped) GTEST_SKIP() << TypeParam::not_pumped;
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->cancel("k");
  EXPECT_FALSE(a.done() || b.done());
  this->front.pump();
  EXPECT_TRUE(a.done() && b.done());
  this->resolve(task, 1);
}

TYPED_TEST(contract, R29_a_resumed_waiter_may_take_others_of_the_same_flight_along) {
  auto const task = make_task();
  std::vector<call*> calls{&this->run("k", task)};
  for (int i = 0; i < 9; ++i) calls.push_back(&this->run("k", make_task()));
  calls[0]->on_complete = [&] {
    for (std::size_t i = 1; i < calls.size(); ++i) this->front.leave(*calls[i]);
  };
  this->resolve(task, 1);
  for (call* c : calls) EXPECT_EQ(c->completions, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R30_destroying_the_group_cancels_and_lets_go) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(1s));
  call& b = this->run("k", make_task(), run_options().wait_timeout(1s));
  this->flights.reset();
  if constexpr (TypeParam::pumped) {
    EXPECT_FALSE(a.done());
  }
  this->front.pump();
  EXPECT_TRUE(a.failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(b.failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(task->stop_requested);
  this->resolve(task, 1);  // a running task outlives the group, and touches nothing that is gone
  EXPECT_TRUE(task->unwound);
}

TYPED_TEST(contract, R30_the_group_may_be_destroyed_by_a_callback_of_its_own_caller) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  a.on_complete = [&] { this->flights.reset(); };
  this->resolve(task, 1);
  EXPECT_TRUE(a.value && b.value);
}

// ---- the edges --------------------------------------------------------------------------------------------

TYPED_TEST(contract, R33_what_is_due_is_decided_by_a_thread_that_runs_nobody_elses_code) {
  this->make_recording_group();
  auto const slow = make_task(), shared = make_task();
  call& a = this->run("slow", slow, run_options().timeout(1s));
  call& b = this->run("shared", shared);
  call& c = this->run("shared", make_task(), run_options().wait_timeout(1s));
  auto const before = this->seen.size();
  manual_clock::advance(1s);
  auto& core = cd::access::core(*this->flights);
  (void)keep_time(core);  // user code would be a failure
  EXPECT_FALSE(this->flights->has("slow"));
  EXPECT_EQ(this->flights->stats().timed_out, 1u);
  EXPECT_EQ(this->flights->stats().waiters, 1u);
  EXPECT_EQ(this->seen.size(), before);
  EXPECT_FALSE(slow->stop_requested);
  while (core.run_job()) {
  }
  this->front.pump();
  EXPECT_TRUE(a.template failed_with<cacheflight::timeout_error>());
  EXPECT_TRUE(c.template failed_with<cacheflight::timeout_error>());
  EXPECT_FALSE(b.done());
  EXPECT_TRUE(slow->stop_requested);
  EXPECT_EQ(this->seen.size(), before + 1);
  this->resolve(slow, 1);
  this->resolve(shared, 2);
  EXPECT_EQ(b.value->number, 2);
  this->expect_at_rest();
}

TYPED_TEST(contract, R34_a_task_that_has_not_begun_when_its_flight_times_out_never_begins) {
  this->make_recording_group();
  auto const task = make_task();
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type == event_type::task_started) this->pass_time(1s);
  };
  call& a = this->run("k", task, run_options().timeout(1s));
  this->front.pump();
  EXPECT_TRUE(a.template failed_with<cacheflight::timeout_error>());
  EXPECT_EQ(task->invoked, 0);
  EXPECT_TRUE(task->unwound);
  this->expect_at_rest();
}

TYPED_TEST(contract, R35_who_is_cancelled_is_answered_before_the_last_event_and_who_times_out_as_well) {
  for (bool const timed_out : {false, true}) {
    this->make_recording_group();
    auto const task = make_task();
    call& a = this->run("k", task, run_options().timeout(1s));
    call& b = this->run("k", make_task());
    int last = 0;
    this->on_event = [&](cacheflight::event const& e) {
      if (e.type != event_type::task_cancelled && e.type != event_type::task_timed_out) return;
      ++last;
      this->front.pump();
      EXPECT_TRUE(a.done() && b.done());
    };
    if (timed_out) this->pass_time(1s);
    else this->cancel("k");
    EXPECT_EQ(last, 1);
    this->resolve(task, 1);
    this->on_event = nullptr;
  }
}

TYPED_TEST(contract, R37_nothing_is_kept_by_what_is_over) {
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  std::atomic<bool> before_its_callers{true};
  for (call* const each : {&a, &b})
    each->on_complete = [&] {
      if (!task->unwound) before_its_callers = false;
    };
  this->resolve(task, 1);
  EXPECT_TRUE(before_its_callers) << "the task and its captures go first";
  a.on_complete = b.on_complete = nullptr;
  std::weak_ptr<answer const> const value = a.value;
  a.value.reset(), b.value.reset();
  EXPECT_TRUE(value.expired());
  this->expect_at_rest();
}

TYPED_TEST(contract, R40_a_call_whose_own_event_destroys_the_group_is_answered_and_no_other_event_follows) {
  for (bool const leads : {false, true}) {
    this->seen.clear();
    this->make_recording_group();
    auto const task = make_task();
    call* const first = leads ? nullptr : &this->run("k", task);
    this->on_event = [&](cacheflight::event const& e) {
      if (e.type == (leads ? event_type::miss : event_type::hit)) this->flights.reset();
    };
    call& a = this->run("k", leads ? task : make_task());
    this->front.pump();
    EXPECT_FALSE(this->flights);
    EXPECT_TRUE(a.template failed_with<cacheflight::cancelled_error>());
    EXPECT_TRUE(!first || first->template failed_with<cacheflight::cancelled_error>());
    EXPECT_EQ(this->seen.back().type, leads ? event_type::miss : event_type::hit);
    if (!leads) this->resolve(task, 1);
    EXPECT_EQ(task->invoked, leads ? 0 : 1);
    this->on_event = nullptr;
  }
}

TYPED_TEST(contract, R40_a_call_that_is_refused_and_whose_event_destroys_the_group_has_no_other_event) {
  this->make_recording_group(options().max_keys(1));
  auto const task = make_task();
  this->run("taken", task);
  this->seen.clear();
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type != event_type::miss) return;
    this->flights.reset();
    task->value = 1;
    task->open_gate(false);  // the last that kept anything
  };
  call& refused = this->run("k", make_task());
  this->front.pump();
  EXPECT_TRUE(refused.template failed_with<cacheflight::max_keys_error>());
  EXPECT_EQ(this->types(), (std::vector{event_type::miss, event_type::task_cancelled}));
}

// ---- secrets ----------------------------------------------------------------------------------------------

TYPED_TEST(contract, R32_no_exception_text_contains_the_key) {
  this->make_group(options().max_keys(1));
  std::string const secret = "session:9f8e7d6c5b4a";
  auto const task = make_task();
  std::vector<call*> calls;
  calls.push_back(&this->run(secret, task, run_options().timeout(1s)));
  calls.push_back(&this->run(secret, make_task(), run_options().wait_timeout(1ms)));
  calls.push_back(&this->front.run_other_type(*this->flights, secret, {}, make_task()));
  calls.push_back(&this->run(secret + "2", make_task()));
  this->pass_time(1ms);
  this->pass_time(1s);
  auto const cancelled = make_task(), abandoned = make_task();
  calls.push_back(&this->run(secret, cancelled));
  this->cancel(secret);
  calls.push_back(&this->run(secret, abandoned));
  if constexpr (TypeParam::can_abandon) this->abandon(abandoned);
  else
    this->reject(abandoned, std::make_exception_ptr(
                                cacheflight::abandoned_error(cacheflight::detail::key_copy::of(secret))));
  this->front.pump();
  std::set<std::string> texts;
  for (call* c : calls) {
    ASSERT_TRUE(c->error);
    try {
      std::rethrow_exception(c->error);
    } catch (cacheflight::error const& e) {
      texts.insert(e.what());
      EXPECT_EQ(std::string_view(e.what()).find("9f8e"), std::string_view::npos) << e.what();
      EXPECT_EQ(e.key().substr(0, secret.size()), secret);
      EXPECT_NE(e.template key_as<std::string>(), nullptr);
      EXPECT_EQ(e.template key_as<int>(), nullptr);
    }
  }
  EXPECT_EQ(texts.size(), 6u);
  this->resolve(task, 1);
  this->resolve(cancelled, 1);
}

TYPED_TEST(contract, R32_keys_are_arbitrary_bytes) {
  std::vector<std::string> const keys{
      "",         std::string("a\0b", 3),    std::string("a\0c", 3),         "\r\n", "\xff\xfe",
      "\x1b[31m", std::string(1 << 20, 'x'), std::string(1 << 20, 'x') + "y"};
  std::vector<task_ptr> tasks;
  std::vector<call*> calls;
  for (auto const& k : keys) calls.push_back(&this->run(k, tasks.emplace_back(make_task())));
  EXPECT_EQ(this->flights->size(), keys.size());
  for (auto const& k : keys) EXPECT_TRUE(this->flights->has(k));
  for (std::size_t i = 0; i < keys.size(); ++i) this->resolve(tasks[i], static_cast<int>(i));
  for (std::size_t i = 0; i < keys.size(); ++i) EXPECT_EQ(calls[i]->value->number, static_cast<int>(i));
}

}  // namespace
}  // namespace cacheflight_test

#include "ending_scenarios.hpp"
#include "fresh_scenarios.hpp"
