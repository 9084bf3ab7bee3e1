// SPDX-License-Identifier: MIT

#pragma once

// Scenarios for every front: a group that is closed, and callers who wait until it is quiet. Included by
// scenarios.hpp.

namespace cacheflight_test {
namespace {

/// Senders have no drain of their own; what the others wait for is the same with their flights.
#define CACHEFLIGHT_NEEDS_DRAIN() \
  if constexpr (!TypeParam::can_drain) GTEST_SKIP() << TypeParam::cannot_drain

// ---- close ------------------------------------------------------------------------------------------------

TYPED_TEST(contract, R58_a_closed_group_starts_no_flight_and_what_is_up_goes_on) {
  this->make_recording_group(options().measure_age());
  auto const task = make_task();
  cacheflight::call_report late_report;
  call& a = this->run("k", task);
  EXPECT_FALSE(this->flights->closed());
  for (int again = 0; again < 2; ++again) {
    this->flights->close();
    EXPECT_TRUE(this->flights->closed());
  }
  call& b = this->run("k", make_task());
  auto const refused = make_task();
  call& late = this->run("more", refused, run_options().metadata("late").report(late_report));
  this->front.pump();
  EXPECT_TRUE(late.template failed_with<cacheflight::closed_error>());
  EXPECT_EQ(refused->invoked, 0);
  EXPECT_EQ(late_report.role, cacheflight::call_role::refused);
  EXPECT_FALSE(a.done() || b.done() || task->stop_requested);
  auto const stats = this->flights->stats();
  EXPECT_EQ(stats.misses, 2u);
  EXPECT_EQ(stats.started, 1u);
  EXPECT_EQ(stats.closed_rejected, 1u);
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(this->types(), (std::vector{event_type::miss, event_type::task_started, event_type::hit,
                                        event_type::miss, event_type::closed_rejected}));
  for (std::size_t i : {3u, 4u}) {
    EXPECT_EQ(this->seen[i].flight_id, 0u);
    EXPECT_EQ(this->seen[i].key, "more");
    EXPECT_EQ(this->seen[i].metadata, "late");
  }
  this->resolve(task, 1);
  for (call* each : {&a, &b}) EXPECT_EQ(each->value->number, 1);
  call& again = this->run("k", make_task());
  this->front.pump();
  EXPECT_TRUE(again.template failed_with<cacheflight::closed_error>()) << "its key is free, and stays free";
  this->expect_at_rest();
}

TYPED_TEST(contract, R58_a_call_that_a_closed_group_refuses_changes_nothing) {
  this->make_group(options().measure_age().max_keys(2));
  auto const task = make_task();
  call& a = this->run("k", task);
  this->flights->close();
  call& fresh = this->run("k", make_task(), run_options().not_before(manual_clock::now()));
  this->front.pump();
  EXPECT_TRUE(fresh.template failed_with<cacheflight::closed_error>());
  EXPECT_TRUE(this->flights->has("k")) << "it was not superseded";
  call& other = this->front.run_other_type(*this->flights, "k", {}, make_task());
  this->front.pump();
  EXPECT_TRUE(other.template failed_with<cacheflight::type_mismatch_error>());
  EXPECT_EQ(this->flights->stats().max_keys_rejected, 0u);
  this->resolve(task, 1);
  EXPECT_EQ(a.value->number, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R58_a_call_that_a_closed_group_refuses_gives_back_its_task) {
  this->flights->close();
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(1s));
  this->front.pump();
  EXPECT_TRUE(a.template failed_with<cacheflight::closed_error>());
  EXPECT_EQ(a.completions, 1);
  EXPECT_EQ(task->invoked, 0);
  // By hand a task that no flight was built for has nothing of its own; an operation of senders keeps it.
  if constexpr (!std::is_same_v<TypeParam, hand_front> && !std::is_same_v<TypeParam, sender_front>) {
    EXPECT_TRUE(task->unwound);
  }
  try {
    std::rethrow_exception(a.error);
  } catch (cacheflight::closed_error const& e) {
    EXPECT_EQ(e.key(), "k");
    EXPECT_EQ(std::string_view(e.what()).find('k' + std::string("ey")), std::string_view::npos);
  }
}

// ---- drain ------------------------------------------------------------------------------------------------

TYPED_TEST(contract, R59_a_drain_ends_at_once_if_nothing_is_up) {
  CACHEFLIGHT_NEEDS_DRAIN();
  for (int again = 0; again < 2; ++again) {
    call& d = this->drain();
    ASSERT_TRUE(d.done());
    EXPECT_EQ(d.value->number, 1);
    EXPECT_TRUE(this->flights->closed());
  }
  call& limited = this->drain(1s);
  EXPECT_EQ(limited.value->number, 1);
  this->pass_time(2s);
  EXPECT_EQ(limited.completions, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R59_a_drain_waits_for_flights_and_closes_the_group) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const one = make_task(), other = make_task();
  call& a = this->run("a", one);
  call& b = this->run("b", other);
  call& d = this->drain();
  call& e = this->drain(1h);
  EXPECT_FALSE(d.done() || e.done());
  EXPECT_EQ(this->flights->stats().waiters, 2u) << "who drains waits for no flight";
  EXPECT_EQ(this->flights->size(), 2u);
  call& joins = this->run("a", make_task());
  call& late = this->run("c", make_task());
  this->front.pump();
  EXPECT_TRUE(late.template failed_with<cacheflight::closed_error>());
  this->resolve(one, 1);
  EXPECT_TRUE(a.done() && joins.done());
  EXPECT_FALSE(d.done() || e.done());
  this->reject(other, std::make_exception_ptr(task_failed("no")));
  EXPECT_TRUE(b.done());
  for (call* each : {&d, &e}) {
    ASSERT_TRUE(each->done());
    EXPECT_EQ(each->value->number, 1);
    EXPECT_EQ(each->completions, 1);
  }
  this->expect_at_rest();
}

TYPED_TEST(contract, R59_a_drain_waits_for_tasks_that_nobody_waits_for) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const cancelled = make_task(), superseded = make_task(), left = make_task();
  this->run("a", cancelled);
  call& b = this->run("b", superseded);
  call& c = this->run("c", left);
  this->cancel("a");
  this->flights->supersede("b");
  this->leave(c);
  call& d = this->drain();
  EXPECT_EQ(this->flights->size(), 0u);
  EXPECT_EQ(this->flights->stats().detached, 2u);
  EXPECT_FALSE(d.done());
  this->resolve(cancelled, 1);
  EXPECT_FALSE(d.done());
  this->resolve(superseded, 2);
  EXPECT_TRUE(b.done());
  EXPECT_FALSE(d.done());
  this->resolve(left, 3);
  ASSERT_TRUE(d.done());
  EXPECT_EQ(d.value->number, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R59_who_drains_goes_on_after_all_callers) {
  CACHEFLIGHT_NEEDS_DRAIN();
  if constexpr (!TypeParam::pumped) GTEST_SKIP() << TypeParam::not_pumped;
  auto const task = make_task();
  std::vector<call*> callers;
  for (int i = 0; i < 5; ++i) callers.push_back(&this->run("k", task));
  call& d = this->drain();
  d.on_complete = [&] {
    for (call* each : callers) EXPECT_TRUE(each->done());
    EXPECT_TRUE(task->unwound);
  };
  task->value = 1;
  task->open_gate(false);
  EXPECT_FALSE(d.done());
  this->front.pump();
  ASSERT_TRUE(d.done());
  EXPECT_EQ(d.value->number, 1);
}

TYPED_TEST(contract, R59_when_its_time_is_over_all_that_is_up_is_cancelled) {
  CACHEFLIGHT_NEEDS_DRAIN();
  this->make_recording_group();
  auto const task = make_task(), superseded = make_task();
  call& b = this->run("k", superseded);
  this->flights->supersede("k");
  call& a = this->run("k", task);
  call& patient = this->drain();
  call& hasty = this->drain(2s);
  call& late = this->drain(3s);
  this->pass_time(2s - 1ns);
  this->front.pump();
  EXPECT_FALSE(a.done() || b.done() || patient.done() || hasty.done());
  this->pass_time(1ns);
  this->front.pump();
  for (call* each : {&patient, &hasty, &late}) {
    ASSERT_TRUE(each->done()) << "without waiting for tasks";
    EXPECT_EQ(each->value->number, 0);
  }
  for (call* each : {&a, &b}) {
    ASSERT_TRUE(each->done());
    try {
      std::rethrow_exception(each->error);
    } catch (cacheflight::cancelled_error const& e) {
      EXPECT_EQ(e.reason(), cacheflight::cancel_reason::drain);
      EXPECT_NE(std::string_view(e.what()).find("drain"), std::string_view::npos);
    }
  }
  EXPECT_TRUE(task->stop_requested && superseded->stop_requested);
  auto const types = this->types();
  EXPECT_EQ(std::count(types.begin(), types.end(), event_type::task_cancelled), 2);
  EXPECT_EQ(this->flights->stats().detached, 2u);
  EXPECT_TRUE(this->flights->closed());
  call& again = this->drain();
  EXPECT_FALSE(again.done()) << "the tasks have not unwound";
  this->resolve(task, 1);
  EXPECT_FALSE(again.done());
  this->resolve(superseded, 1);
  ASSERT_TRUE(again.done());
  EXPECT_EQ(again.value->number, 1);
  this->pass_time(5s);
  this->front.pump();
  for (call* each : {&patient, &hasty, &late, &again}) EXPECT_EQ(each->completions, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R59_time_that_runs_out_in_which_the_last_flight_ends_by_itself) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(1s));
  call& d = this->drain(1s);
  task->obeys = true;
  this->pass_time(1s);
  this->front.pump();
  EXPECT_TRUE(a.done() && d.done());
  EXPECT_EQ(d.completions, 1);
  this->expect_at_rest();
}

TYPED_TEST(contract, R59_the_groups_end_ends_drains) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const task = make_task();
  task->obeys = true;  // so that nothing is up when they are told
  call& a = this->run("k", task);
  call& d = this->drain();
  call& e = this->drain(1h);
  this->flights.reset();
  this->front.pump();
  EXPECT_TRUE(a.done());
  for (call* each : {&d, &e}) {
    ASSERT_TRUE(each->done());
    EXPECT_EQ(each->value->number, 0);
    EXPECT_EQ(each->completions, 1);
  }
}

TYPED_TEST(contract, R59_who_drains_hears_of_no_events_and_is_in_no_books) {
  CACHEFLIGHT_NEEDS_DRAIN();
  this->make_recording_group();
  auto const task = make_task();
  this->run("k", task);
  this->drain(1h);
  EXPECT_EQ(this->flights->snapshot().size(), 1u);
  EXPECT_EQ(this->flights->stats().superseded, 0u);
  this->resolve(task, 1);
  EXPECT_EQ(this->types(),
            (std::vector{event_type::miss, event_type::task_started, event_type::task_resolved}));
  auto const stats = this->flights->stats();
  EXPECT_EQ(stats.resolved, 1u);
  EXPECT_EQ(stats.hits, 0u);
  this->expect_at_rest();
}

TYPED_TEST(contract, R59_clear_and_cancel_leave_drains_alone) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const task = make_task();
  call& a = this->run("k", task);
  call& d = this->drain();
  this->flights->clear();
  this->flights->supersede();
  EXPECT_FALSE(this->cancel(""));
  this->front.pump();
  EXPECT_TRUE(a.done());
  EXPECT_FALSE(d.done());
  this->resolve(task, 1);
  ASSERT_TRUE(d.done());
  EXPECT_EQ(d.value->number, 1);
}

constexpr char const* no_way_to_leave = "a drain of this front cannot be left, but by destroying who waits";

/// Who drains goes, by its front's own means. False: there is none.
template <class Front>
bool leaves_drain(Front& front, call& gone) {
  if (front.vanish(gone)) return true;
  if constexpr (requires { front.io; }) {
    front.leave(gone);
    front.pump();
    EXPECT_TRUE(gone.left);
    return true;
  }
  return false;
}

TYPED_TEST(contract, R59_a_drain_that_is_left_ends_for_the_others) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const task = make_task();
  this->run("k", task);
  call& gone = this->drain();
  call& d = this->drain();
  if (!leaves_drain(this->front, gone)) GTEST_SKIP() << no_way_to_leave;
  EXPECT_FALSE(d.done());
  this->resolve(task, 1);
  ASSERT_TRUE(d.done());
  EXPECT_EQ(d.value->number, 1);
}

TYPED_TEST(contract, R59_a_drain_that_everybody_has_left_leaves_the_group_closed) {
  CACHEFLIGHT_NEEDS_DRAIN();
  auto const task = make_task();
  call& a = this->run("k", task);
  call& gone = this->drain(1s);
  if (!leaves_drain(this->front, gone)) GTEST_SKIP() << no_way_to_leave;
  EXPECT_FALSE(a.done() || task->stop_requested);
  EXPECT_TRUE(this->flights->closed());
  call& d = this->drain();
  this->resolve(task, 1);
  ASSERT_TRUE(d.done());
  EXPECT_EQ(d.value->number, 1);
  this->expect_at_rest();
}

#undef CACHEFLIGHT_NEEDS_DRAIN

}  // namespace
}  // namespace cacheflight_test
