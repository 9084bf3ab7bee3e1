// SPDX-License-Identifier: MIT
#include "unit/memory.hpp"
#include <cacheflight/detail/retired.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <new>

namespace cacheflight::detail {
namespace {

TEST(R41_storage, has_as_many_objects_as_were_asked_for_or_none) {
  memory::counting const seen;
  storage<int> nothing(0);
  EXPECT_EQ(nothing.count(), 0U);
  EXPECT_EQ(nothing.release(), nullptr);
  EXPECT_EQ(seen.allocations(), 0);
  for (std::size_t const count : {1U, 3U}) {
    storage<int> some(count);
    EXPECT_EQ(some.count(), count);
    int* const objects = some.release();
    ASSERT_TRUE(objects);
    for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(objects[i], 0);
    some.reset(objects);
  }
  EXPECT_EQ(seen.frees(), 2);
  memory::shortage const none;
  EXPECT_EQ(storage<int>(1).count(), 0U);
}

struct watched_mutex {
  void unlock() noexcept { freed_before = seen.frees(); }
  memory::counting seen;
  int freed_before = -1;
};

TEST(R41_storage, what_was_retired_is_freed_once_the_mutex_has_been_given_back) {
  void* const blocks[]{::operator new(64), ::operator new(64)};
  retiring_mutex<watched_mutex> mutex;
  for (void* const block : blocks) mutex.retire(block);
  mutex.unlock();
  EXPECT_EQ(mutex.freed_before, 0);
  EXPECT_EQ(mutex.seen.frees(), 2);
  mutex.unlock();
  EXPECT_EQ(mutex.freed_before, 2);
  EXPECT_EQ(mutex.seen.frees(), 2);
}

}  // namespace
}  // namespace cacheflight::detail
