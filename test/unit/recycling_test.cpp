// SPDX-License-Identifier: MIT
#include <cacheflight/detail/recycling.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

// Under the sanitizers the library does not recycle, but this is tested there as well: what is lost or used
// afterwards is then seen.

namespace {

namespace cd = cacheflight::detail;
using cache = cd::block_cache;

template <class F>
void on_a_thread_of_its_own(F&& f) {
  std::jthread const thread(f);
}

TEST(recycling, what_was_given_back_last_is_taken_first) {
  on_a_thread_of_its_own([] {
    void* const first = cache::take(100);
    void* const second = cache::take(100);
    cache::give_back(first, 100);
    cache::give_back(second, 100);
    void* const again = cache::take(100);
    EXPECT_EQ(again, second);
    void* const before = cache::take(100);
    EXPECT_EQ(before, first);
    cache::give_back(again, 100);
    cache::give_back(before, 100);
  });
}

TEST(recycling, a_block_has_room_for_every_size_that_shares_it) {
  on_a_thread_of_its_own([] {
    for (std::size_t size = 1; size <= cache::largest; ++size) {
      void* const block = cache::take(size);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % __STDCPP_DEFAULT_NEW_ALIGNMENT__, 0U);
      std::memset(block, 0xff, size);  // the address sanitizer checks
      cache::give_back(block, size);
      std::size_t const most = (size + 7) / 8 * 8;
      void* const shared = cache::take(most);
      EXPECT_EQ(shared, block) << size;
      std::memset(shared, 0xff, most);
      cache::give_back(shared, most);
      if (most == cache::largest) continue;
      void* const other = cache::take(most + 1);
      EXPECT_NE(other, block) << size;
      cache::give_back(other, most + 1);
    }
  });
}

TEST(recycling, R37_a_thread_keeps_a_few_of_each_size_however_many_there_were) {
  on_a_thread_of_its_own([] {
    std::vector<void*> blocks;
    for (std::size_t i = 0; i < 2 * cache::depth; ++i) blocks.push_back(cache::take(200));
    for (void* const block : blocks) cache::give_back(block, 200);
    for (std::size_t i = cache::depth; i-- > 0;) {
      void* const kept = cache::take(200);
      EXPECT_EQ(kept, blocks[i]);
      cache::give_back(kept, 200);
      (void)cache::take(200);
    }
    for (std::size_t i = 0; i < cache::depth; ++i) ::operator delete(blocks[i]);
  });
}

TEST(recycling, a_block_goes_to_the_thread_that_gives_it_back) {
  on_a_thread_of_its_own([] {
    void* const block = cache::take(64);
    on_a_thread_of_its_own([block] {
      cache::give_back(block, 64);
      EXPECT_EQ(cache::take(64), block);
      cache::give_back(block, 64);
    });  // and is freed with it: the leak checker would tell
  });
}

/// Gives back what it holds when its thread ends: later than the cache's own end if it was there before the
/// cache.
struct late {
  ~late() {
    for (void* const block : blocks) cache::give_back(block, 64);
    void* const fresh = cache::take(64);
    cache::give_back(fresh, 64);
  }
  std::vector<void*> blocks;
};

TEST(recycling, blocks_may_be_given_back_after_the_cache_has_gone) {
  for (bool const used : {true, false})
    on_a_thread_of_its_own([used] {
      static thread_local late holder;
      for (int i = 0; i < 3; ++i) holder.blocks.push_back(cache::take(64));
      if (used) cache::give_back(cache::take(64), 64);
    });
}

struct alignas(64) aligned : cd::recycled {
  char bytes[64];
};
struct large : cd::recycled {
  char bytes[cache::largest + 1];
};

TEST(recycling, what_is_aligned_or_large_is_not_recycled) {
  auto* const one = new aligned;
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(one) % 64, 0U);
  delete one;
  auto* const other = new large;
  std::memset(other->bytes, 0xff, sizeof other->bytes);
  delete other;
  auto const shared = cd::make_shared_recycled<aligned>();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(shared.get()) % 64, 0U);
  EXPECT_NE(cd::make_shared_recycled<large>(), nullptr);
}

struct plain : cd::recycled {
  virtual ~plain() = default;
  int number = 0;
};
struct longer : plain {
  char more[100] = {};
};

TEST(recycling, objects_are_given_back_with_the_size_that_they_have) {
  on_a_thread_of_its_own([] {
    plain* const one = new longer;
    void const* const where = one;
    delete one;
    plain* const next = new longer;
    EXPECT_TRUE(!cd::recycles || static_cast<void const*>(next) == where);
    delete next;
    auto const value = cd::make_shared_recycled<int const>(7);
    EXPECT_EQ(*value, 7);
  });
}

}  // namespace
