// SPDX-License-Identifier: MIT

// What a task can ask about its flight (rule 48), in each kind of task.

#include "../support/coroutines.hpp"
#include "../support/errors.hpp"
#include "../support/manual_platform.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/sender.hpp>
#include <cacheflight/task_context.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::run_options;
using cacheflight::task_context;
namespace net = boost::asio;

/// So much later than now, by the clock of these tests.
std::optional<std::chrono::steady_clock::time_point> in(std::chrono::nanoseconds time) {
  return std::chrono::steady_clock::time_point(manual_clock::now().time_since_epoch() + time);
}

/// A caller who is not answered here.
void join(manual_group& flights, run_options opts = {}) {
  flights.start(
      "k", std::move(opts), [] { return 0; }, [](std::exception_ptr, std::shared_ptr<int const>) {});
}

TEST(R48, a_task_knows_who_waits_and_until_when) {
  manual_group flights;
  std::optional<task_context> kept;
  std::uint64_t id = 0;
  cacheflight::call_report report;
  auto const task = [&](task_context context) {
    kept = context;
    EXPECT_EQ(context.waiters(), 1u);
    EXPECT_EQ(context.deadline(), in(2s));
    join(flights, run_options().wait_timeout(5s));
    EXPECT_EQ(context.waiters(), 2u);
    EXPECT_EQ(context.deadline(), in(4s)) << "the flight's own is sooner";
    std::stop_source leaves;
    join(flights, run_options().stop_token(leaves.get_token()));
    EXPECT_EQ(context.waiters(), 3u);
    EXPECT_EQ(context.deadline(), in(4s)) << "the flight's own";
    leaves.request_stop();
    EXPECT_EQ(context.waiters(), 2u);
    pass(flights, 2s);  // the leader's wait
    EXPECT_EQ(context.waiters(), 1u);
    EXPECT_EQ(context.deadline(), in(2s));
    EXPECT_FALSE(context.stop_token().stop_requested());
    id = context.flight_id();
    return 1;
  };
  flights.start("k", run_options().timeout(4s).wait_timeout(2s).report(report), task,
                [](std::exception_ptr, std::shared_ptr<int const>) {});
  EXPECT_EQ(id, report.flight_id);
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->flight_id(), id);
  EXPECT_EQ(kept->waiters(), 0u) << "it has outlived its flight";
  EXPECT_EQ(kept->deadline(), std::nullopt);
}

TEST(R48, who_waits_without_limit_leaves_no_deadline) {
  manual_group flights;
  flights.start(
      "k", run_options().wait_timeout(1s),
      [&](task_context context) {
        EXPECT_EQ(context.deadline(), in(1s));
        join(flights, run_options().wait_timeout(3s));
        EXPECT_EQ(context.deadline(), in(3s)) << "the last of them";
        join(flights);
        EXPECT_EQ(context.deadline(), std::nullopt);
        return 1;
      },
      [](std::exception_ptr, std::shared_ptr<int const>) {});
}

TEST(R48, the_last_of_the_limits_counts_whoever_came_first) {
  manual_group flights;
  flights.start(
      "k", run_options().wait_timeout(5s),
      [&](task_context context) {
        join(flights, run_options().wait_timeout(3s));
        EXPECT_EQ(context.deadline(), in(5s));
        return 1;
      },
      [](std::exception_ptr, std::shared_ptr<int const>) {});
}

TEST(R48, a_task_that_never_begins_has_none) {
  manual_group flights;
  std::exception_ptr failure;
  flights.start("k", cacheflight::on([](cacheflight::work const&) {}, [](task_context) { return 1; }),
                [&](std::exception_ptr e, std::shared_ptr<int const>) { failure = std::move(e); });
  EXPECT_TRUE(is<cacheflight::abandoned_error>(failure));
}

TEST(R48, among_very_many_callers_one_is_taken_to_have_no_limit) {
  manual_group flights;
  flights.start(
      "k", run_options().wait_timeout(1s),
      [&](task_context context) {
        for (int i = 0; i < 63; ++i) join(flights, run_options().wait_timeout(1s));
        EXPECT_EQ(context.waiters(), 64u);
        EXPECT_EQ(context.deadline(), in(1s));
        join(flights, run_options().wait_timeout(1s));
        EXPECT_EQ(context.waiters(), 65u);
        EXPECT_EQ(context.deadline(), std::nullopt);
        return 1;
      },
      [](std::exception_ptr, std::shared_ptr<int const>) {});
}

TEST(R48, a_doomed_flight_has_no_waiters_and_its_task_is_to_stop) {
  manual_group flights;
  flights.start(
      "k", run_options().timeout(9s),
      [&](task_context context) {
        EXPECT_FALSE(context.stop_token().stop_requested());
        flights.cancel("k");
        EXPECT_TRUE(context.stop_token().stop_requested());
        EXPECT_EQ(context.waiters(), 0u);
        EXPECT_EQ(context.deadline(), std::nullopt);
        EXPECT_NE(context.flight_id(), 0u);
        return 1;
      },
      [](std::exception_ptr, std::shared_ptr<int const>) {});
}

TEST(R48, a_superseded_flight_still_has_its_waiters) {
  manual_group flights;
  flights.start(
      "k", run_options().wait_timeout(9s),
      [&](task_context context) {
        flights.supersede("k");
        EXPECT_EQ(context.waiters(), 1u);
        EXPECT_EQ(context.deadline(), in(9s));
        return 1;
      },
      [](std::exception_ptr, std::shared_ptr<int const>) {});
}

TEST(R48, a_context_of_no_flight_knows_nothing) {
  task_context const none;
  EXPECT_EQ(none.flight_id(), 0u);
  EXPECT_EQ(none.waiters(), 0u);
  EXPECT_EQ(none.deadline(), std::nullopt);
  EXPECT_FALSE(none.stop_token().stop_possible());
}

TEST(R48, it_keeps_neither_key_nor_result_nor_group) {
  auto const value = std::make_shared<int const>(1);
  std::optional<task_context> kept;
  {
    manual_group flights;
    auto const got = flights.run("k", [&](task_context context) {
      kept = std::move(context);
      return value;
    });
    EXPECT_EQ(value.use_count(), 2) << "the caller's, and the one here";
  }
  EXPECT_EQ(value.use_count(), 1);
  EXPECT_EQ(kept->waiters(), 0u);
}

TEST(R48, a_task_that_could_take_either_gets_the_token) {
  manual_group flights;
  bool token = false;
  (void)flights.run("k", [&](auto told) {
    token = std::is_same_v<decltype(told), std::stop_token>;
    return 1;
  });
  EXPECT_TRUE(token);
}

TEST(R48, other_threads_may_ask_while_the_task_ends) {
  for (int round = 0; round < 200; ++round) {
    cacheflight::group flights;
    std::atomic<bool> asks{false}, over{false};
    std::thread other;
    (void)flights.run("k", run_options().wait_timeout(1h), [&](task_context context) {
      other = std::thread([&, context] {
        while (!over) {
          (void)context.deadline();
          if (context.waiters() == 1) asks = true;
        }
        EXPECT_EQ(context.waiters(), 0u);
      });
      while (!asks) std::this_thread::yield();
      return 1;
    });
    over = true;
    other.join();
  }
}

// ---- the other kinds of task ------------------------------------------------------------------------------

int lazy_waiters(task_context const& context) {
  EXPECT_EQ(context.waiters(), 1u);
  EXPECT_EQ(context.deadline(), in(1s));
  return 7;
}

TEST(R48, coroutine) {
  manual_group flights;
  int got = 0;
  std::optional<task_context> kept;
  [](manual_group& in, std::optional<task_context>& to, int& answer) -> eager {
    auto task = [&to](task_context context) -> lazy<int> {
      to = context;
      co_return lazy_waiters(context);
    };
    auto operation = in.run("k", run_options().wait_timeout(1s), task);
    answer = *co_await std::move(operation);
  }(flights, kept, got);
  EXPECT_EQ(got, 7);
  EXPECT_EQ(kept->waiters(), 0u);
}

net::awaitable<int> wait_until_stopped(task_context context, std::optional<task_context>* to) {
  *to = context;
  EXPECT_EQ(context.waiters(), 1u);
  EXPECT_NE(context.deadline(), std::nullopt);
  net::steady_timer never(co_await net::this_coro::executor, net::steady_timer::time_point::max());
  boost::system::error_code e;
  std::stop_callback const on_stop(context.stop_token(), [&never] { never.cancel(); });
  co_await never.async_wait(net::redirect_error(net::use_awaitable, e));
  EXPECT_TRUE(context.stop_token().stop_requested());
  co_return 7;
}

TEST(R48, asio) {
  net::io_context io;
  cacheflight::group flights;
  std::optional<task_context> kept;
  bool cancelled = false;
  auto const caller = [&]() -> net::awaitable<void> {
    try {
      (void)co_await flights.run("k", run_options().wait_timeout(1h), wait_until_stopped, &kept);
    } catch (cacheflight::cancelled_error const&) {
      cancelled = true;
    }
  };
  net::co_spawn(io, caller, net::detached);
  while (!kept) io.run_one();
  flights.cancel("k");
  io.run();
  EXPECT_TRUE(cancelled);
  EXPECT_EQ(kept->waiters(), 0u);
}

/// A sender that asks the context, and completes at once.
struct asking_sender {
  using sender_concept = cacheflight::execution::sender_t;
  using completion_signatures =
      cacheflight::execution::completion_signatures<cacheflight::execution::set_value_t(int)>;
  task_context context;

  template <class Receiver>
  struct state {
    using operation_state_concept = cacheflight::execution::operation_state_t;
    task_context context;
    Receiver receiver;
    void start() & noexcept { std::move(receiver).set_value(lazy_waiters(context)); }
  };
  template <class Receiver>
  state<Receiver> connect(Receiver receiver) {
    return {std::move(context), std::move(receiver)};
  }
};

TEST(R48, sender) {
  manual_group flights;
  int got = 0;
  auto const task = [](task_context context) { return asking_sender{std::move(context)}; };
  struct receiver {
    int* to;
    void set_value(std::shared_ptr<int const> value) && noexcept { *to = *value; }
    void set_error(std::exception_ptr) && noexcept { *to = -1; }
    void set_stopped() && noexcept { *to = -2; }
  };
  auto operation = flights.run("k", run_options().wait_timeout(1s), task).connect(receiver{&got});
  operation.start();
  EXPECT_EQ(got, 7);
}

}  // namespace
}  // namespace cacheflight_test
