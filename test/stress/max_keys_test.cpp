// SPDX-License-Identifier: MIT
// The cap is exact whatever the threads do (rule 21).
#include "support.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>

#include <algorithm>
#include <atomic>
#include <memory>

namespace {

using namespace stress;

constexpr std::size_t cap = 4;

struct tally {
  std::atomic<std::uint64_t> values{0}, refused{0}, cancelled{0}, others{0};
  counter completed;
  auto handler() {
    return [this](std::exception_ptr failure, std::shared_ptr<int const> got) { add(failure, got); };
  }
  void add(std::exception_ptr const& failure, std::shared_ptr<int const> const&) {
    try {
      if (failure) std::rethrow_exception(failure);
      ++values;
    } catch (cacheflight::max_keys_error const&) {
      ++refused;
    } catch (cacheflight::cancelled_error const&) {
      ++cancelled;
    } catch (...) {
      ++others;
    }
    completed.add();
  }
};

net::awaitable<int> behind(gate* g, counter* invoked) {
  invoked->add();
  co_await g->wait();
  co_return 1;
}

TEST(max_keys, is_exact_while_many_threads_compete) {
  constexpr std::size_t keys = 12, callers = 3;
  std::uint64_t const rounds = operations(6'000) / 60 + 1;
  server threads(4);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    gate held;
    counter invoked, started, hits;
    tally all;
    cacheflight::group flights(
        cacheflight::options().max_keys(cap).on_event([&](cacheflight::event const& e) {
          if (e.type == cacheflight::event_type::task_started) started.add();
          if (e.type == cacheflight::event_type::hit) hits.add();
        }));
    auto const call = [&](std::string key) {
      net::co_spawn(net::make_strand(threads.io), flights.run(std::move(key), behind, &held, &invoked),
                    all.handler());
    };
    // More keys than there is room for, each from several callers at once. Nothing ends while the gate is
    // shut, so whichever keys got in have all of their callers, and the others none.
    for (std::size_t caller = 0; caller < callers; ++caller)
      for (std::size_t key = 0; key < keys; ++key) call("key " + std::to_string(key));
    invoked.wait_for(cap, "tasks");
    hits.wait_for(cap * (callers - 1), "joins");
    all.completed.wait_for((keys - cap) * callers, "refusals");
    EXPECT_EQ(started.now(), cap);
    EXPECT_EQ(all.refused, (keys - cap) * callers);
    EXPECT_EQ(flights.size(), cap);
    std::vector<std::string> up;
    for (std::size_t key = 0; key < keys; ++key)
      if (flights.has("key " + std::to_string(key))) up.push_back("key " + std::to_string(key));
    ASSERT_EQ(up.size(), cap);
    // Joins work at the cap. A cancelled key makes room for exactly one.
    for (auto const& key : up) call(key);
    hits.wait_for(cap * callers, "joins at the cap");
    EXPECT_TRUE(flights.cancel(up[round % cap]));
    EXPECT_EQ(flights.size(), cap - 1);
    for (int i = 0; i < 5; ++i) call("another " + std::to_string(i));
    std::uint64_t const refused = (keys - cap) * callers + 4, cancelled = callers + 1;
    all.completed.wait_for(refused + cancelled, "refusals after one more got in");
    invoked.wait_for(cap + 1, "the one task there was room for");
    EXPECT_EQ(started.now(), cap + 1);
    EXPECT_EQ(flights.size(), cap);
    held.open();
    all.completed.wait_for(keys * callers + cap + 5, "callers");
    EXPECT_EQ(all.refused, refused);
    EXPECT_EQ(all.cancelled, cancelled);
    EXPECT_EQ(all.values, (cap - 1) * (callers + 1) + 1);
    EXPECT_EQ(all.others, 0U);
    auto const books = flights.stats();
    EXPECT_EQ(books.misses, books.started + books.max_keys_rejected);
    EXPECT_EQ(books.started, books.resolved + books.cancelled);
  }
  threads.join();
}

/// Invoked and not yet returned: part of the time that a flight is joinable, unless it is doomed.
struct running_tasks {
  std::atomic<std::size_t> now{0}, most{0};
};

net::awaitable<int> counted(running_tasks* running, unsigned n) {
  std::size_t const with_me = ++running->now;
  std::size_t most = running->most;
  while (most < with_me && !running->most.compare_exchange_weak(most, with_me)) {
  }
  co_await take_turns(n);
  --running->now;
  co_return 1;
}

net::awaitable<void> caller(cacheflight::group& flights, running_tasks& running, std::uint64_t seed,
                            std::uint64_t calls, std::atomic<std::uint64_t>& refused) {
  std::mt19937_64 random(seed);
  for (; calls > 0; --calls) {
    std::string const key = "key " + std::to_string(random() % 10);
    auto const turns = static_cast<unsigned>(random() % 12);
    try {
      co_await flights.run(key, counted, &running, turns);
    } catch (cacheflight::max_keys_error const& e) {
      EXPECT_EQ(e.key(), key);
      ++refused;
    }
  }
}

TEST(max_keys, no_more_tasks_run_than_the_cap_allows) {
  std::uint64_t const chosen = seed(), calls = operations(8'000) / 8 + 1;
  server threads(4);
  running_tasks running;
  std::atomic<std::uint64_t> refused{0};
  counter ended;
  cacheflight::group flights(cacheflight::options().max_keys(cap));
  for (std::uint64_t i = 0; i < 8; ++i)
    net::co_spawn(net::make_strand(threads.io), caller(flights, running, chosen + i, calls, refused),
                  [&](std::exception_ptr failure) {
                    EXPECT_FALSE(failure);
                    ended.add();
                  });
  ended.wait_for(8, "callers");
  threads.join();
  EXPECT_EQ(running.most, cap);  // reached, and never passed
  EXPECT_GT(refused, 0U);
  EXPECT_EQ(flights.stats().max_keys_rejected, refused);
  expect_balance(flights.stats());
}

}  // namespace
