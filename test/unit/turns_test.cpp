// SPDX-License-Identifier: MIT
#include "support/manual_platform.hpp"
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

namespace cacheflight_test {
namespace {

namespace cd = cacheflight::detail;
using P = manual_platform;
using core = cd::core<P>;

struct bare_flight final : cd::keyed_flight<P, std::string> {
  explicit bare_flight(std::string key) : cd::keyed_flight<P, std::string>(std::move(key), {}) {}
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(int); }
  bool request_stop() noexcept override { return true; }
};

/// Joins or leads, and waits.
class caller final : public cd::inline_caller<P> {
  using base = cd::inline_caller<P>;

 public:
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
    core::finish(*this);
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
  settle(a.flight);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(a.leader->turns, 0);
  core::finish(*a.leader);
}

TEST_F(turns, a_leader_is_not_taken_for_one_that_another_thread_starts) {
  led a(flights, "a"), b(flights, "b");
  std::latch started(1), over(1);
  std::thread one([&] {  // each is the first start of a new thread
    caller::starting start(*a.leader);
    started.count_down();
    over.wait();
    EXPECT_FALSE(start.end());
  });
  std::thread other([&] {
    started.wait();
    caller::starting start(*b.leader);
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
  settle(one.flight);
  EXPECT_TRUE(one.leader->noted);
  EXPECT_TRUE(start.end());
  EXPECT_EQ(one.leader->turns, 0);
}

TEST_F(turns, a_leader_whose_task_ends_later_is_given_its_turn_at_once) {
  led one(flights, "one");
  {
    caller::starting start(*one.leader);
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
  {
    caller::starting second(*inner.leader);
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
  {
    caller::starting second(*inner.leader);
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
  led one(flights, "one"), two(flights, "two");
  caller joiner(flights, "two");
  bool ready = false;
  one.leader->in_turn = [&] {
    caller::starting start(*two.leader);
    settle(two.flight);
    ready = start.end();
    EXPECT_EQ(joiner.turns, 0) << "the turn is not over";
  };
  settle(one.flight);
  EXPECT_TRUE(ready);
  EXPECT_EQ(joiner.turns, 1);
}

TEST_F(turns, a_leader_may_be_given_its_turn_on_another_thread_while_it_starts) {
  led one(flights, "one");
  caller::starting start(*one.leader);
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
  one.leader.reset();
  EXPECT_FALSE(flights.has("one"));
  EXPECT_FALSE(start.end());
  settle(one.flight);
}

TEST_F(turns, a_leader_that_was_ready_may_be_destroyed_before_its_start_is_over) {
  {
    led one(flights, "one");
    caller::starting start(*one.leader);
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

}  // namespace
}  // namespace cacheflight_test
