// SPDX-License-Identifier: MIT
#include <cacheflight/detail/countdown.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace {

using cacheflight::detail::countdown;

TEST(countdown, is_through_at_once_when_nothing_is_under_way) {
  countdown idle;
  EXPECT_TRUE(idle.close(0));
  countdown ended;
  for (int i = 0; i < 3; ++i) {
    EXPECT_FALSE(ended.end());  // more could begin
  }
  EXPECT_TRUE(ended.close(3));
}

TEST(countdown, tells_the_last_that_ends_after_it_was_closed) {
  countdown busy;
  EXPECT_FALSE(busy.end());
  EXPECT_FALSE(busy.close(3));
  EXPECT_FALSE(busy.end());
  EXPECT_TRUE(busy.end());
}

TEST(countdown, tells_exactly_one) {
  for (int round = 0; round < 200; ++round) {
    countdown busy;
    constexpr int each = 50;
    std::atomic<int> told{0};
    auto const end = [&] {
      for (int i = 0; i < each; ++i) told += busy.end();
    };
    {
      std::jthread const first(end), second(end);
      told += busy.close(2 * each);
    }
    ASSERT_EQ(told, 1);
  }
}

}  // namespace
