// SPDX-License-Identifier: MIT
//
// docs/guides/cache.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/keys.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <latch>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

namespace docs::cache {

/// Rows, and a load that can be held between reading and returning.
class database {
 public:
  void store(user const& u) {
    std::scoped_lock const lock(mutex_);
    rows_.insert_or_assign(u.id, u);
  }
  user load(std::string const& id) {
    user row;
    bool held = false;
    {
      std::scoped_lock const lock(mutex_);
      ++loads_;
      row = rows_.at(id);
      held = std::exchange(hold_, false);
    }
    if (held) {
      read_.count_down();
      release_.wait();
    }
    return row;
  }
  void hold_next_load() { hold_ = true; }
  void await_load() { read_.wait(); }
  void release() { release_.count_down(); }
  [[nodiscard]] int loads() const { return loads_; }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, user> rows_;
  std::latch read_{1}, release_{1};
  bool hold_ = false;
  int loads_ = 0;
};

#include "cache/a-generation-in-the-key.inc"
#include "cache/a-generation-in-the-key-2.inc"

TEST(docs_cache, race) {
  database db;
  user_store users(db);
  printed out;
  race(db, users);
  EXPECT_EQ(out.text(), page_says("cache/a-generation-in-the-key.out"));
  EXPECT_EQ(db.loads(), 2);
  EXPECT_EQ(users.read("42").name, "Grace");
  EXPECT_EQ(db.loads(), 2) << "from the cache";
}
}  // namespace docs::cache
