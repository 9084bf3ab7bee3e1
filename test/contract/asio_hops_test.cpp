// SPDX-License-Identifier: MIT

// Handlers whose executor is not the operation's: they go by it. See detail/asio/relayed_caller.hpp.

#include "asio_fronts.hpp"
#include "asio_refusing.hpp"

#include <boost/asio/any_completion_executor.hpp>
#include <boost/asio/any_completion_handler.hpp>
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/executor.hpp>
#include <boost/asio/io_context_strand.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/use_future.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <optional>
#include <thread>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::options;
using cacheflight::run_options;
using result = std::shared_ptr<answer const>;

/// A call on one context, whose task runs on another and whose handler has an executor of its own.
struct relayed {
  explicit relayed(options opts = {}) : flights(std::move(opts)) {}

  template <class Executor>
  void start(Executor const& of_handler, run_options opts = {}) {
    start_on(io->get_executor(), of_handler, std::move(opts));
  }
  template <class Executor, class HandlerExecutor>
  void start_on(Executor const& ex, HandlerExecutor const& of_handler, run_options opts = {}) {
    auto handler = [this, keep = handlers](std::exception_ptr e, result v) {
      ++completions;
      error = e;
      value = std::move(v);
      if (when_completed) when_completed();
    };
    cacheflight::async_run(
        flights, ex, "k", std::move(opts),
        cacheflight::on(work.get_executor(), std::bind_front(controlled_task<answer>, task, sentinel(task))),
        net::bind_cancellation_slot(cancel.slot(), net::bind_executor(of_handler, std::move(handler))));
    poll(work);
  }
  void settle() {
    task->value = 7;
    task->open_gate(false);
    poll(work);
  }
  /// Besides `handlers` itself.
  long handlers_alive() const { return handlers.use_count() - 1; }
  bool answered() const { return completions == 1 && value && value->number == 7; }

  net::cancellation_signal cancel;
  std::shared_ptr<int> handlers = std::make_shared<int>();
  manual_group flights;
  net::io_context work;
  std::optional<net::io_context> io{std::in_place}, other{std::in_place};
  task_ptr task = make_task();
  int completions = 0;
  std::exception_ptr error;
  result value;
  std::function<void()> when_completed;
};

TEST(R28, asio_a_handler_with_another_executor_goes_by_the_operations) {
  relayed call;
  call.when_completed = [&] { EXPECT_TRUE(call.other->get_executor().running_in_this_thread()); };
  call.start(call.other->get_executor());
  call.settle();
  poll(*call.other);
  EXPECT_EQ(call.completions, 0) << "past the operation's executor";
  poll(*call.io);
  EXPECT_EQ(call.completions, 0);
  poll(*call.other);
  EXPECT_TRUE(call.answered());
}

TEST(R28, asio_a_handler_of_the_system_executor_completes_on_the_operations_thread) {
  relayed call;
  std::thread::id where;
  call.when_completed = [&] { where = std::this_thread::get_id(); };
  call.start(net::system_executor());
  call.settle();
  poll(*call.io);
  EXPECT_TRUE(call.answered());
  EXPECT_EQ(where, std::this_thread::get_id());
}

TEST(R28, asio_a_future_is_ready_when_the_operations_context_has_run) {
  manual_group flights;
  net::io_context io;
  auto const task = make_task();
  task->inline_value = 7;
  auto future =
      cacheflight::async_run(flights, io.get_executor(), "k",
                             std::bind_front(controlled_task<answer>, task, sentinel(task)), net::use_future);
  io.run();
  ASSERT_EQ(future.wait_for(0s), std::future_status::ready);
  EXPECT_EQ(future.get()->number, 7);
}

/// How many functions a completed call has given to the operation's executor and to the handler's.
template <class HandlerExecutor>
std::pair<int, int> hops(relayed& call, HandlerExecutor const& of_handler, bool own) {
  int first = 0, second = 0;
  auto const counted = asking(call.io->get_executor(), [&first] { ++first; });
  auto const theirs = asking(of_handler, [&second] { ++second; });
  if (own) call.start_on(counted, theirs);
  else call.start_on(counted, counted);
  call.settle();
  poll(*call.io);
  poll(*call.other);
  EXPECT_TRUE(call.answered());
  return {first, second};
}
TEST(R28, asio_a_handler_of_the_operations_executor_pays_one_hop) {
  relayed one, two;
  EXPECT_EQ(hops(one, one.other->get_executor(), false), std::pair(1, 0));
  EXPECT_EQ(hops(two, two.other->get_executor(), true), std::pair(1, 1));
}

TEST(R11, asio_the_slot_is_given_up_on_the_operations_executor) {
  relayed call;
  call.start(call.other->get_executor());
  call.settle();
  EXPECT_TRUE(call.cancel.slot().has_handler());
  poll(*call.io);
  EXPECT_FALSE(call.cancel.slot().has_handler());
  call.cancel.emit(net::cancellation_type::terminal);
  poll(*call.other);
  EXPECT_TRUE(call.answered());
}

// ---- refusals ---------------------------------------------------------------------------------------------

template <class Executor>
void is_tried_again(relayed& call, Executor const& of_handler, int& refusals) {
  call.start(of_handler);
  refusals = 2;
  call.settle();
  for (int i = 0; i < 6; ++i) {
    poll(*call.io);
    EXPECT_EQ(call.completions, 0);
    pass(call.flights, 1ms);
  }
  EXPECT_EQ(refusals, 0);
  poll(*call.io);
  poll(*call.other);
  poll(*call.io);
  poll(*call.other);
  EXPECT_TRUE(call.answered());
  EXPECT_EQ(call.handlers_alive(), 0);
}
TEST(R10, asio_a_second_hop_that_is_refused_is_tried_again) {
  int refusals = 0;
  {
    relayed call;
    is_tried_again(call, refusing(call.other->get_executor(), &refusals), refusals);
  }
  {
    relayed call;
    net::any_io_executor const picky = refusing(call.other->get_executor(), &refusals);
    is_tried_again(call, picky, refusals);
  }
  {
    relayed call;
    net::any_io_executor const picky = refusing(call.other->get_executor(), &refusals);
    is_tried_again(call, net::make_strand(picky), refusals);
  }
}
TEST(R10, asio_a_second_hop_is_tried_again_where_nothing_can_be_posted) {
  relayed call;
  int refusals = 0;
  net::any_completion_executor const picky = refusing(call.other->get_executor(), &refusals);
  call.start(picky);
  refusals = 2;
  call.settle();
  for (int i = 0; i < 4; ++i) {
    poll(*call.io);
    EXPECT_EQ(call.completions, 0);
    pass(call.flights, 1ms);
  }
  EXPECT_EQ(refusals, 0);
  poll(*call.io);
  poll(*call.other);
  EXPECT_TRUE(call.answered());
}

TEST(R10, asio_a_failed_call_whose_second_hop_is_refused_is_not_lost) {
  relayed call(options().max_keys(1));
  int refusals = 0, failed = 0;
  net::io_context io, other;
  auto const busy = make_task();
  cacheflight::async_run(call.flights, io.get_executor(), "busy",
                         std::bind_front(controlled_task<answer>, busy, sentinel(busy)), net::detached);
  poll(io);
  cacheflight::async_run(
      call.flights, io.get_executor(), "k",
      std::bind_front(controlled_task<answer>, call.task, sentinel(call.task)),
      net::bind_executor(refusing(other.get_executor(), &refusals), [&](std::exception_ptr e, result) {
        EXPECT_THROW(std::rethrow_exception(e), cacheflight::max_keys_error);
        ++failed;
      }));
  refusals = 3;
  poll(io);
  EXPECT_EQ(refusals, 0);
  poll(other);
  EXPECT_EQ(failed, 1);
  busy->value = 1;
  busy->open_gate(false);
  poll(io);
}

// ---- contexts that go -------------------------------------------------------------------------------------

/// When a context goes: while the caller waits, while its turn is queued for the first hop, or for the
/// second.
enum class moment { waiting, first_hop, second_hop };
struct hops_of_contexts : testing::TestWithParam<std::tuple<moment, bool>> {
  moment when = std::get<0>(GetParam());
  relayed call;

  net::any_io_executor handlers_executor() {
    return std::get<1>(GetParam()) ? net::any_io_executor(net::make_strand(*call.other))
                                   : net::any_io_executor(call.other->get_executor());
  }
  void advance() {
    if (when == moment::waiting) return;
    call.settle();
    if (when == moment::second_hop) poll(*call.io);
    EXPECT_EQ(call.completions, 0);
  }
  void end() {
    if (when == moment::waiting && !call.flights.has("k")) {
      call.task->obeys = true;
      poll(call.work);
    }
    if (call.task->open_gate) call.settle();
  }
};
using R44_hops = hops_of_contexts;
INSTANTIATE_TEST_SUITE_P(asio, R44_hops,
                         testing::Combine(testing::Values(moment::waiting, moment::first_hop,
                                                          moment::second_hop),
                                          testing::Bool()));

TEST_P(R44_hops, asio_when_the_operations_context_goes_the_handler_is_answered) {
  call.start(handlers_executor());
  advance();
  call.io.reset();
  EXPECT_FALSE(call.cancel.slot().has_handler());
  if (when == moment::waiting) call.settle();
  EXPECT_EQ(call.completions, 0);
  poll(*call.other);
  EXPECT_TRUE(call.answered());
  EXPECT_EQ(call.handlers_alive(), 0);
}

TEST_P(R44_hops, asio_when_the_operations_context_goes_a_refused_turn_is_tried_again) {
  int refusals = 0;
  net::any_io_executor const picky = refusing(call.other->get_executor(), &refusals);
  call.start(std::get<1>(GetParam()) ? net::any_io_executor(net::make_strand(picky)) : picky);
  if (when == moment::second_hop) refusals = 1;
  advance();
  if (when != moment::second_hop) refusals = 1;
  call.io.reset();
  if (when == moment::waiting) call.settle();
  for (int i = 0; i < 3; ++i) {
    poll(*call.other);
    pass(call.flights, 1ms);
  }
  poll(*call.other);
  EXPECT_EQ(refusals, 0);
  EXPECT_TRUE(call.answered());
}

TEST_P(R44_hops, asio_when_the_handlers_context_goes_the_handler_goes) {
  call.start(handlers_executor());
  advance();
  call.other.reset();
  EXPECT_EQ(call.handlers_alive(), 0);
  EXPECT_EQ(call.flights.stats().waiters, 0u);
  EXPECT_FALSE(call.flights.has("k"));
  end();
  poll(*call.io);
  EXPECT_EQ(call.completions, 0);
  EXPECT_FALSE(call.cancel.slot().has_handler());
}

TEST_P(R44_hops, asio_both_contexts_may_go) {
  for (bool const operations_first : {true, false}) {
    relayed both;
    both.start(both.other->get_executor());
    if (when != moment::waiting) both.settle();
    if (when == moment::second_hop) poll(*both.io);
    (operations_first ? both.io : both.other).reset();
    (operations_first ? both.other : both.io).reset();
    EXPECT_EQ(both.handlers_alive(), 0);
    EXPECT_EQ(both.completions, 0);
    if (both.task->open_gate) both.settle();
  }
}

TEST_P(R44_hops, asio_a_failed_call_may_lose_either_context) {
  if (when == moment::waiting) return;  // it does not wait
  for (bool const operations_goes : {true, false}) {
    manual_group flights{options().max_keys(1)};
    auto const busy = make_task();
    auto const alive = std::make_shared<int>();
    int completed = 0;
    net::io_context stays;
    cacheflight::async_run(flights, stays.get_executor(), "busy",
                           std::bind_front(controlled_task<answer>, busy, sentinel(busy)), net::detached);
    poll(stays);
    std::optional<net::io_context> io{std::in_place}, other{std::in_place};
    cacheflight::async_run(
        flights, io->get_executor(), "k",
        std::bind_front(controlled_task<answer>, call.task, sentinel(call.task)),
        net::bind_executor(other->get_executor(),
                           [&completed, alive](std::exception_ptr e, result) { completed += e != nullptr; }));
    if (when == moment::second_hop) poll(*io);
    if (operations_goes) {
      io.reset();
      poll(*other);
      EXPECT_EQ(completed, 1);
    } else {
      other.reset();
      EXPECT_EQ(alive.use_count(), 1);
      poll(*io);
      EXPECT_EQ(completed, 0);
    }
    EXPECT_EQ(alive.use_count(), 1);
    busy->value = 1;
    busy->open_gate(false);
    poll(stays);
  }
}

TEST_P(R44_hops, asio_a_handler_where_nothing_can_be_posted_goes_with_the_operations_context) {
  call.start(net::any_completion_executor(call.other->get_executor()));
  advance();
  call.io.reset();
  if (when == moment::second_hop) {
    poll(*call.other);
    EXPECT_TRUE(call.answered());
  }
  EXPECT_EQ(call.handlers_alive(), 0);
  EXPECT_EQ(call.completions, when == moment::second_hop ? 1 : 0);
  end();
}

// ---- executors of every kind ------------------------------------------------------------------------------

TEST(R28, asio_handlers_may_have_executors_of_every_kind) {
  {
    relayed call;
    net::io_context::strand const strand(*call.other);
    call.when_completed = [&] { EXPECT_TRUE(strand.running_in_this_thread()); };
    call.start(strand);
    call.settle();
    poll(*call.io);
    EXPECT_EQ(call.completions, 0);
    poll(*call.other);
    EXPECT_TRUE(call.answered());
  }
  {
    relayed call;
    call.when_completed = [&] { EXPECT_TRUE(call.other->get_executor().running_in_this_thread()); };
    call.start(net::executor(call.other->get_executor()));
    call.settle();
    poll(*call.io);
    EXPECT_EQ(call.completions, 0);
    poll(*call.other);
    EXPECT_TRUE(call.answered());
  }
  {
    relayed call;
    call.when_completed = [&] { EXPECT_TRUE(call.other->get_executor().running_in_this_thread()); };
    call.start(net::any_completion_executor(call.other->get_executor()));
    call.settle();
    poll(*call.io);
    EXPECT_EQ(call.completions, 0);
    poll(*call.other);
    EXPECT_TRUE(call.answered());
  }
}

TEST(R28, asio_a_handler_may_be_type_erased) {
  manual_group flights;
  net::io_context io, other;
  for (bool const bound : {false, true}) {
    auto const task = make_task();
    task->inline_value = 7;
    int got = 0;
    auto handler = [&](std::exception_ptr, result v) {
      got = v->number;
      EXPECT_TRUE((bound ? other : io).get_executor().running_in_this_thread());
    };
    using erased = net::any_completion_handler<void(std::exception_ptr, result)>;
    cacheflight::async_run(
        flights, io.get_executor(), "k", std::bind_front(controlled_task<answer>, task, sentinel(task)),
        bound ? erased(net::bind_executor(other.get_executor(), handler)) : erased(handler));
    poll(io);
    EXPECT_EQ(got, bound ? 0 : 7);
    poll(other);
    EXPECT_EQ(got, 7);
  }
}

}  // namespace
}  // namespace cacheflight_test
