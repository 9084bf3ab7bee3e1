// SPDX-License-Identifier: MIT

// Closed groups and drains (rules 58 and 59), beyond the scenarios of every front: calls inside of tasks,
// threads that would wait for themselves, callers that vanish, contexts that go.

#include "../support/coroutines.hpp"
#include "../support/errors.hpp"
#include "../support/manual_platform.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/task_context.hpp>

#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/use_future.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::closed_error;
using cacheflight::completion;
using cacheflight::deadlock_error;
using cacheflight::run_options;
using cacheflight::task_context;
using cacheflight::when_drained;
namespace net = boost::asio;

/// A flight that lasts until it is answered.
template <class Group>
completion<int> begin(Group& flights, std::string key) {
  std::optional<completion<int>> answer;
  flights.start(std::move(key),
                cacheflight::answering<int>([&](completion<int> c) { answer.emplace(std::move(c)); }),
                [](std::exception_ptr, std::shared_ptr<int const>) {});
  return std::move(*answer);
}

// ---- calls inside of tasks --------------------------------------------------------------------------------

TEST(R58, a_task_leads_what_it_needs_in_a_closed_group_if_it_says_so) {
  manual_group flights;
  std::optional<task_context> kept;
  int const sum = *flights.run("outer", [&](task_context context) {
    kept = context;
    flights.close();
    EXPECT_THROW((void)flights.run("inner", [] { return 1; }), closed_error)
        << "nobody knows where it comes from";
    auto const within = run_options().within(context);
    return *flights.run("inner", within, [&](task_context deeper) {
      return *flights.run("innermost", run_options().within(deeper), [] { return 40; });
    }) + *flights.run("other", within, [] { return 2; });
  });
  EXPECT_EQ(sum, 42);
  EXPECT_THROW((void)flights.run("late", run_options().within(*kept), [] { return 1; }), closed_error)
      << "that task has ended";
  EXPECT_EQ(flights.stats().closed_rejected, 2u);
}

TEST(R58, a_task_of_another_group_is_an_outsider) {
  manual_group flights, others;
  flights.close();
  int const got = *others.run("k", [&](task_context context) {
    EXPECT_THROW((void)flights.run("k", run_options().within(context), [] { return 1; }), closed_error);
    EXPECT_THROW((void)flights.run("k", run_options().within(task_context()), [] { return 1; }),
                 closed_error);
    return 1;
  });
  EXPECT_EQ(got, 1);
}

net::awaitable<int> posted() {
  co_await net::post(net::use_awaitable);
  co_return 7;
}

TEST(R59, flights_that_begin_while_others_drain_are_waited_for) {
  net::io_context io;
  manual_group flights;
  bool served = false;
  std::optional<bool> drained;
  std::optional<net::executor_work_guard<net::io_context::executor_type>> gate(io.get_executor());
  auto const task = [&](task_context context) -> net::awaitable<int> {
    cacheflight::async_drain(flights, io, [&](std::exception_ptr, bool quiet) {
      EXPECT_TRUE(served);
      drained = quiet;
    });
    flights.close();  // once more, which changes nothing
    for (int i = 0; i < 3; ++i) {
      co_await net::post(net::use_awaitable);
      (void)co_await flights.run("part" + std::to_string(i), run_options().within(context), posted);
      EXPECT_FALSE(drained);
    }
    co_return 7;
  };
  net::co_spawn(
      io, [&]() -> net::awaitable<void> { served = *co_await flights.run("k", task) == 7; }, net::detached);
  gate.reset();
  io.run();
  EXPECT_TRUE(served);
  EXPECT_EQ(drained, true);
}

// ---- who would wait for itself ----------------------------------------------------------------------------

TEST(R59, a_thread_does_not_wait_for_the_task_that_it_runs) {
  manual_group flights;
  int const got = *flights.run("k", [&] {
    EXPECT_THROW(flights.drain(), deadlock_error);
    EXPECT_THROW(flights.drain(1s), deadlock_error);
    manual_group others;
    EXPECT_TRUE(others.drain()) << "it is no task of theirs";
    return 1;
  });
  EXPECT_EQ(got, 1);
  EXPECT_TRUE(flights.closed());
  EXPECT_TRUE(flights.drain());
}

TEST(R59, a_thread_does_not_wait_for_its_own_event_or_turn) {
  manual_group* group = nullptr;
  int refused = 0;
  auto const refuses = [&] {
    try {
      group->drain();
    } catch (deadlock_error const& e) {
      ++refused;
      EXPECT_NE(std::string_view(e.what()).find("drain"), std::string_view::npos);
    }
  };
  manual_group flights(cacheflight::options().on_event([&](cacheflight::event const&) { refuses(); }));
  group = &flights;
  flights.start(
      "k", [] { return 1; },
      [&](std::exception_ptr error, std::shared_ptr<int const>) {
        EXPECT_FALSE(error);
        refuses();
      });
  EXPECT_EQ(refused, 4) << "miss, task_started, task_resolved, and the callback";
  manual_group others;
  group = &others;
  (void)[](manual_group & all, auto const& f)->eager {
    auto const task = []() -> lazy<int> { co_return 1; };
    co_await all.run("k", task);
    f();
  }
  (others, refuses);
  EXPECT_EQ(refused, 4) << "a coroutine that was not suspended has no turn: nothing is up";
  EXPECT_TRUE(others.closed());
}

TEST(R59, a_thread_that_another_one_waits_for_may_drain) {
  cacheflight::group flights;
  bool refused = false;
  auto const task = [&] {
    std::jthread([&] {
      try {
        EXPECT_FALSE(flights.drain(1ms));
      } catch (deadlock_error const&) {
        refused = true;
      }
    });
    return 1;
  };
  EXPECT_THROW((void)flights.run("k", task), cacheflight::cancelled_error);
  EXPECT_FALSE(refused) << "it is on another stack";
}

TEST(R59, a_coroutine_that_is_started_has_no_turn) {
  manual_group flights, others;
  bool drained = false;
  [](manual_group& all, manual_group& idle, bool& quiet) -> eager {
    auto const task = [](manual_group& group) -> lazy<int> { co_return group.drain() ? 1 : 0; };
    quiet = *co_await all.run("k", task, std::ref(idle)) == 1;
  }(flights, others, drained);
  EXPECT_TRUE(drained);
}

// ---- ends that meet ---------------------------------------------------------------------------------------

TEST(R59, a_drain_ends_once_whoever_comes_first) {
  manual_group flights;
  auto& core = cacheflight::detail::access::core(flights);
  auto answer = begin(flights, "k");
  std::vector<bool> told;
  auto const note = [&](bool quiet) { told.push_back(quiet); };
  when_drained(flights, 1s, note);
  EXPECT_LE(core.driver().wake, manual_clock::now() + 1s);
  manual_clock::advance(1s);
  (void)keep_time(core);  // leaves it to a helper
  when_drained(flights, 1ns, note);
  manual_clock::advance(1s);
  (void)keep_time(core);
  answer.set_value(1);
  EXPECT_TRUE(told.empty()) << "it was decided before";
  while (core.run_job()) {
  }
  EXPECT_EQ(told, (std::vector{false, false}));
}

TEST(R59, the_earliest_of_many_limits_counts) {
  manual_group flights;
  flights.start("before", [] { return 1; }, [](std::exception_ptr, std::shared_ptr<int const>) {});
  auto answer = begin(flights, "k");
  int told = 0;
  auto const note = [&](bool quiet) { told += quiet ? 100 : 1; };
  int const before = manual_driver::ensured;
  when_drained(flights, note);
  EXPECT_EQ(manual_driver::ensured, before) << "without a limit nobody keeps time";
  for (auto const limit : {3s, 2s, 1s, 4s}) when_drained(flights, limit, note);
  pass(flights, 1s);
  EXPECT_EQ(told, 5);
  pass(flights, 5s);
  EXPECT_EQ(told, 5);
}

TEST(R59, who_drains_while_the_group_goes_is_told_at_once) {
  auto flights = std::make_unique<manual_group>();
  manual_group& group = *flights;
  std::optional<completion<int>> answer;
  std::vector<bool> told;
  cacheflight::cancel_reason why{};
  group.start("k", cacheflight::answering<int>([&](completion<int> c) { answer.emplace(std::move(c)); }),
              [&](std::exception_ptr, std::shared_ptr<int const>) {
                when_drained(group, [&](bool quiet) { told.push_back(quiet); });
                group.start(
                    "late", [] { return 1; },
                    [&](std::exception_ptr error, std::shared_ptr<int const>) {
                      try {
                        std::rethrow_exception(error);
                      } catch (cacheflight::cancelled_error const& e) {
                        why = e.reason();
                      }
                    });
              });
  flights.reset();
  EXPECT_EQ(told, std::vector{false});
  EXPECT_EQ(why, cacheflight::cancel_reason::destroyed);
}

// ---- callers that vanish, contexts that go ----------------------------------------------------------------

TEST(R59, a_coroutine_that_drains_can_be_destroyed) {
  manual_group flights;
  auto answer = begin(flights, "k");
  bool resumed = false;
  auto const wait = [](manual_group& all, bool& told, std::optional<std::chrono::seconds> limit) -> owned {
    bool const quiet = limit ? co_await when_drained(all, *limit) : co_await when_drained(all);
    EXPECT_TRUE(quiet);
    told = true;
  };
  owned const gone = wait(flights, resumed, 1s), stays = wait(flights, resumed, {});
  gone.handle.destroy();
  EXPECT_FALSE(resumed);
  answer.set_value(1);
  EXPECT_TRUE(resumed) << "in the call that ended the last flight";
  EXPECT_TRUE(stays.handle.done());
  stays.handle.destroy();
}

TEST(R59, a_drain_is_awaited_once) {
  manual_group flights;
  bool threw = false;
  [](manual_group& all, bool& refused) -> eager {
    auto drain = when_drained(all);
    EXPECT_TRUE(co_await drain);
    try {
      (void)co_await drain;
    } catch (std::logic_error const&) {
      refused = true;
    }
  }(flights, threw);
  EXPECT_TRUE(threw);
}

TEST(R59, a_context_that_goes_takes_along_who_drains_on_it) {
  manual_group flights;
  auto answer = begin(flights, "k");
  auto const owner = std::make_shared<int>(1);
  std::atomic<int> told{0};
  net::io_context stays;
  cacheflight::async_drain(flights, stays, [&](std::exception_ptr, bool quiet) { told += quiet ? 1 : 100; });
  {
    net::io_context goes;
    cacheflight::async_drain(flights, goes, [&, owner](std::exception_ptr, bool) { told += 10; });
    net::co_spawn(
        goes,
        [&, owner]() -> net::awaitable<void> {
          co_await cacheflight::async_drain(flights, goes, 1h, net::use_awaitable);
          told += 10;
        },
        net::detached);
    goes.poll();
    EXPECT_GT(owner.use_count(), 1);
  }
  EXPECT_EQ(owner.use_count(), 1);
  answer.set_value(1);
  stays.run();
  EXPECT_EQ(told, 1);
}

TEST(R59, a_handler_is_called_on_its_own_executor) {
  cacheflight::group flights;
  net::io_context io;
  net::thread_pool pool(1);
  auto answer = begin(flights, "k");
  std::promise<std::thread::id> where;
  cacheflight::async_drain(flights, io, 1h, net::bind_executor(pool, [&](std::exception_ptr, bool quiet) {
                             EXPECT_TRUE(quiet);
                             where.set_value(std::this_thread::get_id());
                           }));
  auto done = cacheflight::async_drain(flights, io, net::use_future);
  answer.set_value(1);
  io.run();
  EXPECT_TRUE(done.get());
  EXPECT_NE(where.get_future().get(), std::this_thread::get_id());
}

// ---- errors -----------------------------------------------------------------------------------------------

TEST(R59, times_that_are_none_are_refused_and_leave_the_group_open) {
  manual_group flights;
  net::io_context io;
  EXPECT_THROW(flights.drain(0s), std::invalid_argument);
  EXPECT_THROW(flights.drain(-1ms), std::invalid_argument);
  EXPECT_THROW((void)when_drained(flights, 0s), std::invalid_argument);
  EXPECT_THROW(when_drained(flights, 0s, [](bool) {}), std::invalid_argument);
  EXPECT_THROW(cacheflight::async_drain(flights, io, 0s, net::detached), std::invalid_argument);
  EXPECT_THROW(when_drained(flights, std::function<void(bool)>()), std::invalid_argument);
  EXPECT_FALSE(flights.closed());
}

TEST(R59, without_a_thread_that_keeps_time_a_limited_drain_fails_alone) {
  manual_group flights;
  auto answer = begin(flights, "k");
  bool told = false;
  when_drained(flights, [&](bool quiet) { told = quiet; });
  manual_driver::refuse = true;
  EXPECT_THROW(flights.drain(1s), std::system_error);
  EXPECT_THROW(when_drained(flights, 1s, [](bool) { ADD_FAILURE(); }), std::system_error);
  bool thrown = false;
  [](manual_group& all, bool& caught) -> eager {
    try {
      (void)co_await when_drained(all, 1s);
    } catch (std::system_error const&) {
      caught = true;
    }
  }(flights, thrown);
  EXPECT_TRUE(thrown);
  manual_driver::refuse = false;
  EXPECT_FALSE(told);
  answer.set_value(1);
  EXPECT_TRUE(told);
}

TEST(R59, what_a_drains_callback_throws_is_counted) {
  manual_group flights;
  auto answer = begin(flights, "k");
  when_drained(flights, [](bool) { throw std::runtime_error("nobody's"); });
  answer.set_value(1);
  EXPECT_EQ(flights.stats().callback_failures, 1u);
}

TEST(R59, a_scheduler_that_refuses_who_drains_is_asked_again) {
  manual_group flights;
  int refuse = 2, told = 0;
  auto const scheduler = [&](auto f) {
    if (refuse > 0) throw --refuse, std::bad_alloc();
    f();
  };
  auto answer = begin(flights, "k");
  when_drained(flights, cacheflight::via(scheduler, [&](bool quiet) { told += quiet; }));
  answer.set_value(1);
  EXPECT_EQ(told, 0);
  for (int round = 0; round < 3; ++round) pass(flights, 1ms);
  EXPECT_EQ(told, 1);
}

// ---- threads ----------------------------------------------------------------------------------------------

TEST(R59, everything_is_over_when_a_thread_has_drained) {
  for (int round = 0; round < 50; ++round) {
    cacheflight::group flights;
    std::atomic<int> running{0}, through{0};
    constexpr int count = 4;
    std::latch entered(count);
    std::vector<std::jthread> threads;
    for (int i = 0; i < count; ++i)
      threads.emplace_back([&, i] {
        bool first = true;
        for (int n = 0;; ++n) {
          try {
            (void)flights.run("k" + std::to_string((i + n) % 3), [&] {
              ++running;
              if (std::exchange(first, false)) entered.count_down();
              std::this_thread::yield();
              --running;
              return 1;
            });
          } catch (closed_error const&) {
            if (std::exchange(first, false)) entered.count_down();
            break;
          }
          if (std::exchange(first, false)) entered.count_down();
        }
        ++through;
      });
    entered.wait();
    EXPECT_TRUE(flights.drain());
    EXPECT_EQ(running, 0);
    auto const stats = flights.stats();
    EXPECT_EQ(stats.in_flight + stats.detached + stats.waiters, 0u);
    threads.clear();
    EXPECT_EQ(through, count);
  }
}

TEST(R59, a_group_can_be_destroyed_while_threads_drain) {
  auto flights = std::make_unique<cacheflight::group>();
  auto answer = begin(*flights, "k");
  std::latch about(2);
  std::atomic<int> told{0};
  std::vector<std::jthread> threads;
  for (int i = 0; i < 2; ++i)
    threads.emplace_back([&, i] {
      auto& all = *flights;
      std::promise<bool> ended;
      when_drained(all, [&](bool quiet) { ended.set_value(quiet); });
      about.count_down();
      EXPECT_FALSE(ended.get_future().get());
      ++told;
      (void)i;
    });
  about.wait();
  flights.reset();
  threads.clear();
  EXPECT_EQ(told, 2);
  EXPECT_TRUE(answer.stop_requested());
}

TEST(R59, real_time_runs_out) {
  cacheflight::group flights;
  auto answer = begin(flights, "k");
  EXPECT_FALSE(flights.drain(1ms));
  EXPECT_TRUE(answer.stop_requested());
  EXPECT_FALSE(flights.drain(1ms)) << "the task has not unwound";
  answer.set_value(1);
  EXPECT_TRUE(flights.drain(1h));
}

}  // namespace
}  // namespace cacheflight_test
