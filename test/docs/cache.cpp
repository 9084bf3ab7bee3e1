// SPDX-License-Identifier: MIT
//
// docs/guides/cache.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/keys.hpp>

#include <array>
#include <atomic>
#include <chrono>
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

/// What the page shows of its short form, in the place of a class's members.
struct shortest {
  database& database_;
  cacheflight::group& flights_;
#include "cache/the-short-form-supersede.inc"
};
#include "cache/the-short-form-supersede-2.inc"
#include "cache/the-short-form-supersede-3.inc"

TEST(docs_cache, the_shortest_form_takes_the_flight_out_of_the_way) {
  database db;
  db.store({"42", "Ada"});
  cacheflight::group flights;
  shortest users{db, flights};
  db.hold_next_load();
  user early;
  std::jthread reader([&] { early = *flights.run("user:42", &database::load, &db, std::string("42")); });
  db.await_load();
  users.write({"42", "Grace"});
  EXPECT_EQ(flights.run("user:42", &database::load, &db, std::string("42"))->name, "Grace");
  db.release();
  reader.join();
  EXPECT_EQ(early.name, "Ada");
}

TEST(docs_cache, a_superseded_task_does_not_fill_the_cache) {
  database db;
  db.store({"42", "Ada"});
  superseding_store users(db);
  db.hold_next_load();
  user early;
  std::jthread reader([&] { early = users.read("42"); });
  db.await_load();
  users.write({"42", "Grace"});
  db.release();
  reader.join();
  EXPECT_EQ(early.name, "Ada") << "it had asked before the write";
  EXPECT_EQ(users.read("42").name, "Grace");
  EXPECT_EQ(users.read("42").name, "Grace");
  EXPECT_EQ(db.loads(), 2) << "from the cache";
}

TEST(docs_cache, who_knows_when_it_wrote_reads_it) {
  database db;
  db.store({"42", "Ada"});
  cacheflight::group flights(cacheflight::options().measure_age());
  db.hold_next_load();
  std::jthread reader([&] { (void)flights.run("user:42", &database::load, &db, std::string("42")); });
  db.await_load();
  db.store({"42", "Grace"});
  EXPECT_EQ(read_my_write(flights, db, "42", std::chrono::steady_clock::now()).name, "Grace");
  db.release();
}

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
