// SPDX-License-Identifier: MIT

// How a task of Asio's is told to stop (rule 45): its stop callbacks run where it runs, and what computes
// polls a flag.

#include "asio_fronts.hpp"
#include "asio_refusing.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <latch>
#include <string>
#include <thread>
#include <utility>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::options;
using cacheflight::run_options;

/// Whether this thread is in the strand that `ex` is.
[[nodiscard]] bool in_strand(net::any_io_executor const& ex) {
  if (auto const* io = ex.target<net::strand<net::io_context::executor_type>>())
    return io->running_in_this_thread();
  if (auto const* pool = ex.target<net::strand<net::thread_pool::executor_type>>())
    return pool->running_in_this_thread();
  return false;
}

/// What a task and its stop callback share without a lock, because both run in the same strand.
struct unguarded {
  std::latch* begun = nullptr;
  unsigned turns = 0;
  bool stopped = false;
  bool in_strand = false;
};

/// Uses its timer, and what is unguarded, until its stop callback has used them.
net::awaitable<int> busy(std::stop_token stop, unguarded& mine) {
  (void)co_await net::this_coro::throw_if_cancelled(false);
  auto const ex = co_await net::this_coro::executor;
  net::steady_timer timer(ex);
  std::stop_callback const cancel(stop, [&] {
    mine.in_strand = in_strand(ex);
    mine.stopped = true;
    ++mine.turns;
    timer.cancel();
  });
  if (mine.begun) mine.begun->count_down();
  while (!mine.stopped) {
    ++mine.turns;
    timer.expires_after(1us);
    boost::system::error_code ignored;
    co_await timer.async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
  co_return 1;
}

net::awaitable<void> await_busy(auto& flights, std::string key, run_options opts, unguarded& mine) {
  try {
    (void)co_await flights.run(std::move(key), std::move(opts), busy, std::ref(mine));
  } catch (cacheflight::error const&) {
  }
}

TEST(R45, asio_a_stop_callback_runs_where_its_task_runs_after_a_timeout) {
  manual_group flights;
  net::io_context io(1);
  std::latch begun{1};
  unguarded mine{&begun};
  net::co_spawn(io, await_busy(flights, "k", run_options().timeout(5ms), mine), net::detached);
  std::jthread const time([&] {
    begun.wait();  // else it would never begin (rule 34)
    pass(flights, 5ms);
  });
  io.run();  // the task has unwound when it returns
  EXPECT_TRUE(mine.stopped);
  EXPECT_TRUE(mine.in_strand);
  EXPECT_EQ(flights.stats().timed_out, 1u);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R45, asio_a_stop_callback_runs_where_its_task_runs_whoever_cancels) {
  cacheflight::group flights;
  net::thread_pool threads(2);
  std::latch begun{3};
  unguarded own{&begun}, leaders{&begun}, named{&begun};
  net::co_spawn(threads, await_busy(flights, "own", {}, own), net::detached);
  net::co_spawn(net::make_strand(threads), await_busy(flights, "leader's", {}, leaders), net::detached);
  cacheflight::async_run(flights, net::system_executor(), "named",
                         cacheflight::on(net::make_strand(threads), busy), std::ref(named), net::detached);
  begun.wait();
  EXPECT_TRUE(flights.cancel("own"));
  flights.clear();
  threads.join();
  for (unguarded const* const each : {&own, &leaders, &named}) {
    EXPECT_TRUE(each->stopped);
    EXPECT_TRUE(each->in_strand);
  }
  EXPECT_EQ(flights.stats().cancelled, 3u);
}

net::awaitable<int, net::io_context::executor_type> on_a_plain_executor(std::stop_token stop,
                                                                        net::io_context& io, bool& stopped,
                                                                        bool& aborted) {
  std::stop_callback const note(stop, [&] { stopped = io.get_executor().running_in_this_thread(); });
  net::basic_waitable_timer<std::chrono::steady_clock, net::wait_traits<std::chrono::steady_clock>,
                            net::io_context::executor_type>
      timer(co_await net::this_coro::executor, 1h);
  try {
    co_await timer.async_wait(net::use_awaitable_t<net::io_context::executor_type>());
  } catch (...) {
    aborted = true;
  }
  co_return 1;
}

TEST(R45, asio_where_nothing_can_serialize_only_the_token_is_used_and_on_the_tasks_executor) {
  cacheflight::group flights;
  net::io_context io;
  bool stopped = false, aborted = false, done = false;
  cacheflight::async_run(flights, io.get_executor(), "k", on_a_plain_executor, std::ref(io),
                         std::ref(stopped), std::ref(aborted),
                         [&](std::exception_ptr e, std::shared_ptr<int const>) { done = !!e; });
  poll(io);
  flights.cancel("k");
  EXPECT_FALSE(stopped);
  poll(io);
  EXPECT_TRUE(done);
  EXPECT_TRUE(stopped);
  EXPECT_FALSE(aborted);
}

net::awaitable<int> notes_token(std::stop_token stop, bool& stopped) {
  std::stop_callback const note(stop, [&] { stopped = true; });
  net::steady_timer timer(co_await net::this_coro::executor, 1h);
  co_await timer.async_wait(net::use_awaitable);
  co_return 1;
}

TEST(R45, asio_a_refused_stop_request_is_tried_again_where_the_task_runs) {
  manual_group flights;
  net::io_context io, elsewhere;
  int refusals = 0;
  net::any_io_executor const picky = refusing(io.get_executor(), &refusals);
  for (bool const on_strand : {false, true}) {
    bool stopped = false;
    cacheflight::async_run(
        flights, elsewhere.get_executor(), "k",
        cacheflight::on(on_strand ? net::any_io_executor(net::make_strand(picky)) : picky, notes_token),
        std::ref(stopped), net::detached);
    poll(io);
    refusals = 2;
    flights.cancel("k");
    poll(io);
    pass(flights, 1ms);
    poll(io);
    EXPECT_FALSE(stopped);
    pass(flights, 1ms);
    EXPECT_FALSE(stopped) << "not on the thread that tries again";
    poll(io);
    EXPECT_TRUE(stopped);
    EXPECT_EQ(flights.stats().detached, 0u);
  }
}

net::awaitable<int> notes_strand(net::strand<net::io_context::executor_type> connection,
                                 bool& on_connections) {
  auto const ex = co_await net::this_coro::executor;
  co_await net::post(ex, net::use_awaitable);  // it began inside the starting call
  EXPECT_TRUE(in_strand(ex));
  on_connections = connection.running_in_this_thread();
  co_return 1;
}

TEST(R45, asio_a_task_runs_on_its_leaders_strand_or_on_one_of_its_own) {
  manual_group flights;
  net::io_context io;
  auto const connection = net::make_strand(io);
  bool led_on_strand = false, led_on_context = true, on_context = true;
  net::co_spawn(connection, flights.run("a", notes_strand, connection, std::ref(led_on_strand)),
                net::detached);
  net::co_spawn(io, flights.run("b", notes_strand, connection, std::ref(led_on_context)), net::detached);
  net::co_spawn(connection,
                flights.run("c", cacheflight::on(io, notes_strand), connection, std::ref(on_context)),
                net::detached);
  poll(io);
  EXPECT_TRUE(led_on_strand);
  EXPECT_FALSE(led_on_context);
  EXPECT_FALSE(on_context);
  EXPECT_EQ(flights.stats().resolved, 3u);
}

// ---- a task that computes ---------------------------------------------------------------------------------

net::awaitable<int> computes(cacheflight::stop_flag stop, std::function<void()> meanwhile, bool& before,
                             bool& after) {
  before = stop.stop_requested();
  meanwhile();
  after = stop.stop_requested();
  co_return 1;
}

TEST(R45, asio_a_task_that_computes_inside_the_starting_call_sees_its_flag) {
  manual_group flights;
  net::io_context io;
  bool before = true, after = false;
  auto const cancel = [&] { EXPECT_TRUE(flights.cancel("k")); };
  net::co_spawn(io, flights.run("k", computes, cancel, std::ref(before), std::ref(after)), net::detached);
  poll(io);
  EXPECT_FALSE(before);
  EXPECT_TRUE(after);
  EXPECT_EQ(flights.stats().detached, 0u);
}

net::awaitable<int> polls(cacheflight::stop_flag stop) {
  while (!stop.stop_requested()) std::this_thread::yield();
  co_return 1;
}

TEST(R45, asio_a_task_that_occupies_its_only_thread_sees_its_flag_at_the_timeout) {
  cacheflight::group flights;
  net::io_context io(1);
  cacheflight::async_run(flights, io, "k", run_options().timeout(5ms), polls, net::detached);
  io.run();
  EXPECT_EQ(flights.stats().timed_out, 1u);
  EXPECT_EQ(flights.stats().detached, 0u);
}

net::awaitable<int> waits(cacheflight::stop_flag stop, bool& aborted, bool& flagged) {
  net::steady_timer timer(co_await net::this_coro::executor, 1h);
  try {
    co_await timer.async_wait(net::use_awaitable);
  } catch (boost::system::system_error const&) {
    aborted = true;
  }
  flagged = stop.stop_requested();
  co_return 1;
}

TEST(R45, asio_a_task_with_a_flag_is_cancelled_where_it_waits_as_well) {
  manual_group flights;
  net::io_context io;
  bool aborted = false, flagged = false;
  cacheflight::async_run(flights, io, "k", waits, std::ref(aborted), std::ref(flagged), net::detached);
  poll(io);
  flights.cancel("k");
  EXPECT_FALSE(aborted);
  poll(io);
  EXPECT_TRUE(aborted && flagged);
  EXPECT_EQ(flights.stats().detached, 0u);
}

}  // namespace
}  // namespace cacheflight_test
