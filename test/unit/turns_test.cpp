// SPDX-License-Identifier: MIT
#include "support/manual_platform.hpp"
#if __has_include(<ucontext.h>)
#include "support/fiber.hpp"
#define WITH_FIBERS
#endif
#include <cacheflight/detail/turns.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <typeinfo>
#include <utility>
#include <vector>

namespace cacheflight_test {
namespace {

namespace cd = cacheflight::detail;
using P = manual_platform;
using core = cd::core<P>;

struct bare_flight final : cd::keyed_flight<P, std::string> {
  explicit bare_flight(std::string key) : cd::keyed_flight<P, std::string>(std::move(key), {}) { ++alive; }
  ~bare_flight() override { --alive; }
  static inline int alive = 0;
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(int); }
  bool request_stop() noexcept override { return true; }
};

/// Joins or leads, and waits.
class caller final : public cd::inline_caller<P> {
  using base = cd::inline_caller<P>;

 public:
  using base::finish_turn;
  using base::is_starting_here;
  using starting = base::starting;

  caller(manual_group& flights, std::string key) {
    auto const build = [](std::string& k) { return new bare_flight(std::move(k)); };
    leads = cd::access::enter(flights, key, *this, {}, typeid(int), build) == cd::admission::leads;
    EXPECT_TRUE(core::arm(*this));
  }

  /// As a coroutine leader's: it may be ready within its start.
  [[nodiscard]] bool hand_over(waiters& others) noexcept override {
    if (looks && is_starting_here()) noted = true;
    else queue_turns(others);
    return true;
  }
  void take_turn() noexcept override {
    turns += 1;
    thread = std::this_thread::get_id();
    finish_turn();
    if (in_turn) std::exchange(in_turn, nullptr)();
  }

  bool leads = false;
  bool looks = true;
  bool noted = false;
  int turns = 0;
  std::thread::id thread;
  std::function<void()> in_turn;
};

void settle(cd::flight<P>* f) { core::settle(*f, cd::cause::resolved, nullptr, nullptr); }

/// A leader, and the task that it is about to start.
struct led {
  led(manual_group& flights, std::string const& key) : leader(std::make_unique<caller>(flights, key)) {
    EXPECT_TRUE(leader->leads);
    core::retain(*flight);
  }
  led(led const&) = delete;
  led& operator=(led const&) = delete;
  ~led() { core::release(*flight); }

  std::unique_ptr<caller> leader;
  cd::flight<P>* const flight = leader->joined();
};

struct turns : testing::Test {
  manual_group flights;
};

TEST_F(turns, of_a_leader_that_is_released_within_its_start_are_noted_and_not_taken) {
  led a(flights, "a");
  a.leader->looks = false;
  caller::starting start(*a.leader);
  start.entering();
  settle(a.flight);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(a.leader->turns, 0);
  core::finish(*a.leader);
}

TEST_F(turns, who_is_released_together_with_a_leader_that_enters_waits_until_it_has_entered) {
  led a(flights, "a");
  a.leader->looks = false;
  caller joiner(flights, "a");
  caller::starting start(*a.leader);
  start.entering();
  settle(a.flight);
  EXPECT_EQ(joiner.turns, 0);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(joiner.turns, 1);
  EXPECT_EQ(a.leader->turns, 0);
  core::finish(*a.leader);
}

TEST_F(turns, a_leader_is_not_taken_for_one_that_another_thread_starts) {
  led a(flights, "a"), b(flights, "b");
  std::latch started(1), over(1);
  std::thread one([&] {  // each is the first start of a new thread
    caller::starting start(*a.leader);
    start.entering();
    started.count_down();
    over.wait();
    EXPECT_FALSE(start.end());
  });
  std::thread other([&] {
    started.wait();
    caller::starting start(*b.leader);
    start.entering();
    settle(a.flight);
    EXPECT_FALSE(start.end());
    over.count_down();
  });
  std::thread::id const resumes = other.get_id();
  one.join();
  other.join();
  EXPECT_FALSE(a.leader->noted);
  EXPECT_EQ(a.leader->turns, 1);
  EXPECT_EQ(a.leader->thread, resumes);
  settle(b.flight);
}

TEST_F(turns, a_leader_whose_task_ends_within_its_start_is_ready_instead_of_being_given_its_turn) {
  led one(flights, "one");
  caller::starting start(*one.leader);
  start.entering();
  settle(one.flight);
  EXPECT_TRUE(one.leader->noted);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(one.leader->turns, 0);
}

TEST_F(turns, a_leader_whose_task_begins_without_other_code_of_the_users_before_is_ready_as_well) {
  led one(flights, "one"), two(flights, "two");
  caller::starting start(*one.leader);
  start.leads();
  settle(two.flight);
  EXPECT_EQ(two.leader->turns, 1) << "in a task turns are taken at once";
  settle(one.flight);
  EXPECT_TRUE(one.leader->noted);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(one.leader->turns, 0);
}

TEST_F(turns, a_leader_that_was_noted_may_be_destroyed_on_another_thread) {
  led one(flights, "one");
  caller::starting start(*one.leader);
  start.entering();
  settle(one.flight);
  EXPECT_TRUE(one.leader->noted);
  std::thread([&] { one.leader.reset(); }).join();
  EXPECT_FALSE(start.end());
}

TEST_F(turns, a_leader_whose_task_ends_later_is_given_its_turn_at_once) {
  led one(flights, "one");
  {
    caller::starting start(*one.leader);
    start.entering();
    EXPECT_FALSE(start.end());
  }
  settle(one.flight);
  EXPECT_FALSE(one.leader->noted);
  EXPECT_EQ(one.leader->turns, 1);
}

TEST_F(turns, other_turns_wait_until_the_start_is_over) {
  led one(flights, "one"), two(flights, "two");
  caller joiner(flights, "one");
  EXPECT_FALSE(joiner.leads);
  caller::starting start(*one.leader);
  start.entering();
  settle(one.flight);
  settle(two.flight);
  EXPECT_FALSE(joiner.noted) << "it did not start the task";
  EXPECT_FALSE(two.leader->noted) << "its own start was over long ago";
  EXPECT_EQ(joiner.turns + two.leader->turns, 0);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(joiner.turns, 1);
  EXPECT_EQ(two.leader->turns, 1);
}

TEST_F(turns, of_starts_within_starts_each_has_its_own_leader) {
  led outer(flights, "outer"), inner(flights, "inner");
  caller::starting first(*outer.leader);
  first.entering();
  {
    caller::starting second(*inner.leader);
    second.entering();
    settle(outer.flight);  // by the inner task
    EXPECT_TRUE(outer.leader->noted);
    EXPECT_FALSE(second.end());
  }
  settle(inner.flight);
  EXPECT_FALSE(inner.leader->noted) << "its start is over";
  EXPECT_EQ(inner.leader->turns, 0) << "the other is not";
  EXPECT_TRUE(first.end());
  EXPECT_EQ(inner.leader->turns, 1);
  EXPECT_EQ(outer.leader->turns, 0);
}

TEST_F(turns, of_starts_within_starts_the_outermost_takes_the_turns) {
  led outer(flights, "outer"), inner(flights, "inner");
  caller joiner(flights, "inner");
  caller::starting first(*outer.leader);
  first.entering();
  {
    caller::starting second(*inner.leader);
    second.entering();
    settle(inner.flight);
    EXPECT_TRUE(second.end());
    EXPECT_EQ(joiner.turns, 0);
  }
  settle(outer.flight);
  EXPECT_TRUE(outer.leader->noted) << "its start is the one under way again";
  EXPECT_TRUE(first.end());
  EXPECT_EQ(joiner.turns, 1);
}

TEST_F(turns, a_turn_may_start_a_task) {
  for (bool const has_entered : {false, true}) {
    led one(flights, "one"), two(flights, "two");
    caller joiner(flights, "two");
    bool ready = false;
    one.leader->in_turn = [&] {
      caller::starting start(*two.leader);
      start.entering();
      if (has_entered) start.leads();
      settle(two.flight);
      ready = start.end();
      EXPECT_EQ(joiner.turns, 0) << "the turn is not over";
    };
    settle(one.flight);
    EXPECT_TRUE(ready);
    EXPECT_EQ(joiner.turns, 1);
  }
}

TEST_F(turns, that_waited_for_a_start_are_taken_though_it_fails) {
  led one(flights, "one"), two(flights, "two");
  {
    caller::starting start(*one.leader);
    start.entering();
    settle(two.flight);
    EXPECT_EQ(two.leader->turns, 0);
  }  // thrown out of
  EXPECT_EQ(two.leader->turns, 1);
  settle(one.flight);
}

TEST_F(turns, wait_for_a_start_within_a_task_until_it_has_entered) {
  led outer(flights, "outer"), inner(flights, "inner"), other(flights, "other");
  {
    caller::starting first(*outer.leader);
    first.leads();
    caller::starting second(*inner.leader);
    second.entering();
    settle(other.flight);
    EXPECT_EQ(other.leader->turns, 0);
    second.leads();
    EXPECT_EQ(other.leader->turns, 1);
    EXPECT_FALSE(second.end() || first.end());
  }
  settle(inner.flight);
  settle(outer.flight);
}

TEST_F(turns, a_caller_that_needs_no_turn_may_go_on_within_a_task) {
  led outer(flights, "outer"), other(flights, "other");
  {
    caller::starting start(*outer.leader);
    start.leads();
    {
      caller::starting here(*other.leader);
      here.entering();
      settle(other.flight);
      EXPECT_TRUE(here.end());
    }
    other.leader->finish_turn();
    EXPECT_FALSE(start.end());
  }
  EXPECT_EQ(other.leader->joined(), nullptr);
  settle(outer.flight);
}

TEST_F(turns, a_flight_goes_with_its_last_turn_whosever_turn_is_next) {
  caller one(flights, "one"), joiner(flights, "one"), two(flights, "two");
  auto *const first = one.joined(), *const second = two.joined();
  one.in_turn = [&] { settle(second); };
  settle(first);
  EXPECT_EQ(two.turns, 1);
  EXPECT_EQ(bare_flight::alive, 0) << "though its callers are still there";
}

TEST_F(turns, a_leader_may_be_given_its_turn_on_another_thread_while_it_starts) {
  led one(flights, "one");
  caller::starting start(*one.leader);
  start.entering();
  std::thread other([&] {
    settle(one.flight);
    EXPECT_EQ(one.leader->turns, 1);
    EXPECT_EQ(one.leader->thread, std::this_thread::get_id());
    one.leader.reset();
  });
  other.join();
  EXPECT_FALSE(start.end());
}

TEST_F(turns, a_leader_that_is_destroyed_while_it_starts_is_not_ready) {
  led one(flights, "one");
  caller::starting start(*one.leader);
  start.entering();
  one.leader.reset();
  EXPECT_FALSE(flights.has("one"));
  EXPECT_FALSE(start.end());
  settle(one.flight);
}

TEST_F(turns, a_leader_that_was_ready_may_be_destroyed_before_its_start_is_over) {
  {
    led one(flights, "one");
    caller::starting start(*one.leader);
    start.entering();
    settle(one.flight);
    EXPECT_TRUE(one.leader->noted);
    one.leader.reset();  // by the rest of its task
    EXPECT_FALSE(start.end());
  }
  {
    led one(flights, "one");
    caller joiner(flights, "one");
    joiner.in_turn = [&] { one.leader.reset(); };
    caller::starting start(*one.leader);
    start.entering();
    settle(one.flight);
    EXPECT_TRUE(one.leader->noted);
    EXPECT_FALSE(start.end());
    EXPECT_EQ(joiner.turns, 1);
  }
}

TEST_F(turns, a_caller_at_the_address_of_a_leader_that_is_gone_is_not_the_leader) {
  std::optional<caller> place(std::in_place, flights, "one");
  cd::flight<P>* const one = place->joined();
  core::retain(*one);
  {
    caller::starting start(*place);
    start.entering();
    place.emplace(flights, "two");
    settle(place->joined());
    EXPECT_FALSE(place->noted);
    EXPECT_EQ(place->turns, 0);
    EXPECT_FALSE(start.end());
    EXPECT_EQ(place->turns, 1);
  }
  settle(one);
  core::release(*one);
}

TEST_F(turns, are_taken_one_after_the_other) {
  led one(flights, "one"), two(flights, "two"), three(flights, "three");
  std::string order;
  one.leader->in_turn = [&] {
    order += "1(";
    settle(two.flight);
    order += ")";
  };
  two.leader->in_turn = [&] {
    order += "2(";
    settle(three.flight);
    order += ")";
  };
  three.leader->in_turn = [&] { order += "3"; };
  settle(one.flight);
  EXPECT_EQ(order, "1()2()3");
}

TEST_F(turns, a_caller_may_be_destroyed_with_its_turn_queued) {
  led one(flights, "one"), two(flights, "two");
  one.leader->in_turn = [&] {
    settle(two.flight);
    two.leader.reset();
  };
  settle(one.flight);
  EXPECT_EQ(one.leader->turns, 1);
}

#if defined(WITH_FIBERS)
// ---- fibers -----------------------------------------------------------------------------------------------

TEST_F(turns, R42_of_others_are_not_held_up_by_a_fiber_that_is_suspended_in_one) {
  led one(flights, "one"), two(flights, "two"), three(flights, "three");
  fiber in_turn([&] { settle(one.flight); });
  one.leader->in_turn = [&] { in_turn.suspend(); };
  in_turn.resume();
  EXPECT_EQ(one.leader->turns, 1);
  settle(two.flight);
  EXPECT_EQ(two.leader->turns, 1);
  fiber another([&] { settle(three.flight); });
  another.resume();
  EXPECT_EQ(three.leader->turns, 1);
  in_turn.resume();
}

TEST_F(turns, R42_within_a_turn_on_a_fiber_are_taken_one_after_the_other) {
  led one(flights, "one"), two(flights, "two");
  std::string order;
  one.leader->in_turn = [&] {
    order += "1(";
    settle(two.flight);
    order += ")";
  };
  two.leader->in_turn = [&] { order += "2"; };
  fiber on([&] { settle(one.flight); });
  on.resume();
  EXPECT_EQ(order, "1()2");
}

TEST_F(turns, R42_go_with_a_fiber_that_goes_to_another_thread) {
  led one(flights, "one"), two(flights, "two"), three(flights, "three");
  fiber moves([&] { settle(one.flight); });
  one.leader->in_turn = [&] {
    settle(two.flight);
    moves.suspend();
    settle(three.flight);
    EXPECT_EQ(two.leader->turns, 0) << "this one is not over";
    EXPECT_EQ(three.leader->turns, 1) << "the other thread knows of none";
  };
  std::thread first([&] { moves.resume(); });
  first.join();
  EXPECT_EQ(two.leader->turns, 0);
  std::thread second([&] { moves.resume(); });
  std::thread::id const there = second.get_id();
  second.join();
  EXPECT_EQ(two.leader->turns, 1);
  EXPECT_EQ(two.leader->thread, there);
  EXPECT_EQ(three.leader->turns, 1);
}

TEST_F(turns, R42_of_a_fiber_that_has_gone_to_another_thread_leave_nothing_behind) {
  led one(flights, "one"), two(flights, "two"), three(flights, "three"), four(flights, "four");
  fiber moves([&] {
    settle(one.flight);
    moves.suspend();
    settle(two.flight);  // where the first turn was, on the thread on which it began
  });
  one.leader->in_turn = [&] { moves.suspend(); };
  two.leader->in_turn = [&] {
    settle(three.flight);
    EXPECT_EQ(three.leader->turns, 0);
  };
  moves.resume();
  std::thread other([&] { moves.resume(); });
  other.join();
  moves.resume();
  EXPECT_EQ(two.leader->turns, 1);
  EXPECT_EQ(three.leader->turns, 1);
  settle(four.flight);
  EXPECT_EQ(four.leader->turns, 1);
}

TEST_F(turns, R42_of_fibers_may_end_in_any_order) {
  led one(flights, "one"), two(flights, "two"), three(flights, "three"), four(flights, "four"),
      five(flights, "five");
  fiber first([&] { settle(one.flight); }), second([&] { settle(two.flight); });
  one.leader->in_turn = [&] { first.suspend(); };
  two.leader->in_turn = [&] { second.suspend(); };
  three.leader->in_turn = [&] {
    first.resume();
    second.resume();
  };
  four.leader->in_turn = [&] {
    first.resume();  // to their ends
    second.resume();
    settle(five.flight);
    EXPECT_EQ(five.leader->turns, 0) << "this one is not over";
  };
  settle(three.flight);
  settle(four.flight);
  EXPECT_EQ(five.leader->turns, 1);
  led six(flights, "six"), seven(flights, "seven");
  six.leader->in_turn = [&] {
    settle(seven.flight);
    EXPECT_EQ(seven.leader->turns, 0);
  };
  settle(six.flight);
  EXPECT_EQ(seven.leader->turns, 1);
}

TEST_F(turns, R42_of_a_leader_whose_task_suspends_its_fiber_are_taken_meanwhile) {
  led one(flights, "one"), two(flights, "two");
  bool goes_on = true;
  fiber starts([&] {
    caller::starting start(*one.leader);
    start.entering();
    start.leads();
    starts.suspend();  // the task
    goes_on = start.end();
  });
  starts.resume();
  settle(two.flight);
  EXPECT_EQ(two.leader->turns, 1);
  settle(one.flight);
  EXPECT_FALSE(one.leader->noted);
  EXPECT_EQ(one.leader->turns, 1);
  starts.resume();
  EXPECT_FALSE(goes_on);
}

TEST_F(turns, R42_of_a_leader_whose_task_goes_to_another_thread_with_its_fiber) {
  led one(flights, "one"), two(flights, "two");
  bool goes_on = false;
  fiber starts([&] {
    caller::starting start(*one.leader);
    start.entering();
    start.leads();
    starts.suspend();
    settle(one.flight);
    goes_on = start.end() || one.leader->turns == 1;
    if (!one.leader->turns) core::finish(*one.leader);
  });
  starts.resume();
  std::thread other([&] { starts.resume(); });
  other.join();
  EXPECT_TRUE(goes_on);
  bool ready = false;
  caller::starting start(*two.leader);
  start.entering();
  settle(two.flight);
  ready = start.end();
  EXPECT_TRUE(ready);
  core::finish(*two.leader);
}

#endif

TEST_F(turns, R42_while_a_task_runs_in_a_start_are_not_held_up_by_it) {
  led one(flights, "one"), two(flights, "two");
  caller::starting start(*one.leader);
  start.entering();
  start.leads();
  settle(two.flight);
  EXPECT_EQ(two.leader->turns, 1);
  settle(one.flight);
  EXPECT_TRUE(start.end());
  core::finish(*one.leader);
}

TEST_F(turns, R42_of_a_chain_with_large_frames_do_not_grow_the_stack) {
#ifdef _WIN32
  GTEST_SKIP() << "Windows does not tell a thread's own stack from a fiber's";
#endif
  constexpr int links = 2'000;
  std::vector<std::unique_ptr<led>> chain;
  for (int i = 0; i < links; ++i) chain.push_back(std::make_unique<led>(flights, std::to_string(i)));
  for (std::size_t i = 0; i + 1 < chain.size(); ++i)
    chain[i]->leader->in_turn = [&, i] {
      char volatile large[20'000];
      large[sizeof large - 1] = 1;
      settle(chain[i + 1]->flight);
      large[0] = 1;
    };
  settle(chain.front()->flight);
  EXPECT_EQ(chain.back()->leader->turns, 1);
}

}  // namespace
}  // namespace cacheflight_test
