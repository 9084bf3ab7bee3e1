// SPDX-License-Identifier: MIT
#include "hand_front.hpp"
#include <cacheflight/callback.hpp>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>
#include <vector>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::options;
using cacheflight::run_options;

TEST(R27, snapshot_shows_the_flights_that_can_be_joined) {
  manual_group flights{options().measure_age()};
  std::size_t const looks = manual_clock::reads();
  EXPECT_TRUE(flights.snapshot().empty());
  EXPECT_EQ(manual_clock::reads(), looks) << "there is nothing whose age is asked";
  hand_front front;
  auto const slow = make_task(), timed = make_task(), other = make_task(), again = make_task();
  front.run(flights, "slow", {}, slow);
  manual_clock::advance(2s);
  front.run(flights, "timed", run_options().timeout(5s), timed);
  front.run(flights, "timed", {}, other);
  manual_clock::advance(1s);

  auto seen = flights.snapshot();
  ASSERT_EQ(seen.size(), 2u);
  if (seen[0].key == "timed") std::swap(seen[0], seen[1]);
  EXPECT_EQ(seen[0].key, "slow");
  EXPECT_EQ(seen[0].waiters, 1u);
  EXPECT_EQ(seen[0].age, 3s);
  EXPECT_EQ(seen[0].time_left, std::nullopt);
  EXPECT_EQ(seen[1].key, "timed");
  EXPECT_EQ(seen[1].waiters, 2u);
  EXPECT_EQ(seen[1].age, 1s);
  EXPECT_EQ(seen[1].time_left, 4s);
  EXPECT_NE(seen[0].id, seen[1].id);

  flights.supersede("slow");
  for (auto const& f : flights.snapshot())
    EXPECT_EQ(f.state,
              f.key == "slow" ? cacheflight::flight_state::superseded : cacheflight::flight_state::joinable)
        << f.key;
  front.run(flights, "slow", {}, again);
  EXPECT_EQ(flights.snapshot().size(), 3u);
  again->value = 1, again->open_gate(false);
  flights.clear();
  timed->value = 1, timed->open_gate(false);
  EXPECT_TRUE(flights.snapshot().empty());
  EXPECT_EQ(flights.stats().detached, 1u);
  slow->value = 1, slow->open_gate(false);
  front.pump();
}

TEST(R27, snapshot_without_ages_does_not_look_at_the_clock_for_a_miss) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  std::size_t const before = manual_clock::reads();
  front.run(flights, "k", {}, task);
  EXPECT_EQ(manual_clock::reads(), before);
  auto const seen = flights.snapshot();
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].age, std::nullopt);
  task->value = 1, task->open_gate(false);
  front.pump();
}

TEST(R32, snapshot_names_keys_outside_of_locks) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  front.run(flights, "secret", {}, task);
  auto const seen = flights.snapshot([&](std::string const& key) {
    expect_unlocked("naming a key");
    EXPECT_TRUE(flights.cancel(key));  // even that
    return key.size();
  });
  ASSERT_EQ(seen.size(), 1u);
  EXPECT_EQ(seen[0].key, 6u);
  EXPECT_TRUE(flights.snapshot().empty());
  task->value = 1, task->open_gate(false);
  front.pump();
}

TEST(R31, snapshot_that_throws_keeps_nothing) {
  manual_group flights;
  hand_front front;
  auto const one = make_task(), two = make_task();
  front.run(flights, "1", {}, one);
  front.run(flights, "2", {}, two);
  EXPECT_THROW((void)flights.snapshot([](std::string const&) -> int { throw 1; }), int);
  for (auto const& t : {one, two}) t->value = 1, t->open_gate(false);
  front.pump();
  EXPECT_EQ(flights.stats().resolved, 2u);
}

// Under the sanitizers: a flight that ends while it is looked at is kept, and is freed once.
TEST(R27, snapshot_while_flights_come_and_go) {
  cacheflight::group flights;
  std::atomic<bool> over{false};
  std::atomic<int> begun{0};
  std::vector<std::jthread> callers;
  for (int t = 0; t < 2; ++t)
    callers.emplace_back([&, t] {
      for (int i = 0; !over || i < 200; ++i) {
        std::vector<cacheflight::completion<int>> up;
        for (int k = 0; k < 8; ++k)
          flights.start("key " + std::to_string(8 * t + k),
                        cacheflight::answering<int>(
                            [&](cacheflight::completion<int> done) { up.push_back(std::move(done)); }),
                        [](std::exception_ptr, std::shared_ptr<int const>) {});
        ++begun;
        for (auto& done : up) done.set_value(1);
      }
    });
  while (begun < 2) std::this_thread::yield();
  for (int i = 0; i < 300; ++i)
    for (auto const& f : flights.snapshot()) ASSERT_EQ(f.key.substr(0, 4), "key ");
  over = true;
  callers.clear();
  auto const s = flights.stats();
  EXPECT_EQ(s.started, s.resolved);
  EXPECT_TRUE(flights.snapshot().empty());
}

}  // namespace
}  // namespace cacheflight_test
