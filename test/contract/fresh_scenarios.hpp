// SPDX-License-Identifier: MIT

#pragma once

// Scenarios for every front: calls that know what became of them, and results that are new enough.
// Included by scenarios.hpp.

namespace cacheflight_test {
namespace {

using cacheflight::call_report;
using cacheflight::call_role;
using cacheflight::cancel_reason;

// ---- calls that know what became of them ------------------------------------------------------------------

TYPED_TEST(contract, R46_a_call_knows_whether_it_led_joined_or_was_refused) {
  this->make_group(options().max_keys(1).measure_age());
  auto const task = make_task();
  call_report led, joined, other_type, full;
  auto const began = std::chrono::steady_clock::time_point(manual_clock::now().time_since_epoch());
  call& a = this->run("k", task, run_options().report(led));
  call& b = this->run("k", make_task(), run_options().report(joined));
  this->front.run_other_type(*this->flights, "k", run_options().report(other_type), make_task());
  this->run("more", make_task(), run_options().report(full));

  EXPECT_EQ(led.role, call_role::led);
  EXPECT_NE(led.flight_id, 0u);
  EXPECT_EQ(led.waiters, 1u);
  EXPECT_EQ(led.began, began);
  EXPECT_EQ(joined.role, call_role::joined);
  EXPECT_EQ(joined.flight_id, led.flight_id);
  EXPECT_EQ(joined.waiters, 2u);
  EXPECT_EQ(joined.began, led.began);
  for (call_report const& refused : {other_type, full}) {
    EXPECT_EQ(refused.role, call_role::refused);
    EXPECT_EQ(refused.flight_id, 0u);
    EXPECT_EQ(refused.waiters, 0u);
    EXPECT_FALSE(refused.began);
  }
  this->resolve(task, 1);
  EXPECT_TRUE(a.done() && b.done());
  EXPECT_EQ(led.waiters, 1u) << "it was written once";
}

TYPED_TEST(contract, R46_a_beginning_that_no_clock_has_seen_is_not_told) {
  auto const task = make_task();
  call_report report;
  this->run("k", task, run_options().report(report));
  EXPECT_EQ(report.role, call_role::led);
  EXPECT_FALSE(report.began);
  this->resolve(task, 1);
}

TYPED_TEST(contract, R47_a_hit_has_the_leaders_metadata_beside_its_own) {
  std::vector<std::pair<std::string, std::string>> pairs;
  auto const text = [](std::any const& any) -> std::string {
    auto const* t = std::any_cast<char const*>(&any);
    return t ? *t : "";
  };
  this->make_group(options().max_keys(1).on_event(
      [&](cacheflight::event const& e) { pairs.emplace_back(text(e.metadata), text(e.leader_metadata)); }));
  auto const task = make_task();
  this->run("k", task, run_options().metadata("leader"));
  this->run("k", make_task(), run_options().metadata("joiner"));
  this->run("more", make_task(), run_options().metadata("refused"));
  this->resolve(task, 1);
  using pair = std::pair<std::string, std::string>;
  EXPECT_EQ(pairs, (std::vector<pair>{{"leader", "leader"},  // miss
                                      {"leader", "leader"},  // task_started
                                      {"joiner", "leader"},
                                      {"refused", ""},  // miss
                                      {"refused", ""},  // max_keys_rejected
                                      {"leader", "leader"}}));
}

// ---- results that are new enough --------------------------------------------------------------------------

TYPED_TEST(contract, R49_who_calls_after_supersede_gets_a_newer_flight_and_who_waits_is_served) {
  auto const old = make_task(), young = make_task();
  call& a = this->run("k", old);
  call& b = this->run("k", make_task());
  EXPECT_TRUE(this->flights->supersede("k"));
  EXPECT_FALSE(this->flights->supersede("k")) << "there is none any more";
  EXPECT_FALSE(this->flights->has("k"));
  EXPECT_EQ(this->flights->size(), 0u);
  EXPECT_EQ(this->flights->stats().superseded, 1u);
  EXPECT_EQ(this->flights->stats().in_flight, 0u);
  EXPECT_EQ(this->flights->stats().waiters, 2u);
  call& c = this->run("k", young);
  call& d = this->run("k", make_task());
  EXPECT_EQ(young->invoked, 1);
  EXPECT_EQ(this->flights->size(), 1u);

  this->resolve(young, 2);
  EXPECT_FALSE(a.done() || b.done());
  EXPECT_FALSE(old->stop_requested);
  this->resolve(old, 1);
  for (call* each : {&a, &b}) EXPECT_EQ(each->value->number, 1);
  for (call* each : {&c, &d}) EXPECT_EQ(each->value->number, 2);
  EXPECT_EQ(this->flights->stats().superseded, 0u);
  this->expect_at_rest();
}

TYPED_TEST(contract, R49_a_superseded_flight_ends_by_itself_and_not_the_newer_one) {
  for (int how = 0; how < 4; ++how) {
    auto const old = make_task(), young = make_task();
    old->obeys = how != 0;
    call& a = this->run("k", old, run_options().timeout(1s));
    this->flights->supersede("k");
    call& b = this->run("k", young);
    if (how == 0) this->reject(old, std::make_exception_ptr(task_failed("old")));
    else if (how == 1) this->pass_time(1s);
    else if (how == 2) this->leave(a);
    else EXPECT_TRUE(this->flights->cancel("k")) << "of the newer one";
    this->front.pump();
    EXPECT_EQ(a.done(), how != 3);
    EXPECT_EQ(b.done(), how == 3);
    EXPECT_EQ(old->stop_requested, how == 1 || how == 2) << how;
    if (how != 3) this->resolve(young, 2);
    else this->resolve(old, 1), this->resolve(young, 2);
    if (how == 3) EXPECT_EQ(a.value->number, 1);
    else EXPECT_EQ(b.value->number, 2);
    this->expect_at_rest();
  }
}

TYPED_TEST(contract, R49_clear_and_the_groups_end_reach_superseded_flights) {
  for (bool const group_goes : {false, true}) {
    this->make_group();
    auto const first = make_task(), second = make_task(), third = make_task();
    call& a = this->run("k", first);
    this->flights->supersede("k");
    call& b = this->run("k", second);
    this->flights->supersede();
    call& c = this->run("other", third);
    EXPECT_EQ(this->flights->stats().superseded, 2u);
    if (group_goes) this->flights.reset();
    else this->flights->clear();
    this->front.pump();
    for (call* each : {&a, &b, &c}) {
      ASSERT_TRUE(each->template failed_with<cacheflight::cancelled_error>());
      try {
        std::rethrow_exception(each->error);
      } catch (cacheflight::cancelled_error const& e) {
        EXPECT_EQ(e.reason(), group_goes ? cancel_reason::destroyed : cancel_reason::clear);
      }
    }
    for (auto const& task : {first, second, third}) {
      EXPECT_TRUE(task->stop_requested);
      this->resolve(task, 1);
    }
    if (!group_goes) this->expect_at_rest();
  }
}

TYPED_TEST(contract, R49_a_superseded_flight_holds_no_key) {
  this->make_group(options().max_keys(1));
  auto const old = make_task(), young = make_task();
  this->run("k", old);
  this->flights->supersede("k");
  call& b = this->run("other", young);
  EXPECT_FALSE(b.done());
  call& refused = this->run("k", make_task());
  this->front.pump();
  EXPECT_TRUE(refused.template failed_with<cacheflight::max_keys_error>());
  this->resolve(old, 1);
  EXPECT_EQ(this->flights->size(), 1u);
  call& still = this->run("k", make_task());
  this->front.pump();
  EXPECT_TRUE(still.template failed_with<cacheflight::max_keys_error>())
      << "it had given its key back before";
  this->flights->supersede();
  auto const last = make_task();
  this->run("k", last);
  EXPECT_EQ(last->invoked, 1) << "all have given theirs back";
  this->resolve(young, 2);
  this->resolve(last, 3);
  this->expect_at_rest();
}

TYPED_TEST(contract, R50_not_before_takes_no_flight_that_was_joinable_by_then) {
  this->make_group(options().measure_age());
  auto const old = make_task(), young = make_task(), newest = make_task();
  call& a = this->run("k", old);
  auto const at_once = manual_clock::now();
  call& b = this->run("k", young, run_options().not_before(at_once));  // a tie of the clock
  EXPECT_EQ(young->invoked, 1);
  EXPECT_EQ(this->flights->stats().superseded, 1u);
  EXPECT_EQ(this->flights->stats().hits, 0u);
  this->pass_time(1s);
  call& c = this->run("k", newest, run_options().not_before(manual_clock::now() - 500ms));
  EXPECT_EQ(newest->invoked, 1);
  call& d = this->run("k", make_task(), run_options().not_before(manual_clock::now() - 1ns));
  call& e = this->run("k", make_task());
  EXPECT_EQ(this->flights->stats().hits, 2u) << "those who are content with it share it";
  this->resolve(newest, 3);
  this->resolve(old, 1);
  this->resolve(young, 2);
  EXPECT_EQ(a.value->number, 1);
  EXPECT_EQ(b.value->number, 2);
  for (call* each : {&c, &d, &e}) EXPECT_EQ(each->value->number, 3);
  this->expect_at_rest();
}

TYPED_TEST(contract, R50_a_flight_whose_beginning_no_clock_saw_counts_as_older) {
  auto const old = make_task(), young = make_task();
  this->run("k", old);
  auto const before = manual_clock::time_point::min();  // long before the clock's epoch
  this->run("k", young, run_options().not_before(before));
  EXPECT_EQ(young->invoked, 1);
  this->run("k", make_task(), run_options().not_before(before));
  EXPECT_EQ(this->flights->stats().hits, 1u) << "a leader with not_before has looked";
  this->resolve(old, 1);
  this->resolve(young, 2);
}

TYPED_TEST(contract, R50_a_moment_in_the_future_is_refused_and_so_changes_nothing) {
  auto const task = make_task();
  this->run("k", task);
  call& b = this->run("k", make_task(), run_options().not_before(manual_clock::now() + 1ns));
  this->front.pump();
  EXPECT_TRUE(b.template failed_with<std::invalid_argument>());
  EXPECT_TRUE(this->flights->has("k"));
  EXPECT_EQ(this->flights->stats().misses, 1u);
  this->resolve(task, 1);
}

TYPED_TEST(contract, R50_superseding_and_leading_trade_one_key) {
  this->make_group(options().max_keys(1));
  auto const old = make_task(), young = make_task();
  this->run("k", old);
  call& b = this->run("k", young, run_options().not_before(manual_clock::now()));
  EXPECT_EQ(young->invoked, 1) << "the cap cannot refuse it";
  call& refused = this->run("more", make_task(), run_options().not_before(manual_clock::now()));
  this->front.pump();
  EXPECT_TRUE(refused.template failed_with<cacheflight::max_keys_error>());
  this->resolve(old, 1);
  call& still = this->run("more", make_task());
  this->front.pump();
  EXPECT_TRUE(still.template failed_with<cacheflight::max_keys_error>());
  this->resolve(young, 2);
  EXPECT_EQ(b.value->number, 2);
  auto const last = make_task();
  this->run("more", last);
  EXPECT_EQ(last->invoked, 1);
  this->resolve(last, 3);
  this->expect_at_rest();
}

TYPED_TEST(contract, R50_types_are_compared_only_with_a_flight_that_it_would_join) {
  auto const old = make_task(), young = make_task();
  this->run("k", old);
  call& b =
      this->front.run_other_type(*this->flights, "k", run_options().not_before(manual_clock::now()), young);
  EXPECT_EQ(young->invoked, 1);
  EXPECT_EQ(this->flights->stats().type_mismatches, 0u);
  this->resolve(old, 1);
  this->resolve(young, 2);
  EXPECT_TRUE(b.done());
}

TYPED_TEST(contract, R14_an_error_says_who_has_cancelled) {
  auto const task = make_task();
  call& a = this->run("k", task);
  this->cancel("k");
  this->front.pump();
  try {
    std::rethrow_exception(a.error);
  } catch (cacheflight::cancelled_error const& e) {
    EXPECT_EQ(e.reason(), cancel_reason::cancel);
  }
  this->resolve(task, 1);
}

}  // namespace
}  // namespace cacheflight_test
