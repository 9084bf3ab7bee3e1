// SPDX-License-Identifier: MIT

// Callers of one executor are resumed in batches: what that must not change. See detail/asio/batch.hpp.

#include "asio_fronts.hpp"
#include "asio_refusing.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;

constexpr std::size_t many = 200, most = 64;

/// `many` coroutines on one executor, waiting for one task that runs elsewhere.
struct crowd {
  manual_group flights;
  net::io_context work;
  task_ptr task = make_task();
  std::shared_ptr<int> frames = std::make_shared<int>();  // has as many copies as there are coroutines
  std::atomic<std::size_t> resumed{0};
  std::function<void(std::size_t)> when_resumed = [](std::size_t) {};

  static net::awaitable<void> member(crowd& all, task_ptr own, std::shared_ptr<int>) {
    auto const got = co_await all.flights.run(
        "k", cacheflight::on(all.work.get_executor(), controlled_task<answer>), own, sentinel(own));
    EXPECT_EQ(got->number, 7);
    all.when_resumed(all.resumed.fetch_add(1));
  }

  void gather(net::io_context& io, net::any_io_executor const& ex, std::size_t count = many) {
    auto const rethrow = [](std::exception_ptr error) {
      if (error) std::rethrow_exception(error);
    };
    for (std::size_t i = 0; i < count; ++i) {
      net::co_spawn(ex, member(*this, i == 0 ? task : make_task(), frames), rethrow);
      poll(io);
    }
    work.poll();
    ASSERT_EQ(flights.stats().waiters, count);
  }
  void settle() {
    task->value = 7;
    task->open_gate(false);
    work.restart();
    work.poll();
  }
};

/// A test for each kind of executor that callers of one context can have.
class R28_batches : public testing::TestWithParam<bool> {
 protected:
  net::any_io_executor executor(net::io_context& io) const {
    return GetParam() ? net::any_io_executor(net::make_strand(io)) : net::any_io_executor(io.get_executor());
  }
};
INSTANTIATE_TEST_SUITE_P(asio, R28_batches, testing::Bool(),
                         [](auto const& of) { return of.param ? "strand" : "io_context"; });

TEST_P(R28_batches, asio_are_bounded) {
  crowd all;
  net::io_context io;
  auto const ex = executor(io);
  all.gather(io, ex);
  all.settle();
  EXPECT_EQ(all.resumed, 0u) << "inside the call that settled the flight";
  std::size_t largest = 0;
  io.restart();
  for (std::size_t before = 0; io.poll_one() != 0; before = all.resumed)
    largest = std::max(largest, all.resumed - before);
  EXPECT_EQ(all.resumed, many);
  EXPECT_EQ(largest, most);
}

TEST_P(R28_batches, asio_one_that_throws_strands_nobody) {
  crowd all;
  net::io_context io;
  auto const ex = executor(io);
  all.gather(io, ex);
  all.settle();
  all.when_resumed = [](std::size_t i) {
    if (i % 3 == 0) throw std::runtime_error("a caller's");
  };
  std::size_t thrown = 0;
  io.restart();
  for (bool more = true; more;) try {
      more = io.poll() != 0;
    } catch (std::exception const&) {  // an io_context that got several inside one handler throws one for all
      ++thrown;
    }
  EXPECT_EQ(all.resumed, many);
  EXPECT_GE(thrown, many / most);
}

TEST_P(R28_batches, asio_a_context_that_goes_takes_them_along) {
  crowd all;
  {
    net::io_context io;
    auto const ex = executor(io);
    all.gather(io, ex);
    EXPECT_EQ(all.frames.use_count(), static_cast<long>(many) + 1);
    all.settle();
    all.when_resumed = [&](std::size_t i) {
      if (i == 0) throw std::runtime_error("in the middle of a batch");
    };
    io.restart();
    EXPECT_THROW(io.poll(), std::runtime_error);
  }
  EXPECT_LE(all.resumed, most);
  EXPECT_EQ(all.frames.use_count(), 1);
  EXPECT_EQ(all.flights.stats().waiters, 0u);
}

TEST_P(R28_batches, asio_that_are_refused_are_tried_again) {
  for (int refused = 1; refused <= 6; ++refused) {
    crowd all;
    net::io_context io;
    int refusals = 0;
    auto const picky = refusing(io.get_executor(), &refusals);
    auto const ex = GetParam() ? net::any_io_executor(net::make_strand(net::any_io_executor(picky)))
                               : net::any_io_executor(picky);
    all.gather(io, ex, 10);
    refusals = refused;
    all.settle();
    EXPECT_EQ(all.resumed, 0u);
    for (int i = 0; i < 20; ++i) {
      pass(all.flights, 1ms);
      poll(io);
    }
    EXPECT_EQ(refusals, 0);
    EXPECT_EQ(all.resumed, 10u);
    EXPECT_EQ(all.frames.use_count(), 1);
  }
}

TEST_P(R28_batches, asio_that_are_refused_go_with_their_context) {
  crowd all;
  int refusals = 0;  // outlives the context, which destroys coroutines that look at it
  {
    net::io_context io;
    auto const picky = refusing(io.get_executor(), &refusals);
    auto const ex = GetParam() ? net::any_io_executor(net::make_strand(net::any_io_executor(picky)))
                               : net::any_io_executor(picky);
    all.gather(io, ex, 10);
    refusals = 100;
    all.settle();
    refusals = 0;  // destroyed coroutines post
  }
  pass(all.flights, 1ms);
  EXPECT_EQ(all.resumed, 0u);
  EXPECT_EQ(all.frames.use_count(), 1);
}

TEST(R28, asio_one_of_a_batch_that_blocks_leaves_the_others_to_other_threads) {
  constexpr std::size_t count = 4;
  crowd all;
  net::io_context io;
  all.gather(io, io.get_executor(), count);
  std::promise<void> met;
  std::shared_future<void> const everybody = met.get_future().share();
  all.when_resumed = [&](std::size_t i) {
    if (i + 1 == count) met.set_value();
    EXPECT_EQ(everybody.wait_for(30s), std::future_status::ready)
        << "the others of the batch wait behind this one";
  };
  all.settle();
  io.restart();
  std::vector<std::jthread> threads;
  for (std::size_t i = 0; i < count; ++i) threads.emplace_back([&] { io.run(); });
  threads.clear();
  EXPECT_EQ(all.resumed, count);
}

TEST(R28, asio_callers_of_several_executors_go_to_their_own) {
  crowd all;
  net::io_context first, second;
  net::any_io_executor const executors[] = {net::make_strand(first), net::make_strand(first),
                                            first.get_executor(), second.get_executor()};
  struct local {
    static net::awaitable<void> member(crowd& c, task_ptr own, net::any_io_executor mine) {
      co_await crowd::member(c, own, nullptr);
      if (auto const* s = mine.target<net::strand<net::io_context::executor_type>>()) {
        EXPECT_TRUE(s->running_in_this_thread());
      } else {
        EXPECT_TRUE(mine.target<net::io_context::executor_type>()->running_in_this_thread());
      }
    }
  };
  for (std::size_t i = 0; i < 20; ++i) {
    auto const& ex = executors[i * i % 7 % 4];
    net::co_spawn(ex, local::member(all, i == 0 ? all.task : make_task(), ex), net::detached);
    for (net::io_context* io : {&first, &second}) poll(*io);
  }
  all.work.poll();
  ASSERT_EQ(all.flights.stats().waiters, 20u);
  all.settle();
  EXPECT_EQ(all.resumed, 0u);
  for (net::io_context* io : {&first, &second}) poll(*io);
  EXPECT_EQ(all.resumed, 20u);
}

}  // namespace
}  // namespace cacheflight_test
