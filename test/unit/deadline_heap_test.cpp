// SPDX-License-Identifier: MIT
#include "unit/memory.hpp"
#include <cacheflight/detail/deadline_heap.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <deque>
#include <map>
#include <mutex>
#include <random>
#include <utility>
#include <vector>

namespace {

using time_point = std::chrono::steady_clock::time_point;
using cacheflight::detail::deadline_of;
using heap = cacheflight::detail::deadline_heap<time_point>;

struct timer : cacheflight::detail::deadline_node {
  explicit timer(deadline_of whose = deadline_of::flight, int at = 0)
      : cacheflight::detail::deadline_node(whose), when(std::chrono::seconds(at)) {}
  time_point when;
};

/// As the core does it.
void make_room(heap& in, std::size_t more) {
  heap::storage_type room(in.wanted(more));
  if (room.count() != 0) in.use(room);
  ASSERT_TRUE(in.has_room(more));
}

class timer_heap {
 public:
  void push(timer& t) {
    if (!heap_.fits(1)) make_room(heap_, 1);
    heap_.push(t.when, t);
  }
  void remove(timer& t) {
    std::scoped_lock const lock(mutex_);
    heap_.remove(t);
  }
  [[nodiscard]] timer* top() const {
    auto const* const first = heap_.top();
    if (!first) return nullptr;
    auto* const t = static_cast<timer*>(first->node);
    EXPECT_EQ(t->when, first->when);
    return t;
  }

 private:
  cacheflight::detail::retiring_mutex<std::mutex> mutex_;
  heap heap_{mutex_};
};

TEST(deadline_heap, is_empty_at_first) {
  timer_heap timers;
  EXPECT_EQ(timers.top(), nullptr);
  timer never_armed;
  EXPECT_FALSE(never_armed.armed());
  timers.remove(never_armed);  // does nothing
  EXPECT_EQ(timers.top(), nullptr);
}

TEST(deadline_heap, the_earliest_is_on_top) {
  timer_heap timers;
  timer late(deadline_of::flight, 3), early(deadline_of::flight, 1), between(deadline_of::flight, 2);
  timers.push(late);
  EXPECT_EQ(timers.top(), &late);
  timers.push(early);
  EXPECT_EQ(timers.top(), &early);
  timers.push(between);
  EXPECT_EQ(timers.top(), &early);
  timers.remove(early);
  EXPECT_FALSE(early.armed());
  EXPECT_EQ(timers.top(), &between);
  timers.remove(between);
  timers.remove(between);  // does nothing
  EXPECT_EQ(timers.top(), &late);
  timers.remove(late);
  EXPECT_EQ(timers.top(), nullptr);
}

TEST(deadline_heap, at_a_tie_the_flight_comes_before_the_waiters) {  // rule 18
  for (int position = 0; position < 4; ++position) {
    timer_heap timers;
    std::deque<timer> waiters;
    timer flight(deadline_of::flight, 1);
    for (int i = 0; i < 4; ++i) {
      if (i == position) timers.push(flight);
      timers.push(waiters.emplace_back(deadline_of::waiter, 1));
    }
    EXPECT_EQ(timers.top(), &flight) << "pushed at position " << position;
    timers.remove(flight);
    EXPECT_EQ(timers.top()->of, deadline_of::waiter);
  }
}

TEST(deadline_heap, an_earlier_waiter_comes_before_a_later_flight) {
  timer_heap timers;
  timer flight(deadline_of::flight, 2), waiter(deadline_of::waiter, 1);
  timers.push(flight);
  timers.push(waiter);
  EXPECT_EQ(timers.top(), &waiter);
}

// The model: a multimap ordered by (time, whose). Few distinct times, so that there are many ties.
void compare_with_model(std::uint32_t seed, int steps, std::size_t nodes, int times) {
  std::mt19937 random(seed);
  timer_heap timers;
  std::deque<timer> all;
  for (std::size_t i = 0; i < nodes; ++i) all.emplace_back(i % 3 ? deadline_of::waiter : deadline_of::flight);
  std::multimap<std::pair<time_point, deadline_of>, timer*> model;
  auto const key_of = [](timer const& t) { return std::pair(t.when, t.of); };
  auto const forget = [&](timer& t) {
    auto [at, end] = model.equal_range(key_of(t));
    while (at != end && at->second != &t) ++at;
    ASSERT_NE(at, end);
    model.erase(at);
  };
  for (int step = 0; step < steps; ++step) {
    timer& one = all[random() % nodes];
    unsigned const what = random() % 8;
    if (what == 0 && timers.top()) {  // as the driver does
      timer& top = *timers.top();
      forget(top);
      timers.remove(top);
    } else if (one.armed()) {  // anywhere in the heap
      forget(one);
      timers.remove(one);
      ASSERT_FALSE(one.armed());
    } else {
      one.when = time_point(std::chrono::seconds(random() % static_cast<unsigned>(times)));
      timers.push(one);
      model.emplace(key_of(one), &one);
      ASSERT_TRUE(one.armed());
    }
    if (model.empty()) {
      ASSERT_EQ(timers.top(), nullptr);
    } else {
      ASSERT_NE(timers.top(), nullptr);
      ASSERT_EQ(key_of(*timers.top()), model.begin()->first) << "step " << step;
    }
  }
  while (timers.top()) {  // the rest comes out in order
    timer& top = *timers.top();
    ASSERT_EQ(key_of(top), model.begin()->first);
    forget(top);
    timers.remove(top);
  }
  EXPECT_TRUE(model.empty());
}

TEST(deadline_heap, behaves_like_a_multimap) {
  for (std::uint32_t seed = 1; seed <= 20; ++seed)
    compare_with_model(seed, 3'000, 10 + seed * 10, seed % 2 ? 20 : 100'000);
}

TEST(deadline_heap, sorts_what_is_pushed_and_then_popped) {
  std::mt19937 random(5);
  timer_heap timers;
  std::deque<timer> all;
  for (int i = 0; i < 2'000; ++i)
    timers.push(all.emplace_back(deadline_of::flight, static_cast<int>(random() % 10'000)));
  time_point last{};
  for (std::size_t left = all.size(); left > 0; --left) {
    ASSERT_NE(timers.top(), nullptr);
    ASSERT_GE(timers.top()->when, last);
    last = timers.top()->when;
    timers.remove(*timers.top());
  }
  EXPECT_EQ(timers.top(), nullptr);
}

TEST(deadline_heap, what_room_was_made_for_takes_no_memory) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  std::deque<timer> timers;
  std::size_t size = 0;
  for (std::size_t const more : {1U, 2U, 1U, 3U, 2U, 5U, 1U}) {
    make_room(deadlines, more);
    auto const* const where = size == 0 ? nullptr : deadlines.top();
    for (std::size_t i = 0; i < more; ++i, ++size) {
      timer& t = timers.emplace_back(deadline_of::flight, static_cast<int>(size));
      deadlines.push(t.when, t);
      if (where) {
        EXPECT_EQ(deadlines.top(), where);
      }
    }
  }
}

TEST(deadline_heap, the_first_few_take_no_memory) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  EXPECT_EQ(deadlines.wanted(4), 0U);
  EXPECT_EQ(deadlines.wanted(5), 8U);
}

TEST(deadline_heap, R37_a_burst_gives_its_memory_back) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  std::deque<timer> timers;
  auto const fill = [&](std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      timer& t = timers.emplace_back(deadline_of::flight, static_cast<int>(i * 7919 % 1'000));
      if (!deadlines.fits(1)) make_room(deadlines, 1);
      deadlines.push(t.when, t);
    }
  };
  auto const fire = [&](std::size_t count) {
    std::scoped_lock const lock(mutex);
    time_point last = time_point::min();
    for (; count != 0; --count) {
      ASSERT_GE(deadlines.top()->when, last);
      last = deadlines.top()->when;
      deadlines.remove(*deadlines.top()->node);
    }
  };
  fill(100'000);
  fire(98'000);
  EXPECT_FALSE(deadlines.fits(2));
  std::size_t const fitting = deadlines.wanted(2);
  EXPECT_GE(fitting, 2'002U);
  EXPECT_LE(fitting, 8'192U);
  make_room(deadlines, 2);
  EXPECT_TRUE(deadlines.fits(2));
  EXPECT_FALSE(deadlines.has_room(10'000));
  fill(8'000);
  fire(10'000);
  EXPECT_EQ(deadlines.top(), nullptr);
  EXPECT_FALSE(deadlines.has_room(5)) << "the last one gives back all";
  fill(9);
  fire(9);
}

TEST(deadline_heap, R37_room_for_a_few_is_kept) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  make_room(deadlines, 500);
  EXPECT_EQ(deadlines.wanted(1), 0U);
  timer one;
  deadlines.push(one.when, one);
  {
    std::scoped_lock const lock(mutex);
    deadlines.remove(one);
  }
  EXPECT_TRUE(deadlines.has_room(500));
  EXPECT_EQ(deadlines.wanted(1), 0U);
}

TEST(deadline_heap, R37_much_room_is_given_back_with_the_last_one_not_the_last_but_one) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  make_room(deadlines, 16'000);
  timer early(deadline_of::flight, 1), late(deadline_of::flight, 2);
  for (timer* const t : {&early, &late}) deadlines.push(t->when, *t);
  memory::counting const now;
  {
    std::scoped_lock const lock(mutex);
    deadlines.remove(late);
    ASSERT_NE(deadlines.top(), nullptr);
    EXPECT_EQ(deadlines.top()->node, &early);
    deadlines.remove(early);
    EXPECT_FALSE(deadlines.has_room(5));
    EXPECT_EQ(now.frees(), 0) << "not under the lock";
  }
  EXPECT_EQ(now.frees(), 1);
}

TEST(deadline_heap, R37_room_of_a_smaller_burst_is_kept_until_the_next_deadline) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  make_room(deadlines, 4'000);
  timer one;
  deadlines.push(one.when, one);
  {
    std::scoped_lock const lock(mutex);
    deadlines.remove(one);
  }
  EXPECT_TRUE(deadlines.has_room(4'000));
  EXPECT_FALSE(deadlines.fits(1));
  memory::counting const now;
  make_room(deadlines, 1);
  EXPECT_EQ(now.frees(), 1);
  EXPECT_TRUE(deadlines.fits(1));
}

TEST(deadline_heap, knows_when_a_node_is_due) {
  cacheflight::detail::retiring_mutex<std::mutex> mutex;
  heap deadlines(mutex);
  std::deque<timer> timers;
  for (int i = 0; i < 9; ++i) {
    timer& t = timers.emplace_back(deadline_of::flight, 9 - i);
    make_room(deadlines, 1);
    deadlines.push(t.when, t);
  }
  for (timer const& t : timers) EXPECT_EQ(deadlines.when(t), t.when);
  deadlines.remove(timers[3]);
  EXPECT_EQ(deadlines.when(timers[3]), time_point::max());
}

}  // namespace
