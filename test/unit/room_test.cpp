// SPDX-License-Identifier: MIT

// Room for flights and deadlines is got without the lock (rule 41): it may be had no more, or not suffice any
// more, or not be needed any more, once the lock is held again.

#include "support/manual_platform.hpp"
#include "unit/memory.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <new>
#include <typeinfo>
#include <utility>
#include <vector>

namespace room {

namespace cd = cacheflight::detail;
using cacheflight_test::checked_mutex;

struct one_part : cacheflight_test::manual_platform {
  static std::size_t shards() noexcept { return 1; }
};
using core = cd::core<one_part>;

}  // namespace room

struct cacheflight::detail::inspector {
  static auto& table(room::core& of) { return of.shards_[0].table; }
  static auto& deadlines(room::core& of) { return of.shards_[0].deadlines; }
};

namespace room {
namespace {

using namespace std::chrono_literals;
using cacheflight::run_options;
using group =
    cacheflight::basic_group<int, cacheflight::default_hash<int>, cacheflight::default_equal<int>, one_part>;
using action = std::function<void()>;

struct flight final : cd::keyed_flight<one_part, int> {
  explicit flight(int key) : keyed_flight(std::move(key), {}) {}
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(int); }
  bool request_stop() noexcept override { return true; }
};

struct caller final : cd::waiter<one_part> {
  ~caller() override {
    if (joined() && !core::withdraw(*this)) core::finish(*this);
  }
  bool hand_over(waiters&) noexcept override { return true; }
};

run_options timed() { return run_options().timeout(1h); }
run_options waiting() { return run_options().wait_timeout(1h); }
void no_memory() { memory::mine.none = true; }
struct plenty_afterwards {
  plenty_afterwards() = default;
  plenty_afterwards(plenty_afterwards const&) = delete;
  plenty_afterwards& operator=(plenty_afterwards const&) = delete;
  ~plenty_afterwards() { memory::mine.none = false; }
};

struct room_test : testing::Test {
  ~room_test() override {
    for (auto* const f : led) core::settle(*f, cd::cause::resolved, nullptr, nullptr);
  }

  /// `built` is called when a flight has been built; what follows takes memory for nothing but room.
  void call(int key, run_options const& opts = {}, action const& built = [] {}) {
    caller& c = callers.emplace_back();
    led.reserve(led.size() + 1);
    plenty_afterwards const to_the_end;
    auto const build = [&](int k) {
      auto* const f = new flight(k);
      built();
      return f;
    };
    if (cd::access::enter(flights, key, c, opts, typeid(int), build) == cd::admission::leads)
      led.push_back(c.joined());
  }
  void join(run_options const& opts, bool shortage) {
    caller& c = callers.emplace_back();
    int key = 0;
    plenty_afterwards const to_the_end;
    if (shortage) no_memory();
    auto const none = [](int) -> flight* { return nullptr; };
    EXPECT_EQ(cd::access::enter(flights, key, c, opts, typeid(int), none), cd::admission::joined);
  }
  void lead(int count, run_options const& opts = {}) {
    while (count-- > 0) call(next++, opts);
  }

  /// Once it has been decided how much room is to be got.
  static action meanwhile(action what) {
    return [what = std::move(what)] {
      checked_mutex::after_unlock() = [what] { checked_mutex::after_unlock() = what; };
    };
  }

  group flights;
  int next = 0;
  std::vector<cd::flight<one_part>*> led;
  std::deque<caller> callers;
};

using R41_room = room_test;

TEST_F(R41_room, is_made_as_flights_and_deadlines_come) {
  auto& its = cd::access::core(flights);
  lead(100);
  EXPECT_TRUE(cd::inspector::table(its).fits());
  lead(3, timed());
  lead(1, timed().wait_timeout(1s));
  EXPECT_FALSE(cd::inspector::deadlines(its).has_room(100)) << "more deadlines than there was room for";
}

TEST_F(R41_room, for_more_buckets_need_not_be_had) {
  lead(8);
  memory::mine.refused = 0;
  for (int i = 0; i < 3; ++i) call(next++, timed(), no_memory);
  EXPECT_EQ(memory::mine.refused, 3);
  join(waiting(), false);
  call(next++, {}, no_memory);  // nor for a deadline
  EXPECT_EQ(memory::mine.refused, 4);
  EXPECT_EQ(flights.size(), 12U);
}

TEST_F(R41_room, for_a_deadline_must_be_had) {
  lead(3, timed());
  EXPECT_THROW(call(next, timed(), no_memory), std::bad_alloc);
  join(waiting(), false);
  EXPECT_THROW(join(waiting(), true), std::bad_alloc);
  auto const s = flights.stats();
  EXPECT_EQ(s.misses, 3U);
  EXPECT_EQ(s.hits, 1U);
  EXPECT_EQ(s.waiters, 4U);
  join({}, true);  // who has no deadline needs no room
}

TEST_F(R41_room, for_deadlines_that_others_have_taken_meanwhile_is_made_again) {
  lead(3, timed());
  call(next++, timed().wait_timeout(1h), meanwhile([&] { lead(4, timed()); }));
  EXPECT_EQ(flights.stats().waiters, 8U);
}

TEST_F(R41_room, for_deadlines_that_others_have_made_meanwhile_is_not_made_less) {
  lead(3, timed());
  call(next++, timed(), meanwhile([&] { lead(6, timed()); }));
  EXPECT_EQ(flights.stats().waiters, 10U);
}

TEST_F(R41_room, for_deadlines_may_be_taken_while_buckets_are_got) {
  lead(8);
  call(next++, timed(), meanwhile([&] {
         for (int i = 0; i < 3; ++i) join(waiting(), false);
       }));
  EXPECT_EQ(flights.size(), 9U);
}

TEST_F(R41_room, for_deadlines_that_others_have_given_back_meanwhile_suffices) {
  lead(3, timed());
  memory::mine.refused = 0;
  call(next++, timed(), [&] {
    meanwhile([&] { flights.cancel(0); })();
    no_memory();
  });
  EXPECT_EQ(memory::mine.refused, 1);
  EXPECT_EQ(flights.size(), 3U);
}

}  // namespace
}  // namespace room
