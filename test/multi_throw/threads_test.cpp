// SPDX-License-Identifier: MIT

// Blocking callers: what is theirs alone. Leaders on their own stack, joiners that leave, work that is
// dropped.

#include "../support/errors.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/future.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

namespace {

using namespace std::chrono_literals;
using cacheflight::options;
using cacheflight::run_options;
using cacheflight_test::throws;

void until(auto&& condition) {
  while (!condition()) std::this_thread::yield();
}

TEST(R01, blocking_many_threads_one_execution_on_the_leaders_thread) {
  cacheflight::group flights;
  constexpr std::size_t threads = 8;
  std::atomic<int> executions{0};
  std::vector<std::shared_ptr<int const>> got(threads);
  {
    std::vector<std::jthread> pool;
    for (std::size_t i = 0; i < threads; ++i)
      pool.emplace_back([&, i] {
        got[i] = flights.run("k", [&] {
          ++executions;
          until([&] { return flights.stats().waiters == threads; });
          return 7;
        });
      });
  }
  EXPECT_EQ(executions, 1);
  for (auto const& each : got) EXPECT_EQ(each, got[0]);
}

TEST(R06, blocking_results_void_move_only_shared_and_null) {
  cacheflight::group flights;
  flights.run("void", [] {});
  EXPECT_EQ(**flights.run("move-only", [] { return std::make_unique<int>(3); }), 3);
  auto const shared = std::make_shared<int>(4);
  EXPECT_EQ(flights.run("shared", [&] { return shared; }), shared);
  EXPECT_EQ(flights.run("null", [] { return std::shared_ptr<int const>(); }), nullptr);
  static_assert(
      std::is_same_v<decltype(flights.run("shared", [&] { return shared; })), std::shared_ptr<int const>>);
}

TEST(R07, blocking_an_exception_reaches_every_thread_as_the_original) {
  cacheflight::group flights;
  struct special : std::runtime_error {
    using std::runtime_error::runtime_error;
  };
  std::atomic<int> caught{0};
  {
    std::vector<std::jthread> pool;
    for (int i = 0; i < 4; ++i)
      pool.emplace_back([&] {
        caught += throws<special>([&] {
          flights.run("k", [&] {
            until([&] { return flights.stats().waiters == 4; });
            throw special("x");
          });
        });
      });
  }
  EXPECT_EQ(caught, 4);
  EXPECT_EQ(flights.stats().rejected, 1u);
}

// A joiner leaves at once though the leader sits in its task.
TEST(R16, blocking_a_task_that_computes_is_told_by_its_flag) {
  cacheflight::group flights;
  auto const until_told = [](cacheflight::stop_flag stop, int number) {
    while (!stop.stop_requested()) std::this_thread::yield();
    return number;
  };
  EXPECT_THROW((void)flights.run("k", run_options().timeout(1ms), until_told, 7), cacheflight::timeout_error);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R11, blocking_joiners_honour_stop_token_and_wait_timeout_at_once) {
  cacheflight::group flights;
  std::latch leading(1), may_return(1);
  std::jthread leader([&] {
    flights.run("k", [&] {
      leading.count_down();
      may_return.wait();
    });
  });
  leading.wait();
  EXPECT_TRUE(
      throws<cacheflight::timeout_error>([&] { flights.run("k", run_options().wait_timeout(1ms), [] {}); }));
  std::stop_source stop;
  std::jthread joiner([&] {
    EXPECT_TRUE(throws<cacheflight::caller_stopped_error>(
        [&] { flights.run("k", run_options().stop_token(stop.get_token()), [] {}); }));
  });
  until([&] { return flights.stats().waiters == 2; });
  stop.request_stop();
  joiner.join();
  std::stop_source before;
  before.request_stop();
  EXPECT_TRUE(throws<cacheflight::caller_stopped_error>(
      [&] { flights.run("k", run_options().stop_token(before.get_token()), [] {}); }));
  EXPECT_EQ(flights.stats().waiters, 1u);
  may_return.count_down();
  leader.join();
  EXPECT_EQ(flights.stats().resolved, 1u);
}

TEST(R11, blocking_a_leader_on_its_own_stack_is_gone_at_once_and_returns_when_its_task_does) {
  cacheflight::group flights;
  std::stop_source stop;
  std::latch leading(1), may_return(1);
  std::jthread leader([&] {
    EXPECT_TRUE(throws<cacheflight::caller_stopped_error>([&] {
      (void)flights.run("k", run_options().stop_token(stop.get_token()), [&] {
        leading.count_down();
        may_return.wait();
        return 7;
      });
    }));
  });
  leading.wait();
  std::shared_ptr<int const> joined;
  std::jthread joiner([&] { joined = flights.run("k", [] { return 0; }); });
  until([&] { return flights.stats().waiters == 2; });
  stop.request_stop();
  EXPECT_EQ(flights.stats().waiters, 1u);
  EXPECT_TRUE(flights.has("k"));
  may_return.count_down();
  leader.join();
  joiner.join();
  EXPECT_EQ(*joined, 7);
}

TEST(R12, blocking_a_lone_leader_that_is_stopped_dooms_its_flight_and_its_task_is_told) {
  cacheflight::group flights;
  std::stop_source stop;
  std::latch leading(1);
  std::jthread leader([&] {
    EXPECT_TRUE(throws<cacheflight::caller_stopped_error>([&] {
      (void)flights.run("k", run_options().stop_token(stop.get_token()), [&](std::stop_token token) {
        leading.count_down();
        until([&] { return token.stop_requested(); });
        return 1;
      });
    }));
  });
  leading.wait();
  stop.request_stop();
  EXPECT_FALSE(flights.has("k"));
  EXPECT_EQ(*flights.run("k", [] { return 2; }), 2) << "the next call starts a new flight at once";
  leader.join();
  EXPECT_EQ(flights.stats().detached, 0u);
  EXPECT_EQ(flights.stats().cancelled, 1u);
}

TEST(R13, blocking_cancel_decides_the_leaders_outcome_too) {
  cacheflight::group flights;
  std::latch leading(1), may_return(1);
  std::jthread leader([&] {
    EXPECT_TRUE(throws<cacheflight::cancelled_error>([&] {
      (void)flights.run("k", [&] {
        leading.count_down();
        may_return.wait();
        return 7;
      });
    }));
  });
  leading.wait();
  EXPECT_TRUE(flights.cancel("k"));
  EXPECT_EQ(flights.stats().detached, 1u);
  may_return.count_down();
}

TEST(R17, blocking_a_timeout_answers_joiners_though_the_leader_is_stuck_in_its_task) {
  cacheflight::group flights;
  std::latch leading(1), may_return(1);
  std::jthread leader([&] {
    EXPECT_TRUE(throws<cacheflight::timeout_error>([&] {
      flights.run("k", run_options().timeout(20ms), [&] {
        leading.count_down();
        may_return.wait();
      });
    }));
  });
  leading.wait();
  try {
    flights.run("k", [] {});
    // Only if this thread came after the timeout: a flight of its own.
  } catch (cacheflight::timeout_error const& e) {
    EXPECT_EQ(e.scope(), cacheflight::timeout_scope::flight);
  }
  until([&] { return flights.stats().timed_out == 1; });
  EXPECT_FALSE(flights.has("k"));
  may_return.count_down();
}

TEST(R11, blocking_with_an_executor_a_leader_leaves_like_a_joiner) {
  cacheflight::group flights;
  std::jthread worker;
  std::stop_source stop;
  std::latch may_return(1);
  auto const submit = [&](cacheflight::work w) { worker = std::jthread(w); };
  // The task itself stops its caller: it has begun, so it is left behind rather than never run (rule 34).
  auto const task = [&] {
    stop.request_stop();
    may_return.wait();
  };
  EXPECT_TRUE(throws<cacheflight::caller_stopped_error>(
      [&] { flights.run("k", run_options().stop_token(stop.get_token()), cacheflight::on(submit, task)); }));
  EXPECT_EQ(flights.stats().detached, 1u);
  may_return.count_down();
  worker.join();
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R09, blocking_work_that_is_refused_or_dropped) {
  cacheflight::group flights;
  EXPECT_TRUE(throws<cacheflight::abandoned_error>(
      [&] { flights.run("k", cacheflight::on([](cacheflight::work) {}, [] {})); }));
  EXPECT_TRUE(throws<std::bad_alloc>(
      [&] { flights.run("k", cacheflight::on([](cacheflight::work) { throw std::bad_alloc(); }, [] {})); }));
  std::vector<cacheflight::work> kept;
  EXPECT_TRUE(throws<std::bad_alloc>([&] {
    flights.run("k", cacheflight::on(
                         [&](cacheflight::work w) {
                           kept.push_back(w);
                           throw std::bad_alloc();
                         },
                         [] { ADD_FAILURE() << "ran though its flight is settled"; }));
  }));
  kept[0]();
  kept.clear();
  int runs = 0;
  flights.run("k", cacheflight::on(
                       [](cacheflight::work w) {
                         w();
                         w();  // called twice: once counts
                       },
                       [&] { ++runs; }));
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(flights.size(), 0u);
  auto const s = flights.stats();
  EXPECT_EQ(s.rejected, 3u);
  EXPECT_EQ(s.resolved, 1u);
}

TEST(R06, future_callers_of_one_flight_share_its_object_and_its_errors) {
  cacheflight::group flights;
  std::vector<cacheflight::work> pool;
  auto const submit = [&](cacheflight::work w) { pool.push_back(std::move(w)); };
  auto a = cacheflight::run_future(flights, "k", cacheflight::on(submit, [] { return 7; }));
  auto b = cacheflight::run_future(flights, "k", [] { return 0; });
  EXPECT_EQ(a.wait_for(0s), std::future_status::timeout);
  pool[0]();
  auto const got = a.get();
  EXPECT_EQ(*got, 7);
  EXPECT_EQ(got, b.get());

  auto failing = cacheflight::run_future(flights, "k", []() -> int { throw std::logic_error("x"); });
  EXPECT_THROW((void)failing.get(), std::logic_error);
  auto nothing = cacheflight::run_future(flights, "v", run_options().timeout(1h), [] {});
  nothing.get();
  std::optional<cacheflight::completion<int>> done;
  auto later = cacheflight::run_future(
      flights, "c",
      cacheflight::answering<int>([&](cacheflight::completion<int> d) { done.emplace(std::move(d)); }));
  done.reset();
  EXPECT_THROW((void)later.get(), cacheflight::abandoned_error);
}

TEST(R27, blocking_a_task_may_run_other_keys) {
  cacheflight::group flights;
  auto const outer = flights.run(
      "a", [&] { return *flights.run("b", [&] { return *flights.run("c", [] { return 1; }) + 1; }) + 1; });
  EXPECT_EQ(*outer, 3);
}

TEST(R30, blocking_destroying_the_group_frees_its_waiters) {
  auto flights = std::make_unique<cacheflight::group>();
  std::latch may_return(1);
  std::atomic<int> cancelled{0};
  std::vector<std::jthread> pool;
  std::jthread worker;
  auto& g = *flights;
  auto const submit = [&](cacheflight::work w) { worker = std::jthread(w); };
  for (int i = 0; i < 3; ++i)
    pool.emplace_back([&] {
      cancelled += throws<cacheflight::cancelled_error>(
          [&] { g.run("k", cacheflight::on(submit, [&] { may_return.wait(); })); });
    });
  until([&] { return g.stats().waiters == 3; });
  flights.reset();
  pool.clear();
  EXPECT_EQ(cancelled, 3);
  may_return.count_down();
}

struct counting {
  std::string text;
  static inline std::atomic<int> made{0};
  counting(std::string_view t) : text(t) {
    ++made;
  }  // NOLINT(google-explicit-constructor): as std::string from a view
  counting(counting&&) = default;
  counting(counting const& other) : text(other.text) { ++made; }
  operator std::string_view() const { return text; }  // NOLINT(google-explicit-constructor): string-like
};

// The lookup of a viewed key copies nothing; the leader makes one key.
TEST(R31, blocking_joining_copies_no_key) {
  cacheflight::basic_group<counting> flights;
  std::latch leading(1), may_return(1);
  std::jthread leader([&] {
    flights.run("k", [&] {
      leading.count_down();
      may_return.wait();
    });
  });
  leading.wait();
  EXPECT_EQ(counting::made, 1);
  std::jthread joiner([&] { flights.run(std::string_view("k"), [] {}); });
  until([&] { return flights.stats().waiters == 2; });
  EXPECT_TRUE(flights.has("k"));
  may_return.count_down();
  joiner.join();
  EXPECT_EQ(counting::made, 1);
}

}  // namespace
