// SPDX-License-Identifier: MIT

// Mistakes that shipped in other libraries of this kind, each by name, through every front that one thread
// can drive.

#include "fixture.hpp"

#include <gtest/gtest.h>

namespace cacheflight_test {
namespace {

template <class Front>
class defect : public contract<Front> {};
using fronts = testing::Types<hand_front, asio_coroutine_front, asio_handler_front, coroutine_front,
                              callback_front, sender_front>;
TYPED_TEST_SUITE(defect, fronts, front_names);

TYPED_TEST(defect, removal_by_key_evicts_a_newer_flight) {
  auto const old = make_task(), young = make_task();
  this->run("k", old);
  this->flights->cancel("k");
  this->front.pump();
  call& b = this->run("k", young);
  this->resolve(old, 1);
  EXPECT_TRUE(this->flights->has("k"));
  call& joins = this->run("k", make_task());
  this->resolve(young, 2);
  EXPECT_EQ(b.value->number, 2);
  EXPECT_EQ(joins.value->number, 2);
}

TYPED_TEST(defect, settle_first_and_remove_later_hands_out_stale_results) {
  // At every point where code of ours can be called from while a flight ends, a new call starts a new flight.
  this->make_recording_group();
  std::vector<task_ptr> later;
  auto const call_again = [&] {
    auto const again = make_task();
    this->run("k", again);
    EXPECT_EQ(again->invoked, 1) << "joined a flight whose outcome was decided";
    later.push_back(again);
    this->flights->cancel("k");
  };
  auto const task = make_task();
  call& a = this->run("k", task);
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type == event_type::task_resolved && later.empty()) call_again();
  };
  a.on_complete = call_again;
  this->resolve(task, 1);
  this->front.pump();
  EXPECT_EQ(later.size(), 2u);
}

TYPED_TEST(defect, remove_first_and_settle_later_loses_a_joiner) {
  auto const task = make_task();
  call& a = this->run("k", task);
  std::vector<call*> joiners;
  for (int i = 0; i < 10; ++i) joiners.push_back(&this->run("k", make_task()));
  this->resolve(task, 1);
  EXPECT_TRUE(a.done());
  for (call* c : joiners) EXPECT_EQ(c->completions, 1);
}

TYPED_TEST(defect, a_new_caller_joins_a_flight_that_is_already_cancelled) {
  auto const stubborn = make_task(), fresh = make_task();
  call& only = this->run("k", stubborn);
  this->leave(only);
  EXPECT_FALSE(stubborn->unwound);
  call& next = this->run("k", fresh);
  this->front.pump();
  EXPECT_FALSE(next.done()) << "got somebody else's cancellation";
  EXPECT_EQ(fresh->invoked, 1);
  this->resolve(fresh, 1);
  this->resolve(stubborn, 2);
  EXPECT_EQ(next.value->number, 1);
}

TYPED_TEST(defect, a_throw_or_a_dropped_task_leaves_the_key_poisoned) {
  for (int how = 0; how < 3; ++how) {
    auto const task = make_task();
    if (how == 0) task->inline_error = std::make_exception_ptr(task_failed("at once"));
    call& a = this->run("k", task);
    if (how == 1) this->reject(task, std::make_exception_ptr(task_failed("later")));
    if (how == 2) this->abandon(task);
    this->front.pump();
    EXPECT_TRUE(a.error);
    EXPECT_FALSE(this->flights->has("k"));
    auto const again = make_task();
    call& b = this->run("k", again);
    this->resolve(again, 1);
    EXPECT_EQ(b.value->number, 1);
  }
  this->expect_at_rest();
}

TYPED_TEST(defect, cancel_before_the_first_step_of_the_task_hangs_every_waiter) {
  this->make_recording_group();
  this->on_event = [&](cacheflight::event const& e) {
    if (e.type == event_type::task_started) this->flights->cancel(e.key);
  };
  auto const task = make_task();
  call& a = this->run("k", task);
  this->front.pump();
  EXPECT_TRUE(a.template failed_with<cacheflight::cancelled_error>());
  EXPECT_EQ(task->invoked, 0);
  this->expect_at_rest();
}

TYPED_TEST(defect, a_cap_on_keys_hides_work_that_still_runs) {
  this->make_group(options().max_keys(1));
  std::vector<task_ptr> stubborn;
  for (int i = 0; i < 3; ++i) {
    this->run("k", stubborn.emplace_back(make_task()));
    this->flights->cancel("k");
    EXPECT_EQ(this->flights->stats().detached, stubborn.size());
    EXPECT_EQ(this->flights->size(), 0u);
  }
  for (auto const& t : stubborn) {
    this->front.pump();
    this->resolve(t, 1);
  }
  EXPECT_EQ(this->flights->stats().detached, 0u);
}

TYPED_TEST(defect, a_throwing_event_callback_leaks_a_waiter_and_automatic_cancellation_never_fires) {
  this->make_recording_group();
  this->on_event = [](cacheflight::event const& e) {
    if (e.type == event_type::hit) throw std::runtime_error("from the callback");
  };
  auto const task = make_task();
  call& a = this->run("k", task);
  call& b = this->run("k", make_task());
  this->leave(b);
  this->leave(a);
  EXPECT_TRUE(task->stop_requested);
  EXPECT_FALSE(this->flights->has("k"));
  this->resolve(task, 1);
  this->expect_at_rest();
}

TYPED_TEST(defect, the_tasks_own_timeout_error_is_taken_for_the_librarys) {
  auto const task = make_task();
  call& a = this->run("k", task, run_options().timeout(1h));
  auto const own = std::make_exception_ptr(cacheflight::timeout_error(cacheflight::timeout_scope::flight));
  this->reject(task, own);
  EXPECT_TRUE(a.error == own);
  EXPECT_EQ(this->flights->stats().timed_out, 0u);
  EXPECT_EQ(this->flights->stats().rejected, 1u);
}

TYPED_TEST(defect, a_waiter_is_touched_after_it_was_woken) {
  // Each caller is destroyed by its own completion (where the front allows it); the address sanitizer
  // watches.
  auto const task = make_task();
  std::vector<call*> calls{&this->run("k", task)};
  for (int i = 0; i < 5; ++i) calls.push_back(&this->run("k", make_task()));
  this->resolve(task, 1);
  for (call* c : calls) EXPECT_TRUE(c->done());
  this->front.calls.clear();
  EXPECT_FALSE(this->flights->has("k"));
}

TYPED_TEST(defect, one_waiters_stop_request_ends_the_work_for_all) {
  auto const task = make_task();
  task->obeys = true;
  call& leader = this->run("k", task);
  call& joiner = this->run("k", make_task());
  this->leave(leader);
  EXPECT_FALSE(task->stop_requested);
  EXPECT_FALSE(joiner.done());
  this->resolve(task, 1);
  EXPECT_EQ(joiner.value->number, 1);
}

TYPED_TEST(defect, a_callback_that_calls_the_group_deadlocks) {
  this->make_recording_group(options().max_keys(2));
  this->on_event = [&](cacheflight::event const& e) {
    (void)this->flights->has(e.key);
    (void)this->flights->stats();
    (void)this->flights->cancel("somebody else");
  };
  auto const task = make_task();
  task->when_invoked = [&] { (void)this->flights->size(); };
  call& a = this->run("k", task);
  a.on_complete = [&] { this->flights->clear(); };
  this->resolve(task, 1);
  EXPECT_TRUE(a.done());
}

}  // namespace
}  // namespace cacheflight_test
