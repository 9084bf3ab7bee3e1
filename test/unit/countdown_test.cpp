// SPDX-License-Identifier: MIT
#include <cacheflight/detail/countdown.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace {

using cacheflight::detail::countdown;
using cacheflight::detail::ending;

TEST(countdown, is_through_at_once_when_nothing_is_under_way) {
  countdown idle;
  EXPECT_TRUE(idle.close(0));
  countdown ended;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(ended.end(), ending::more);  // more could begin
  }
  EXPECT_EQ(ended.under_way(3), 0);
  EXPECT_TRUE(ended.close(3));
}

TEST(countdown, tells_the_last_that_ends_after_it_was_closed) {
  countdown busy;
  EXPECT_EQ(busy.end(), ending::more);
  EXPECT_EQ(busy.under_way(3), 2);
  EXPECT_FALSE(busy.close(3));
  EXPECT_EQ(busy.end(), ending::more);
  EXPECT_EQ(busy.end(), ending::last);
}

TEST(countdown, tells_exactly_one) {
  for (int round = 0; round < 200; ++round) {
    countdown busy;
    constexpr int each = 50;
    std::atomic<int> told{0};
    auto const end = [&] {
      for (int i = 0; i < each; ++i) told += busy.end() == ending::last;
    };
    {
      std::jthread const first(end), second(end);
      told += busy.close(2 * each);
    }
    ASSERT_EQ(told, 1);
  }
}

TEST(countdown, tells_every_end_while_it_is_watched) {
  countdown busy;
  EXPECT_EQ(busy.end(), ending::more);
  EXPECT_EQ(busy.watch(4), 3);
  EXPECT_EQ(busy.end(), ending::watched);
  EXPECT_FALSE(busy.close(5)) << "one has begun since";
  EXPECT_EQ(busy.end(), ending::watched);
  EXPECT_EQ(busy.end(), ending::watched);
  EXPECT_EQ(busy.end(), ending::watched_last);
}

TEST(countdown, is_through_at_once_if_all_ended_while_it_was_watched) {
  countdown busy;
  EXPECT_EQ(busy.watch(2), 2);
  EXPECT_EQ(busy.end(), ending::watched);
  EXPECT_EQ(busy.end(), ending::watched) << "it is not closed";
  EXPECT_TRUE(busy.close(2));
  countdown idle;
  EXPECT_EQ(idle.watch(0), 0);
  EXPECT_TRUE(idle.close(0));
}

TEST(countdown, is_watched_no_more_in_a_child) {
  countdown busy;
  EXPECT_EQ(busy.end(), ending::more);
  EXPECT_EQ(busy.watch(4), 3);
  EXPECT_EQ(busy.end(), ending::watched);
  EXPECT_EQ(busy.stop_watching(4), 2);
  EXPECT_EQ(busy.under_way(4), 2);
  EXPECT_EQ(busy.end(), ending::more);
  EXPECT_EQ(busy.watch(4), 1) << "and can be watched again";
  EXPECT_EQ(busy.end(), ending::watched);
}

TEST(countdown, watches_as_many_as_it_has_said) {
  for (int round = 0; round < 200; ++round) {
    countdown busy;
    constexpr int each = 50;
    std::atomic<int> watched{0};
    auto const end = [&] {
      for (int i = 0; i < each; ++i) watched += busy.end() == ending::watched;
    };
    std::int64_t said = 0;
    {
      std::jthread const first(end), second(end);
      said = busy.watch(2 * each);
    }
    ASSERT_EQ(watched, said);
    ASSERT_TRUE(busy.close(2 * each));
  }
}

}  // namespace
