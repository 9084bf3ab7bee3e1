// SPDX-License-Identifier: MIT
#include <cacheflight/detail/list.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <list>
#include <random>
#include <vector>

namespace {

using cacheflight::detail::list;
using cacheflight::detail::list_node;

struct item : list_node {
  int number = 0;
};

std::vector<int> drained(list<item>& from) {
  std::vector<int> numbers;
  while (item* const next = from.pop_front()) {
    EXPECT_FALSE(next->linked());
    numbers.push_back(next->number);
  }
  return numbers;
}

struct list_of_items : testing::Test {
  list_of_items() {
    for (std::size_t i = 0; i < items.size(); ++i) items[i].number = static_cast<int>(i);
  }
  std::array<item, 6> items;
  list<item> first, second;
};

TEST_F(list_of_items, is_empty_at_first) {
  EXPECT_TRUE(first.empty());
  EXPECT_EQ(first.pop_front(), nullptr);
  EXPECT_FALSE(items[0].linked());
}

TEST_F(list_of_items, keeps_the_order_of_push_back) {
  for (item& i : items) first.push_back(i);
  EXPECT_TRUE(items[3].linked());
  EXPECT_EQ(&first.front(), &items[0]);
  EXPECT_EQ(drained(first), (std::vector{0, 1, 2, 3, 4, 5}));
  EXPECT_TRUE(first.empty());
}

TEST_F(list_of_items, push_front_puts_before_all_others) {
  first.push_front(items[2]);
  first.push_back(items[3]);
  first.push_front(items[1]);
  first.push_front(items[0]);
  EXPECT_EQ(&first.front(), &items[0]);
  items[2].unlink();
  items[1].unlink();
  first.push_back(items[4]);
  EXPECT_EQ(drained(first), (std::vector{0, 3, 4}));
  EXPECT_TRUE(first.empty());
}

TEST_F(list_of_items, unlinks_first_middle_and_last) {
  for (item& i : items) first.push_back(i);
  items[0].unlink();
  items[3].unlink();
  items[5].unlink();
  EXPECT_FALSE(items[3].linked());
  EXPECT_EQ(drained(first), (std::vector{1, 2, 4}));
}

TEST_F(list_of_items, is_empty_once_its_only_node_is_unlinked) {
  first.push_back(items[0]);
  EXPECT_FALSE(first.empty());
  items[0].unlink();
  EXPECT_TRUE(first.empty());
  first.push_back(items[0]);  // and usable again
  EXPECT_EQ(drained(first), std::vector{0});
}

TEST_F(list_of_items, splices_to_the_end) {
  first.push_back(items[0]);
  first.push_back(items[1]);
  second.push_back(items[2]);
  second.push_back(items[3]);
  first.splice(second);
  EXPECT_TRUE(second.empty());
  second.push_back(items[4]);
  first.push_back(items[5]);
  EXPECT_EQ(drained(first), (std::vector{0, 1, 2, 3, 5}));
  EXPECT_EQ(drained(second), std::vector{4});
}

TEST_F(list_of_items, splices_from_and_to_empty) {
  first.splice(second);
  EXPECT_TRUE(first.empty());
  second.push_back(items[0]);
  second.push_back(items[1]);
  first.splice(second);
  EXPECT_TRUE(second.empty());
  first.splice(second);
  EXPECT_EQ(drained(first), (std::vector{0, 1}));
}

TEST(list, behaves_like_std_list) {
  std::mt19937 random(1);
  std::vector<item> items(40);
  std::array<list<item>, 3> lists;
  std::array<std::list<item*>, 3> models;
  std::vector<std::size_t> home(items.size(), 3);  // 3: in no list
  for (int step = 0; step < 20'000; ++step) {
    std::size_t const at = random() % 3;
    switch (random() % 6) {
      case 0: {
        std::size_t const from = random() % 3;
        if (from == at) break;
        lists[at].splice(lists[from]);
        models[at].splice(models[at].end(), models[from]);
        for (std::size_t& h : home)
          if (h == from) h = at;
        break;
      }
      case 1: {
        item* const popped = lists[at].pop_front();
        ASSERT_EQ(popped, models[at].empty() ? nullptr : models[at].front());
        if (!popped) break;
        models[at].pop_front();
        home[static_cast<std::size_t>(popped - items.data())] = 3;
        break;
      }
      default: {
        std::size_t const which = random() % items.size();
        item& it = items[which];
        ASSERT_EQ(it.linked(), home[which] != 3);
        if (it.linked()) {
          it.unlink();
          models[home[which]].remove(&it);
          home[which] = 3;
        } else {
          lists[at].push_back(it);
          models[at].push_back(&it);
          home[which] = at;
        }
      }
    }
    for (std::size_t i = 0; i < 3; ++i) {
      ASSERT_EQ(lists[i].empty(), models[i].empty());
      if (models[i].empty()) continue;
      ASSERT_EQ(&lists[i].front(), models[i].front());
    }
  }
}

}  // namespace
