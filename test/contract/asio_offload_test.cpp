// SPDX-License-Identifier: MIT

// `offload`: a plain function elsewhere, awaited by a coroutine (rule 45).

#include "asio_fronts.hpp"
#include "asio_refusing.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::offload;
using cacheflight::run_options;

/// A context that runs what is posted to it when it is told to: a pool in the test's hands.
using stepped_pool = net::io_context;

template <class T>
struct kept {
  std::optional<T> value;
  std::exception_ptr error;
  [[nodiscard]] bool done() const { return value || error; }
};

/// Awaits `what` into `into`.
template <class T, class Executor>
net::awaitable<void, Executor> keep(net::awaitable<T, Executor> what, kept<T>& into) {
  try {
    into.value = co_await std::move(what);
  } catch (...) {
    into.error = std::current_exception();
  }
}

bool aborted(std::exception_ptr const& error) {
  try {
    if (error) std::rethrow_exception(error);
  } catch (boost::system::system_error const& e) {
    return e.code() == net::error::operation_aborted;
  } catch (...) {
  }
  return false;
}

/// Whether it still lives.
struct counted {
  explicit counted(int& n) : alive(&n) { ++*alive; }
  counted(counted&& other) noexcept : alive(std::exchange(other.alive, nullptr)) {}
  counted& operator=(counted&&) = delete;
  ~counted() {
    if (alive) --*alive;
  }
  int* alive;
};

/// A result that is copied, and not moved.
struct copied {
  std::shared_ptr<int> what = std::make_shared<int>(7);
  copied() = default;
  copied(copied const&) = default;
};
copied make_copied() { return {}; }
void throw_copied() { throw copied(); }

net::awaitable<void> expect_nothing_kept(net::thread_pool& pool) {
  std::weak_ptr<int> seen;
  {
    copied const got = co_await offload(pool, make_copied);
    seen = got.what;
  }
  EXPECT_TRUE(seen.expired());
  std::weak_ptr<int> thrown;
  try {
    co_await offload(pool, throw_copied);
  } catch (copied const& e) {
    thrown = e.what;
  }
  EXPECT_TRUE(thrown.expired());
}

TEST(R45_offload, a_result_is_the_coroutines_alone) {
  net::thread_pool pool(1);
  net::io_context io;
  net::co_spawn(io, expect_nothing_kept(pool), net::detached);
  io.run();
  pool.join();
}

// ---- what it answers --------------------------------------------------------------------------------------

void nothing() {}
int seven() { return 7; }
std::unique_ptr<int> pass_on(std::unique_ptr<int> number) { return number; }
void append(std::string& text) { text += "void,"; }
void fail() { throw std::runtime_error("thrown,"); }

net::awaitable<void> all_kinds(net::thread_pool& pool, std::string& log) {
  auto const self = std::this_thread::get_id();
  auto const where = co_await offload(pool, &std::this_thread::get_id);
  log += where == self ? "here," : "there,";
  log += std::this_thread::get_id() == self ? "back," : "lost,";
  auto const moved = co_await offload(pool.get_executor(), pass_on, std::make_unique<int>(7));
  log += std::to_string(*moved) + ",";
  net::any_io_executor const on_strand = net::make_strand(pool);
  co_await offload(on_strand, append, std::ref(log));
  try {
    co_await offload(pool, fail);
  } catch (std::runtime_error const& e) {
    log += e.what();
  }
  log += std::to_string(co_await offload(pool, &std::string::size, std::string("four")));
}

TEST(R45, offload_answers_with_what_the_function_answers_on_the_coroutines_own_executor) {
  net::thread_pool pool(1);
  net::io_context io;
  std::string log;
  net::co_spawn(io, all_kinds(pool, log), [](std::exception_ptr e) { EXPECT_FALSE(e); });
  io.run();
  EXPECT_EQ(log, "there,back,7,void,thrown,4");
}

TEST(R45, offload_frees_the_function_before_the_coroutine_goes_on) {
  net::io_context io;
  stepped_pool pool;
  int alive = 0, then = -1;
  net::co_spawn(io,
                offload(
                    pool, [](counted) { return 1; }, counted(alive)),
                [&](std::exception_ptr, int) { then = alive; });
  poll(io);
  EXPECT_EQ(alive, 1);
  poll(pool);
  EXPECT_EQ(alive, 0);
  poll(io);
  EXPECT_EQ(then, 0);
}

TEST(R45, offload_of_a_null_function_is_refused_at_once) {
  net::io_context io;
  EXPECT_THROW((void)offload(io, std::function<int()>()), std::invalid_argument);
}

using io_executor = net::io_context::executor_type;

net::awaitable<void, io_executor> typed(stepped_pool& pool, int& got) {
  got = co_await offload<io_executor>(pool, seven);
}

TEST(R45, offload_is_for_coroutines_of_other_executor_types_as_well) {
  net::io_context io;
  stepped_pool pool;
  int got = 0;
  net::co_spawn(io.get_executor(), typed(pool, got), net::detached);
  poll(io);
  poll(pool);
  EXPECT_EQ(got, 0);
  poll(io);
  EXPECT_EQ(got, 7);
}

// ---- cancellation -----------------------------------------------------------------------------------------

int until_told(cacheflight::stop_flag stop, std::latch& begun) {
  begun.count_down();
  while (!stop.stop_requested()) std::this_thread::yield();
  return 7;
}

net::awaitable<int> offloads_until_told(net::thread_pool& pool, std::latch& begun, int& got) {
  got = co_await offload(pool, until_told, std::ref(begun));
  co_return got;
}

TEST(R45, offload_lasts_until_the_function_has_returned_when_the_flight_times_out) {
  cacheflight::group flights;
  net::thread_pool pool(1);
  net::io_context io(1);
  std::latch begun{1};
  int got = 0;
  kept<std::shared_ptr<int const>> caller;
  net::co_spawn(io,
                keep(flights.run("k", run_options().timeout(5ms), offloads_until_told, std::ref(pool),
                                 std::ref(begun), std::ref(got)),
                     caller),
                net::detached);
  io.run();
  EXPECT_TRUE(is<cacheflight::timeout_error>(caller.error));
  EXPECT_EQ(got, begun.try_wait() ? 7 : 0);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R45, offload_gives_a_token_whose_callbacks_run_on_the_coroutines_executor) {
  net::thread_pool pool(1);
  net::io_context io;
  net::cancellation_signal signal;
  std::latch watched{1}, told{1};
  std::thread::id where;
  auto const interruptible = [&](std::stop_token stop) {
    std::stop_callback const note(stop, [&] {
      where = std::this_thread::get_id();
      told.count_down();
    });
    watched.count_down();
    told.wait();
    return 7;
  };
  int got = 0;
  net::co_spawn(io, offload(pool, interruptible),
                net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr, int n) { got = n; }));
  poll(io);
  watched.wait();
  signal.emit(net::cancellation_type::terminal);
  io.restart();
  io.run();
  EXPECT_EQ(where, std::this_thread::get_id());
  EXPECT_EQ(got, 7);
}

TEST(R45, offload_of_a_function_that_has_not_begun_when_it_is_cancelled_never_begins) {
  net::io_context io;
  stepped_pool pool;
  net::cancellation_signal signal;
  int called = 0;
  std::exception_ptr error;
  bool done = false;
  net::co_spawn(
      io, offload(pool, [&] { return ++called; }),
      net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr e, int) { error = e, done = true; }));
  poll(io);
  signal.emit(net::cancellation_type::terminal);
  poll(io);
  EXPECT_FALSE(done) << "it lasts until the pool has come to it";
  poll(pool);
  poll(io);
  EXPECT_TRUE(aborted(error));
  EXPECT_EQ(called, 0);
}

TEST(R45, offload_never_ends_the_program_nor_races_whenever_its_flight_is_cancelled) {
  cacheflight::group flights;
  net::thread_pool pool(2), threads(2);
  auto const load = [](net::thread_pool& to) -> net::awaitable<int> {
    int sum = 0;
    for (int i = 0; i < 20; ++i) sum += co_await offload(to, seven);
    co_return sum;
  };
  unsigned ended = 0;
  auto const caller = [&](std::string key) -> net::awaitable<void> {
    for (int i = 0; i < 100; ++i) {
      try {
        (void)co_await flights.run(key, run_options().timeout(1us * (20 + 3 * i)), load, std::ref(pool));
      } catch (cacheflight::timeout_error const&) {
      }
      ++ended;
    }
  };
  net::co_spawn(net::make_strand(threads), caller("k"), net::detached);
  threads.join();
  pool.join();
  EXPECT_EQ(ended, 100u);
  EXPECT_EQ(flights.stats().detached, 0u);
}

// ---- executors that refuse, drop, go ----------------------------------------------------------------------

TEST(R45, offload_throws_what_an_executor_throws_that_refuses_it) {
  net::io_context io;
  stepped_pool pool;
  for (bool const strand : {false, true}) {
    int refusals = 1;
    net::any_io_executor to = refusing(pool.get_executor(), &refusals);
    if (strand) to = net::make_strand(to);
    kept<int> got;
    net::co_spawn(io, keep(offload(to, [] { return 7; }), got), net::detached);
    poll(io);
    EXPECT_TRUE(is<std::bad_alloc>(got.error));
    kept<int> again;
    net::co_spawn(io, keep(offload(to, [] { return 7; }), again), net::detached);
    poll(io);
    poll(pool);
    poll(io);
    EXPECT_EQ(again.value, 7) << "the strand is not stuck";
  }
}

TEST(R45, offload_to_a_pool_that_is_stopped_and_goes_is_answered) {
  net::io_context io;
  int alive = 0;
  for (bool const strand : {false, true}) {
    kept<int> got;
    {
      net::thread_pool pool(1);
      pool.stop();
      net::any_io_executor to = pool.get_executor();
      if (strand) to = net::make_strand(pool);
      net::co_spawn(
          io, keep(offload(std::move(to), [](counted) { return 7; }, counted(alive)), got), net::detached);
      poll(io);
      EXPECT_FALSE(got.done());
    }
    EXPECT_EQ(alive, 0);
    poll(io);
    EXPECT_TRUE(is<cacheflight::abandoned_error>(got.error));
  }
}

net::awaitable<void> holds(stepped_pool& pool, int& alive, bool& resumed) {
  counted const mine(alive);
  net::steady_timer timer(co_await net::this_coro::executor, 1h);
  co_await offload(pool, nothing);
  resumed = true;
}

/// The coroutine's context goes before the function is through, or when its turn is queued.
void expect_gone_with_its_context(bool strand, bool through) {
  stepped_pool pool;
  int alive = 0;
  bool resumed = false;
  {
    net::io_context io;
    net::any_io_executor ex = io.get_executor();
    if (strand) ex = net::make_strand(io);
    net::co_spawn(ex, holds(pool, alive, resumed), net::detached);
    poll(io);
    if (through) poll(pool);
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
  poll(pool);
  EXPECT_FALSE(resumed);
}

TEST(R45, offload_waits_on_a_context_that_may_go_before_the_function_is_through) {
  for (bool const strand : {false, true}) expect_gone_with_its_context(strand, false);
}

TEST(R45, offload_whose_turn_is_queued_goes_with_its_context) {
  for (bool const strand : {false, true}) expect_gone_with_its_context(strand, true);
}

net::awaitable<void> offloads_for_ever(net::thread_pool& pool, std::atomic<int>& rounds,
                                       std::atomic<int>& alive) {
  struct here {
    explicit here(std::atomic<int>& n) : count(n) { ++count; }
    here(here const&) = delete;
    here& operator=(here const&) = delete;
    ~here() { --count; }
    std::atomic<int>& count;
  };
  here const mine(alive);
  for (;;) {
    co_await offload(pool, seven);
    ++rounds;
  }
}

TEST(R45, offload_waits_on_a_context_that_may_go_at_any_time) {
  net::thread_pool pool(2);
  std::atomic<int> alive{0};
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> rounds{0};
    {
      net::io_context io;
      for (int i = 0; i < 8; ++i)
        net::co_spawn(net::make_strand(io), offloads_for_ever(pool, rounds, alive), net::detached);
      std::jthread const other([&] { io.run(); });
      while (rounds < round) io.run_one();
      io.stop();
    }
    EXPECT_EQ(alive, 0);
  }
}

TEST(R45, offload_tells_the_function_when_its_coroutines_context_goes) {
  net::thread_pool pool(1);
  std::latch begun{1};
  int got = 0;
  {
    net::io_context io;
    net::co_spawn(io, offloads_until_told(pool, begun, got), net::detached);
    poll(io);
    begun.wait();
  }
  pool.join();  // the function has been told
  EXPECT_EQ(got, 0);
}

TEST(R45, offload_tries_again_to_resume_a_coroutine_whose_executor_refuses_it) {
  stepped_pool pool;
  net::io_context io;
  for (bool const strand : {false, true}) {
    int refusals = 0;
    net::any_io_executor ex = refusing(io.get_executor(), &refusals);
    if (strand) ex = net::make_strand(ex);
    kept<int> got;
    net::co_spawn(ex, keep(offload(pool, [] { return 7; }), got), net::detached);
    poll(io);
    refusals = 3;
    poll(pool);
    EXPECT_EQ(refusals, 0);
    EXPECT_FALSE(got.done());
    poll(io);
    EXPECT_EQ(got.value, 7);
  }
}

TEST(R45, offload_to_the_coroutines_own_context_that_goes_leaves_nothing_behind) {
  int alive = 0;
  {
    net::io_context io;
    net::co_spawn(io, offload(io, [](counted) {}, counted(alive)), net::detached);
    io.poll_one();  // the coroutine; the function stays in the queue
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace cacheflight_test
