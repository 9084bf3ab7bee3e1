// SPDX-License-Identifier: MIT
#include "unit/memory.hpp"
#include <cacheflight/detail/flight_table.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>
#include <mutex>
#include <new>
#include <random>
#include <set>
#include <stdexcept>
#include <unordered_map>

namespace {

struct flight : cacheflight::detail::table_links<flight> {
  int key = 0;
};
using memory::counting;
using memory::shortage;
using flight_table = cacheflight::detail::flight_table<flight>;

/// A table whose owner does as the core does, under a lock that nobody else takes.
class table {
 public:
  void insert(flight& f) {
    if (!table_.fits()) fit();
    table_.insert(f);
  }
  void fit() {
    flight_table::storage_type buckets(table_.wanted());
    if (buckets.count() != 0) table_.use(buckets);
  }
  void unlink(flight& f) {
    std::scoped_lock const lock(mutex_);
    table_.unlink(f);
  }
  template <class Same>
  [[nodiscard]] flight* find(std::uint64_t hash, Same&& same) const {
    return table_.find(hash, same);
  }
  template <class Visit>
  void for_each(Visit&& visit) {
    table_.for_each(visit);
  }
  [[nodiscard]] std::size_t size() const { return table_.size(); }
  void give_back() { std::scoped_lock const lock(mutex_); }
  [[nodiscard]] flight_table& get() { return table_; }

 private:
  cacheflight::detail::retiring_mutex<std::mutex> mutex_;
  flight_table table_{mutex_};
};

flight* find(table const& in, std::uint64_t hash, int key) {
  return in.find(hash, [&](flight const& f) { return f.key == key; });
}

TEST(flight_table, is_empty_at_first) {
  table flights;
  EXPECT_EQ(flights.size(), 0U);
  EXPECT_EQ(flights.get().wanted(), 0U) << "as many buckets as it has";
  EXPECT_EQ(find(flights, 1, 1), nullptr);
  flights.for_each([](flight&) { ADD_FAILURE(); });
}

TEST(flight_table, finds_what_was_inserted_until_it_is_unlinked) {
  table flights;
  flight one;
  one.hash = 17, one.key = 1;
  flights.insert(one);
  EXPECT_EQ(find(flights, 17, 1), &one);
  EXPECT_EQ(find(flights, 17, 2), nullptr);
  EXPECT_EQ(flights.size(), 1U);
  flights.unlink(one);
  EXPECT_EQ(find(flights, 17, 1), nullptr);
  EXPECT_EQ(flights.size(), 0U);
}

TEST(flight_table, what_is_hidden_is_not_found_and_is_there_until_it_is_unlinked) {
  table flights;
  flight old, young;
  old.hash = young.hash = 17;
  old.key = young.key = 1;
  flights.insert(old);
  flights.get().hide(old, 0);
  EXPECT_EQ(find(flights, 17, 1), nullptr);
  EXPECT_EQ(flights.get().hidden(), 1U);
  EXPECT_EQ(flights.size(), 1U) << "all that are in it";
  flights.insert(young);
  EXPECT_EQ(find(flights, 17, 1), &young);
  std::set<flight const*> seen;
  flights.for_each([&](flight& f) { seen.insert(&f); });
  EXPECT_EQ(seen, (std::set<flight const*>{&old, &young}));
  flights.get().unhide();
  flights.unlink(old);
  EXPECT_EQ(flights.get().hidden(), 0U);
  EXPECT_EQ(find(flights, 17, 1), &young);
  flights.unlink(young);
  EXPECT_EQ(flights.size(), 0U);
}

TEST(flight_table, what_is_hidden_is_never_found_with_its_own_hash) {
  for (std::uint64_t number : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}})
    for (std::uint64_t low = 0; low < 4; ++low) {
      table flights;
      flight one;
      one.hash = ((number * 0x9e3779b97f4a7c15) & ~std::uint64_t{3}) | low;  // what it could become
      std::uint64_t const own = one.hash;
      flights.insert(one);
      flights.get().hide(one, number);
      EXPECT_EQ(find(flights, own, 0), nullptr) << number << ' ' << low;
      flights.get().unhide();
      flights.unlink(one);
    }
}

TEST(flight_table, many_that_are_hidden_of_one_hash_do_not_lie_in_one_bucket) {
  table flights;
  std::deque<flight> all(1000);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i].hash = 7;
    flights.insert(all[i]);
    flights.get().hide(all[i], i + 1);
  }
  std::size_t longest = 0;
  for (flight const& f : all) {
    std::size_t chain = 0;
    for (flight const* g = &f; g; g = g->next_in_bucket) ++chain;
    longest = std::max(longest, chain);
  }
  EXPECT_LT(longest, 10U);
  for (flight& f : all) {
    flights.get().unhide();
    flights.unlink(f);
  }
}

TEST(flight_table, equal_hashes_are_told_apart_by_the_key) {
  table flights;
  std::deque<flight> all(50);
  for (int i = 0; i < 50; ++i) {
    flight& f = all[static_cast<std::size_t>(i)];
    f.hash = 7, f.key = i;
    flights.insert(f);
  }
  for (int i = 0; i < 50; ++i) EXPECT_EQ(find(flights, 7, i), &all[static_cast<std::size_t>(i)]);
}

TEST(flight_table, the_key_is_not_compared_where_the_hash_differs) {
  table flights;
  flight one;
  one.hash = 8;
  flights.insert(one);
  EXPECT_EQ(flights.find(16, [](flight const&) -> bool { throw std::logic_error("compared"); }), nullptr);
}

TEST(flight_table, passes_on_what_the_comparison_throws) {
  table flights;
  flight one;
  one.hash = 8;
  flights.insert(one);
  auto const thrower = [](flight const&) -> bool { throw std::runtime_error("equal"); };
  EXPECT_THROW(static_cast<void>(flights.find(8, thrower)), std::runtime_error);
  EXPECT_EQ(find(flights, 8, 0), &one);
}

TEST(flight_table, grows_so_that_chains_stay_short) {
  table flights;
  std::deque<flight> all(10'000);
  int key = 0;
  for (flight& f : all) {
    f.hash = static_cast<std::uint64_t>(key) << 32;  // the lower half is somebody else's
    f.key = key++;
    flights.insert(f);
  }
  ASSERT_EQ(flights.size(), all.size());
  std::size_t longest = 0;
  for (flight const& f : all) {
    std::size_t length = 0;
    for (flight const* in_chain = &f; in_chain; in_chain = in_chain->next_in_bucket) ++length;
    longest = std::max(longest, length);
  }
  EXPECT_LE(longest, 2U);
  for (flight& f : all) ASSERT_EQ(find(flights, f.hash, f.key), &f);
}

TEST(flight_table, the_visitor_may_unlink_what_it_is_given) {
  table flights;
  std::deque<flight> all(300);
  int key = 0;
  for (flight& f : all) {
    f.key = key++;
    f.hash = static_cast<std::uint64_t>(f.key % 40);  // chains of several
    flights.insert(f);
  }
  std::set<int> visited;
  flights.for_each([&](flight& f) {
    EXPECT_TRUE(visited.insert(f.key).second) << "visited twice";
    if (f.key % 3) flights.unlink(f);
  });
  EXPECT_EQ(visited.size(), all.size());
  EXPECT_EQ(flights.size(), 100U);
  for (flight const& f : all) EXPECT_EQ(find(flights, f.hash, f.key), f.key % 3 ? nullptr : &f);
  // As `clear()` does: the link is used for something else at once.
  flight* chain = nullptr;
  std::size_t cleared = 0;
  flights.for_each([&](flight& f) {
    flights.unlink(f);
    f.next_unlinked = std::exchange(chain, &f);
    ++cleared;
  });
  EXPECT_EQ(cleared, 100U);
  EXPECT_EQ(flights.size(), 0U);
}

TEST(flight_table, works_on_when_there_is_no_memory_to_grow) {
  table flights;
  std::deque<flight> all(200);
  int key = 0;
  auto const fill = [&](std::size_t count) {
    for (std::size_t end = static_cast<std::size_t>(key) + count; static_cast<std::size_t>(key) < end;
         ++key) {
      flight& f = all[static_cast<std::size_t>(key)];
      f.key = key, f.hash = static_cast<std::uint64_t>(key) * 0x9e3779b97f4a7c15;
      flights.insert(f);
    }
  };
  {
    shortage const now;
    fill(15);  // more than the first buckets
    EXPECT_GT(memory::mine.refused, 0) << "the failure was not injected";
    for (int i = 0; i < key; ++i) EXPECT_NE(find(flights, all[static_cast<std::size_t>(i)].hash, i), nullptr);
  }
  fill(40);
  {
    shortage const now;
    fill(100);
    EXPECT_GT(memory::mine.refused, 0) << "the failure was not injected";
  }
  for (int i = 0; i < key; i += 2) flights.unlink(all[static_cast<std::size_t>(i)]);
  fill(45);  // memory is back: grows after all
  EXPECT_EQ(flights.size(), 77U + 45U);
  for (int i = 0; i < key; ++i) {
    flight& f = all[static_cast<std::size_t>(i)];
    EXPECT_EQ(find(flights, f.hash, i), i < 155 && i % 2 == 0 ? nullptr : &f);
  }
}

TEST(flight_table, R41_inserting_and_unlinking_neither_allocate_nor_free) {
  std::deque<flight> all(20'000);
  table flights;
  int key = 0;
  for (flight& f : all) {
    f.key = key, f.hash = static_cast<std::uint64_t>(key++) * 0x9e3779b97f4a7c15;
    if (!flights.get().fits()) flights.fit();
    counting const now;
    flights.get().insert(f);
    ASSERT_EQ(now.allocations(), 0);
  }
  {
    counting const now;
    for (flight& f : all) flights.get().unlink(f);
    EXPECT_EQ(now.frees(), 0) << "not before the lock is given back";
  }
  counting const now;
  flights.give_back();
  EXPECT_EQ(now.frees(), 1);
}

TEST(flight_table, R37_a_burst_gives_its_memory_back) {
  table flights;
  std::deque<flight> all(100'000);
  auto const fill = [&](std::size_t from, std::size_t count) {
    for (std::size_t i = from; i < from + count; ++i) {
      all[i].key = static_cast<int>(i), all[i].hash = i * 0x9e3779b97f4a7c15;
      flights.insert(all[i]);
    }
  };
  fill(0, all.size());
  for (std::size_t i = 1'000; i < all.size(); ++i) flights.unlink(all[i]);
  EXPECT_FALSE(flights.get().fits());
  std::size_t const fitting = flights.get().wanted();
  EXPECT_GE(fitting, 1'000U);
  EXPECT_LE(fitting, 4'096U);
  {
    shortage const now;
    fill(1'000, 1);  // nothing to shrink into: goes on as it is
    EXPECT_GT(memory::mine.refused, 0);
  }
  fill(1'001, 1);
  EXPECT_TRUE(flights.get().fits());
  for (std::size_t i = 0; i < 1'002; ++i) ASSERT_EQ(find(flights, all[i].hash, static_cast<int>(i)), &all[i]);
  fill(1'002, 2'000);
  for (std::size_t i = 3; i < 3'002; ++i) flights.unlink(all[i]);
  EXPECT_GE(flights.get().wanted(), 8U);
  EXPECT_LE(flights.get().wanted(), 64U);
  flights.fit();
  EXPECT_TRUE(flights.get().fits());
  fill(3, 20'000);
  counting const now;
  for (std::size_t i = 0; i < 20'003; ++i) flights.unlink(all[i]);  // the last one gives back all
  EXPECT_EQ(now.frees(), 1);
  fill(0, 9);
  EXPECT_EQ(now.allocations(), 1) << "a table that was emptied begins anew";
  for (std::size_t i = 0; i < 9; ++i) ASSERT_EQ(find(flights, all[i].hash, static_cast<int>(i)), &all[i]);
}

TEST(flight_table, R37_what_a_smaller_burst_took_is_kept_until_the_next_flight) {
  table flights;
  std::deque<flight> all(6'000);
  int key = 0;
  for (flight& f : all) f.hash = static_cast<std::uint64_t>(key++) * 0x9e3779b97f4a7c15, flights.insert(f);
  counting const now;
  for (flight& f : all) flights.unlink(f);
  EXPECT_EQ(now.frees(), 0);
  EXPECT_FALSE(flights.get().fits());
  flights.insert(all[0]);
  EXPECT_EQ(now.frees(), 1);
  EXPECT_TRUE(flights.get().fits());
}

TEST(flight_table, R37_a_table_that_is_emptied_again_and_again_keeps_what_is_little) {
  table flights;
  std::deque<flight> all(200);
  for (int round = 0; round < 3; ++round) {
    counting const now;
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].hash = i * 0x9e3779b97f4a7c15;
      flights.insert(all[i]);
    }
    for (flight& f : all) flights.unlink(f);
    EXPECT_EQ(now.frees() + now.allocations() == 0, round > 0);
  }
}

void compare_with_model(std::uint32_t seed, unsigned hash_bits) {
  std::mt19937_64 random(seed);
  table flights;
  auto const insert = [&](flight& f, bool possible) {
    memory::mine.none = !possible;
    flights.insert(f);
    memory::mine.none = false;
  };
  std::unordered_map<int, std::unique_ptr<flight>> model;
  auto const hash_of = [&](int key) {
    return (static_cast<std::uint64_t>(key) * 0x9e3779b97f4a7c15) >> (64 - hash_bits) << 32;
  };
  for (int step = 0; step < 5'000; ++step) {
    bool const possible = random() % 4 != 0;
    int const key = static_cast<int>(random() % 200);
    flight* const found = find(flights, hash_of(key), key);
    auto const at = model.find(key);
    ASSERT_EQ(found, at == model.end() ? nullptr : at->second.get());
    if (random() % 500 == 0) {
      std::size_t visited = 0;
      flights.for_each([&](flight& f) {
        ++visited;
        ASSERT_EQ(model.at(f.key).get(), &f);
        if (f.key % 2) flights.unlink(f), model.erase(f.key);
      });
      ASSERT_GE(visited, model.size());
    } else if (found) {
      flights.unlink(*found);
      model.erase(at);
    } else {
      auto fresh = std::make_unique<flight>();
      fresh->key = key, fresh->hash = hash_of(key);
      insert(*fresh, possible);
      model.emplace(key, std::move(fresh));
    }
    ASSERT_EQ(flights.size(), model.size());
  }
}

TEST(flight_table, behaves_like_an_unordered_map) {
  for (std::uint32_t seed = 1; seed <= 12; ++seed) compare_with_model(seed, seed % 3 ? 30 : 4);
}

}  // namespace
