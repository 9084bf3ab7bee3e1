// SPDX-License-Identifier: MIT

// What the contract means in Asio's own terms: executors, slots, contexts. The scenarios that every front
// shares are in contract_test.cpp.

#include "asio_fronts.hpp"
#include "asio_refusing.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>
#if __has_include(<boost/context/detail/exception.hpp>)
#include <boost/context/detail/exception.hpp>
#endif

#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <latch>
#include <optional>
#include <thread>
#include <tuple>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::options;
using cacheflight::run_options;

/// One call through `async_run`, on a context of its choice.
struct handler_call : call {
  net::cancellation_signal cancel;

  template <class Executor>
  void start(manual_group& flights, Executor const& ex, std::string key, task_ptr task,
             run_options opts = {}) {
    start_on(flights, ex, ex, std::move(key), std::move(task), std::move(opts));
  }
  template <class Executor, class TaskExecutor>
  void start_on(manual_group& flights, Executor const& ex, TaskExecutor const& task_ex, std::string key,
                task_ptr task, run_options opts = {}) {
    auto handler = [this](std::exception_ptr e, std::shared_ptr<answer const> v) {
      complete(std::move(v), std::move(e));
    };
    cacheflight::async_run(
        flights, ex, std::move(key), std::move(opts),
        cacheflight::on(task_ex, std::bind_front(controlled_task<answer>, task, sentinel(task))),
        net::bind_cancellation_slot(cancel.slot(), std::move(handler)));
  }
};

void resolve(task_ptr const& task, int number) {
  task->value = number;
  task->open_gate(false);
}

TEST(R09, asio_a_context_destroyed_with_the_task_abandons_the_flight_for_callers_elsewhere) {
  manual_group flights;
  net::io_context other;
  auto const task = make_task();
  handler_call here, elsewhere;
  {
    net::io_context io;
    here.start(flights, io.get_executor(), "k", task);
    poll(io);
    ASSERT_EQ(task->invoked, 1);
    elsewhere.start(flights, other.get_executor(), "k", make_task());
    poll(other);
    task->open_gate =
        nullptr;  // the gate is this test's; Asio's own operations are destroyed by their context
  }
  poll(other);
  EXPECT_TRUE(elsewhere.failed_with<cacheflight::abandoned_error>());
  EXPECT_FALSE(here.done()) << "its handler was destroyed with its context";
  EXPECT_EQ(flights.stats().rejected, 1u);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R09, asio_a_context_destroyed_before_the_task_started_abandons_the_flight) {
  manual_group flights;
  net::io_context other;
  auto const task = make_task();
  handler_call leader, joiner;
  {
    net::io_context io;
    leader.start_on(flights, other.get_executor(), io.get_executor(), "k", task);
    joiner.start(flights, other.get_executor(), "k", make_task());
    poll(other);
  }
  EXPECT_EQ(task->invoked, 0);
  EXPECT_TRUE(task->unwound);
  poll(other);
  EXPECT_TRUE(leader.failed_with<cacheflight::abandoned_error>());
  EXPECT_TRUE(joiner.failed_with<cacheflight::abandoned_error>());
}

TEST(R09, asio_an_executor_that_refuses_the_task_is_the_flights_outcome) {
  manual_group flights;
  net::io_context io;
  int refusals = 1;
  net::any_io_executor const picky = refusing(io.get_executor(), &refusals);
  auto const task = make_task();
  handler_call leader;
  leader.start_on(flights, io.get_executor(), picky, "k", task);
  poll(io);
  EXPECT_TRUE(leader.failed_with<std::bad_alloc>());
  EXPECT_EQ(task->invoked, 0);
  EXPECT_EQ(flights.stats().rejected, 1u);
  EXPECT_EQ(flights.size(), 0u);
}

TEST(R10, asio_a_refused_hand_over_is_tried_again_on_the_same_executor) {
  manual_group flights;
  net::io_context io, work;
  int refusals = 0;
  net::any_io_executor const picky = refusing(io.get_executor(), &refusals);
  auto const task = make_task();
  handler_call leader, joiner;
  leader.start_on(flights, picky, work.get_executor(), "k", task);
  joiner.start(flights, picky, "k", make_task());
  poll(work);
  refusals = 3;
  resolve(task, 7);
  poll(work);
  poll(io);
  EXPECT_FALSE(leader.done() || joiner.done());
  pass(flights, 1ms);
  pass(flights, 1ms);
  EXPECT_FALSE(leader.done() || joiner.done()) << "resumed on a foreign thread";
  poll(io);
  EXPECT_EQ(leader.value->number, 7);
  EXPECT_EQ(joiner.value->number, 7);
}

TEST(R10, asio_a_refused_hand_over_of_a_context_that_goes_is_dropped_with_it) {
  manual_group flights;
  net::io_context work;
  int refusals = 0;
  auto const task = make_task();
  handler_call leader;
  {
    net::io_context io;
    net::any_io_executor const picky = refusing(io.get_executor(), &refusals);
    leader.start_on(flights, picky, work.get_executor(), "k", task);
    poll(work);
    refusals = 1;
    resolve(task, 7);
    poll(work);
  }
  pass(flights, 1ms);
  EXPECT_FALSE(leader.done());
  EXPECT_EQ(refusals, 0);
}

TEST(R12, asio_callers_that_go_with_their_context_have_left) {
  manual_group flights;
  net::io_context work;
  auto const task = make_task();
  handler_call stays, goes;
  {
    net::io_context io;
    goes.start_on(flights, io.get_executor(), work.get_executor(), "k", task);
    poll(work);
    poll(io);
    EXPECT_EQ(flights.stats().waiters, 1u);
  }
  EXPECT_EQ(flights.stats().waiters, 0u);
  EXPECT_FALSE(flights.has("k"));
  poll(work);
  EXPECT_TRUE(task->stop_requested);
  resolve(task, 1);
  poll(work);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R12, asio_callers_of_a_context_at_the_address_of_one_that_is_gone_go_with_theirs) {
  manual_group flights;
  net::io_context work;
  std::optional<net::io_context> io;
  for (int i = 0; i < 3; ++i) {
    io.emplace();
    auto const task = make_task();
    handler_call leader, joiner;
    leader.start_on(flights, io->get_executor(), work.get_executor(), "k", task);
    poll(work);
    joiner.start(flights, io->get_executor(), "k", make_task());
    EXPECT_EQ(flights.stats().waiters, 2u);
    io.reset();
    EXPECT_EQ(flights.stats().waiters, 0u);
    resolve(task, i);
    poll(work);
  }
}

TEST(R14, asio_a_cancelled_caller_gets_operation_aborted_in_a_type_of_its_own) {
  manual_group flights;
  net::io_context io;
  for (auto const type :
       {net::cancellation_type::terminal, net::cancellation_type::partial, net::cancellation_type::total}) {
    auto const task = make_task();
    handler_call a, b;
    a.start(flights, io.get_executor(), "k", task);
    b.start(flights, io.get_executor(), "k", make_task());
    poll(io);
    b.cancel.emit(type);
    EXPECT_FALSE(b.done()) << "completed inside emit";
    poll(io);
    ASSERT_TRUE(b.failed_with<cacheflight::caller_cancelled_error>());
    EXPECT_FALSE(b.failed_with<cacheflight::error>());
    try {
      std::rethrow_exception(b.error);
    } catch (boost::system::system_error const& e) {
      EXPECT_EQ(e.code(), net::error::operation_aborted);
    }
    EXPECT_FALSE(a.done());
    resolve(task, 1);
    poll(io);
    a.cancel.emit(type);  // after completion: harmless
    b.cancel.emit(type);
    poll(io);
    EXPECT_EQ(a.completions, 1);
    EXPECT_EQ(b.completions, 1);
  }
}

net::awaitable<void> cancelled_before(manual_group& flights, task_ptr task, bool throws,
                                      std::exception_ptr& error, int& got) {
  (void)co_await net::this_coro::throw_if_cancelled(false);
  net::steady_timer timer(co_await net::this_coro::executor, 1h);
  (void)co_await timer.async_wait(
      net::as_tuple(net::use_awaitable));  // ends when this coroutine is cancelled
  (void)co_await net::this_coro::throw_if_cancelled(throws);
  try {
    got = (co_await flights.run("k", controlled_task<answer>, task, sentinel(task)))->number;
  } catch (...) {
    error = std::current_exception();
  }
}

TEST(R14, asio_a_caller_that_was_cancelled_before_is_refused_or_not_as_it_asked_of_its_coroutine) {
  for (bool const throws : {true, false}) {
    manual_group flights;
    net::io_context io;
    net::cancellation_signal cancel;
    auto const task = make_task();
    task->inline_value = 7;
    std::exception_ptr error;
    int got = 0;
    net::co_spawn(io, cancelled_before(flights, task, throws, error, got),
                  net::bind_cancellation_slot(cancel.slot(), net::detached));
    poll(io);
    cancel.emit(net::cancellation_type::terminal);
    poll(io);
    EXPECT_EQ(is<boost::system::system_error>(error), throws);
    EXPECT_FALSE(is<cacheflight::caller_cancelled_error>(error)) << "Asio's own";
    EXPECT_EQ(got, throws ? 0 : 7);
    EXPECT_EQ(flights.size(), 0u);
  }
}

net::awaitable<answer> takes_token(std::stop_token token, task_ptr task, sentinel) {
  std::stop_callback const note(token, [&] { task->stop_requested = true; });
  auto const where = co_await net::this_coro::executor;
  net::steady_timer timer(where, 1h);
  ++task->invoked;
  co_await timer.async_wait(net::use_awaitable);
  co_return answer(1);
}

TEST(R16, asio_a_task_is_told_through_its_stop_token_and_through_its_cancellation_state) {
  manual_group flights;
  net::io_context io;
  auto const task = make_task();
  auto const with_token = [task](std::stop_token token) {
    return takes_token(std::move(token), task, sentinel(task));
  };
  bool done = false;
  cacheflight::async_run(flights, io.get_executor(), "k", with_token,
                         [&](std::exception_ptr, std::shared_ptr<answer const>) { done = true; });
  poll(io);
  EXPECT_EQ(task->invoked, 1);
  flights.cancel("k");
  EXPECT_FALSE(task->stop_requested) << "where the task runs, and not here";
  EXPECT_FALSE(task->unwound);
  poll(io);  // its timer was cancelled by the per-operation cancellation: the task has unwound
  EXPECT_TRUE(task->stop_requested);
  EXPECT_TRUE(done);
  EXPECT_TRUE(task->unwound);
  EXPECT_EQ(flights.stats().detached, 0u);
}

net::awaitable<void> await_token_task(manual_group& flights, task_ptr task, std::exception_ptr& error) {
  try {
    (void)co_await flights.run("k", takes_token, task, sentinel(task));
  } catch (...) {
    error = std::current_exception();
  }
}

TEST(R16, asio_a_leading_stop_token_is_supplied) {
  manual_group flights;
  net::io_context io;
  auto const task = make_task();
  std::exception_ptr error;
  net::co_spawn(io, await_token_task(flights, task, error), net::detached);
  poll(io);
  EXPECT_EQ(task->invoked, 1);
  flights.cancel("k");
  poll(io);
  EXPECT_TRUE(task->stop_requested);
  EXPECT_TRUE(error);
  EXPECT_TRUE(task->unwound);
}

TEST(R17, asio_callers_elsewhere_are_freed_from_a_context_that_merely_stopped) {
  manual_group flights;
  net::io_context stopped, other;
  auto const task = make_task();
  handler_call leader, joiner;
  leader.start(flights, stopped.get_executor(), "k", task, run_options().timeout(1s));
  poll(stopped);
  stopped.stop();
  joiner.start(flights, other.get_executor(), "k", make_task());
  poll(other);
  pass(flights, 1s);
  poll(other);
  EXPECT_TRUE(joiner.failed_with<cacheflight::timeout_error>());
  EXPECT_FALSE(flights.has("k"));
  poll(stopped);
  EXPECT_TRUE(leader.failed_with<cacheflight::timeout_error>());
  EXPECT_TRUE(task->stop_requested);
  resolve(task, 1);
  poll(stopped);
}

TEST(R28, asio_each_waiter_resumes_on_its_own_executor) {
  manual_group flights;
  net::io_context first, second;
  auto const strand = net::make_strand(second);
  auto const task = make_task();
  handler_call a, b;
  a.start(flights, first.get_executor(), "k", task);
  b.start(flights, strand, "k", make_task());
  a.on_complete = [&] { EXPECT_TRUE(first.get_executor().running_in_this_thread()); };
  b.on_complete = [&] { EXPECT_TRUE(strand.running_in_this_thread()); };
  poll(first);
  resolve(task, 7);
  poll(first);
  EXPECT_TRUE(a.done());
  EXPECT_FALSE(b.done());
  poll(second);
  EXPECT_TRUE(b.done());
}

TEST(R28, asio_a_bound_executor_wins_over_the_given_one_and_the_task_stays_on_the_given) {
  manual_group flights;
  net::io_context io, bound;
  auto const task = make_task();
  bool done = false;
  task->when_invoked = [&] { EXPECT_TRUE(io.get_executor().running_in_this_thread()); };
  cacheflight::async_run(
      flights, io.get_executor(), "k", std::bind_front(controlled_task<answer>, task, sentinel(task)),
      net::bind_executor(bound.get_executor(), [&](std::exception_ptr, std::shared_ptr<answer const> v) {
        EXPECT_TRUE(bound.get_executor().running_in_this_thread());
        done = v->number == 7;
      }));
  poll(io);
  resolve(task, 7);
  poll(io);
  EXPECT_FALSE(done);
  poll(bound);
  EXPECT_TRUE(done);
}

TEST(R30, asio_a_waiting_call_keeps_its_context_running) {
  cacheflight::group flights;
  net::thread_pool pool(1);
  net::io_context io;
  std::promise<void> may_answer;
  bool done = false;
  cacheflight::async_run(
      flights, io.get_executor(), "k",
      cacheflight::on(pool.get_executor(), std::bind_front(
                                               [](std::future<void> gate) -> net::awaitable<int> {
                                                 gate.wait();
                                                 co_return 7;
                                               },
                                               may_answer.get_future())),
      [&](std::exception_ptr, std::shared_ptr<int const> v) { done = *v == 7; });
  EXPECT_EQ(io.poll(), 0u);
  EXPECT_FALSE(io.stopped()) << "out of work while a caller waits";
  may_answer.set_value();
  io.run();
  EXPECT_TRUE(done);
  pool.join();
}

net::awaitable<void> wait_at_most(cacheflight::group& flights, std::chrono::nanoseconds limit, task_ptr task,
                                  std::size_t& winner) {
  using namespace net::experimental::awaitable_operators;
  net::steady_timer timer(co_await net::this_coro::executor, limit);
  auto run = flights.run("k", controlled_task<answer>, task, sentinel(task));
  auto wait = timer.async_wait(net::use_awaitable);
  auto both = std::move(run) || std::move(wait);
  winner = (co_await std::move(both)).index();
}

TEST(R11, asio_run_composes_with_awaitable_operators) {
  cacheflight::group flights;
  net::io_context io;
  auto const task = make_task();
  task->obeys = true;
  std::size_t winner = 9;
  net::co_spawn(io, wait_at_most(flights, 1ns, task, winner), net::detached);
  io.run();
  EXPECT_EQ(winner, 1u);
  EXPECT_TRUE(task->stop_requested);
  EXPECT_TRUE(task->unwound);
  EXPECT_EQ(flights.stats().cancelled, 1u);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R01, asio_the_task_runs_on_the_named_executor_and_the_caller_resumes_on_its_own) {
  cacheflight::group flights;
  net::io_context io, work;
  auto const task = make_task();
  task->inline_value = 7;
  task->when_invoked = [&] { EXPECT_TRUE(work.get_executor().running_in_this_thread()); };
  bool done = false;
  struct local {
    static net::awaitable<void> caller(cacheflight::group& g, net::any_io_executor where,
                                       net::any_io_executor mine, task_ptr t, bool& finished) {
      auto const got = co_await g.run("k", cacheflight::on(where, controlled_task<answer>), t, sentinel(t));
      EXPECT_TRUE(mine == co_await net::this_coro::executor);
      finished = got->number == 7;
    }
  };
  net::co_spawn(io, local::caller(flights, work.get_executor(), io.get_executor(), task, done),
                net::detached);
  poll(io);
  EXPECT_EQ(task->invoked, 0);
  poll(work);
  EXPECT_FALSE(done);
  poll(io);
  EXPECT_TRUE(done);
}

// ---- strands, whose inner executor refuses ----------------------------------------------------------------

TEST(R10, asio_a_hand_over_to_a_strand_that_is_refused_does_not_wedge_the_strand) {
  manual_group flights;
  net::io_context io, work;
  for (int refused = 1; refused <= 3; ++refused) {
    int refusals = 0;
    net::any_io_executor const picky = refusing(io.get_executor(), &refusals);
    auto const strand = net::make_strand(picky);
    net::any_io_executor const erased = strand;
    auto const task = make_task();
    handler_call plain, any;
    plain.start_on(flights, strand, work.get_executor(), "k", task);
    any.start(flights, erased, "k", make_task());
    poll(work);
    refusals = refused;
    resolve(task, 7);
    poll(work);
    for (int i = 0; i < 4; ++i) {
      poll(io);
      pass(flights, 1ms);
    }
    poll(io);
    EXPECT_EQ(refusals, 0);
    for (handler_call* c : {&plain, &any}) {
      ASSERT_EQ(c->completions, 1);
      EXPECT_EQ(c->value->number, 7);
    }
  }
}

TEST(R16, asio_a_refused_stop_request_reaches_the_task_later) {
  manual_group flights;
  net::io_context io;
  int refusals = 0;
  net::any_io_executor const picky = refusing(io.get_executor(), &refusals);
  for (bool const on_strand : {false, true}) {
    auto const task = make_task();
    handler_call c;
    c.start_on(flights, io.get_executor(), on_strand ? net::any_io_executor(net::make_strand(picky)) : picky,
               "k", task);
    poll(io);
    ASSERT_EQ(task->invoked, 1);
    refusals = 1;
    flights.cancel("k");
    poll(io);
    EXPECT_FALSE(task->stop_requested);
    pass(flights, 1ms);
    poll(io);
    EXPECT_TRUE(task->stop_requested);
    resolve(task, 1);
    poll(io);
    EXPECT_TRUE(task->unwound);
    EXPECT_EQ(flights.stats().detached, 0u);
  }
}

// ---- contexts that go -------------------------------------------------------------------------------------

TEST(R30, asio_a_handler_elsewhere_outlives_the_context_that_the_call_was_made_on) {
  manual_group flights;
  net::io_context other;
  auto const task = make_task();
  bool done = false;
  {
    net::io_context io;
    cacheflight::async_run(
        flights, io.get_executor(), "k", std::bind_front(controlled_task<answer>, task, sentinel(task)),
        net::bind_executor(other.get_executor(), [&](std::exception_ptr e, std::shared_ptr<answer const>) {
          done = e != nullptr;
        }));
  }
  poll(other);
  EXPECT_TRUE(done);
}

TEST(R26, asio_the_event_of_a_last_waiter_whose_wait_ran_out_may_destroy_its_context) {
  auto io = std::make_unique<net::io_context>();
  net::io_context work;
  manual_group flights{options().on_event([&](cacheflight::event const& e) {
    if (e.type == cacheflight::event_type::task_cancelled) io.reset();
  })};
  auto const task = make_task();
  handler_call only;
  only.start_on(flights, io->get_executor(), work.get_executor(), "k", task, run_options().wait_timeout(1s));
  poll(work);
  pass(flights, 1s);
  EXPECT_FALSE(io);
  poll(work);
  EXPECT_TRUE(task->stop_requested);
  resolve(task, 1);
  poll(work);
}

TEST(R11, asio_a_stop_token_cancels_a_caller_from_any_thread_until_its_context_has_gone) {
  manual_group flights;
  net::io_context work;
  auto const task = make_task();
  std::stop_source stop, late;
  handler_call stays, goes;
  {
    net::io_context io;
    stays.start_on(flights, work.get_executor(), work.get_executor(), "k", task,
                   run_options().stop_token(stop.get_token()));
    goes.start_on(flights, io.get_executor(), work.get_executor(), "k", make_task(),
                  run_options().stop_token(late.get_token()));
    poll(work);
    poll(io);
    std::thread([&] { stop.request_stop(); }).join();
    EXPECT_FALSE(stays.done()) << "on its own executor only";
    poll(work);
    EXPECT_TRUE(stays.failed_with<cacheflight::caller_cancelled_error>());
  }
  late.request_stop();
  EXPECT_FALSE(goes.done());
  EXPECT_EQ(flights.size(), 0u);
  resolve(task, 1);
  poll(work);
}

struct emits_when_destroyed {
  explicit emits_when_destroyed(net::cancellation_signal& s) : signal(&s) {}
  emits_when_destroyed(emits_when_destroyed const&) = default;
  ~emits_when_destroyed() { signal->emit(net::cancellation_type::terminal); }
  net::cancellation_signal* signal;
};

TEST(R29, asio_a_cancellation_from_inside_the_end_of_the_call_is_harmless) {
  manual_group flights;
  net::io_context io;
  auto const task = make_task();
  handler_call a;
  a.start(flights, io.get_executor(), "k", task,
          run_options().metadata(std::make_shared<emits_when_destroyed>(a.cancel)));
  poll(io);
  resolve(task, 7);
  poll(io);
  EXPECT_EQ(a.value->number, 7);
}

// ---- tasks of flights that are over -----------------------------------------------------------------------

/// A task that is counted as soon as its function is called, before its coroutine runs.
struct counted_task {
  int* called;
  net::awaitable<answer> operator()() const {
    ++*called;
    return body();
  }
  static net::awaitable<answer> body() { co_return answer(7); }
};

/// Where a task can wait for its turn to begin.
using place_of = net::any_io_executor (*)(net::io_context&);
constexpr place_of places[] = {
    [](net::io_context& io) -> net::any_io_executor { return io.get_executor(); },
    [](net::io_context& io) -> net::any_io_executor { return net::make_strand(io); },
    [](net::io_context& io) -> net::any_io_executor {
      return net::make_strand(net::any_io_executor(io.get_executor()));
    },
};

TEST(R34, asio_a_task_that_is_still_queued_when_its_flight_ends_never_begins) {
  using ending = void (*)(manual_group&, net::cancellation_signal&);
  constexpr ending endings[] = {
      [](manual_group& flights, net::cancellation_signal&) { flights.cancel("k"); },
      [](manual_group& flights, net::cancellation_signal&) { flights.clear(); },
      [](manual_group& flights, net::cancellation_signal&) { pass(flights, 1s); },
      [](manual_group&, net::cancellation_signal& only) { only.emit(net::cancellation_type::terminal); },
  };
  for (auto const place : places)
    for (auto const end : endings) {
      manual_group flights;
      net::io_context io, busy;
      net::cancellation_signal cancel;
      int called = 0, completed = 0;
      cacheflight::async_run(flights, io.get_executor(), "k", run_options().timeout(1s),
                             cacheflight::on(place(busy), counted_task{&called}),
                             net::bind_cancellation_slot(
                                 cancel.slot(), [&](std::exception_ptr e, std::shared_ptr<answer const>) {
                                   completed += e != nullptr;
                                 }));
      end(flights, cancel);
      poll(io);
      EXPECT_EQ(completed, 1);
      poll(busy);
      EXPECT_EQ(called, 0);
      EXPECT_EQ(flights.stats().detached, 0u);
    }
}

net::awaitable<answer, net::io_context::executor_type> counted_on_a_plain_executor(int& called) {
  ++called;
  co_return answer(7);
}

TEST(R34, asio_a_queued_task_that_nothing_can_serialize_never_begins_either) {
  manual_group flights;
  net::io_context io;
  int called = 0, completed = 0;
  cacheflight::async_run(
      flights, io.get_executor(), "k", [&called] { return counted_on_a_plain_executor(called); },
      [&](std::exception_ptr e, std::shared_ptr<answer const>) { completed += e != nullptr; });
  flights.cancel("k");
  poll(io);
  EXPECT_EQ(completed, 1);
  EXPECT_EQ(called, 0);
  EXPECT_EQ(flights.stats().detached, 0u);
}

net::awaitable<void> run_counted(manual_group& flights, std::stop_token token, int& called,
                                 std::exception_ptr& error) {
  try {
    (void)co_await flights.run("k", run_options().stop_token(token), counted_task{&called});
  } catch (...) {
    error = std::current_exception();
  }
}

TEST(R34, asio_a_caller_that_was_stopped_before_its_call_starts_no_task) {
  std::stop_source stop;
  stop.request_stop();
  for (bool const coroutine : {true, false}) {
    manual_group flights;
    net::io_context io;
    handler_call c;
    int called = 0;
    if (coroutine) {
      net::co_spawn(io, run_counted(flights, stop.get_token(), called, c.error), net::detached);
    } else {
      cacheflight::async_run(flights, io.get_executor(), "k", run_options().stop_token(stop.get_token()),
                             counted_task{&called},
                             [&](std::exception_ptr e, std::shared_ptr<answer const>) { c.error = e; });
      EXPECT_FALSE(c.error) << "inside the initiating call";
    }
    poll(io);
    EXPECT_TRUE(c.failed_with<cacheflight::caller_cancelled_error>());
    EXPECT_EQ(called, 0);
    EXPECT_EQ(flights.size(), 0u);
    EXPECT_EQ(flights.stats().cancelled, 1u);
    EXPECT_EQ(flights.stats().detached, 0u);
  }
}

// ---- calls made while their context goes ------------------------------------------------------------------

struct at_exit {
  std::function<void(net::any_io_executor const&)> call;
  net::any_io_executor executor;
  at_exit(std::function<void(net::any_io_executor const&)> c, net::any_io_executor ex)
      : call(std::move(c)), executor(std::move(ex)) {}
  at_exit(at_exit const&) = delete;
  at_exit& operator=(at_exit const&) = delete;
  ~at_exit() { call(executor); }
};

/// A connection that waits for ever, and makes a call when it is destroyed.
net::awaitable<void> connection(std::function<void(net::any_io_executor const&)> call) {
  at_exit const last(std::move(call), co_await net::this_coro::executor);
  net::steady_timer idle(last.executor, 1h);
  co_await idle.async_wait(net::use_awaitable);
}

net::awaitable<answer> waits_a_while() {
  net::steady_timer idle(co_await net::this_coro::executor, 1h);
  co_await idle.async_wait(net::use_awaitable);
  co_return answer(1);
}

using last_call =
    std::function<void(manual_group&, net::any_io_executor const&, net::any_io_executor const& task_ex)>;
last_call const last_calls[] = {
    [](manual_group& flights, net::any_io_executor const& ex, net::any_io_executor const& task_ex) {
      cacheflight::async_run(flights, ex, "k", cacheflight::on(task_ex, waits_a_while),
                             [](std::exception_ptr, std::shared_ptr<answer const>) {});
    },
    [](manual_group& flights, net::any_io_executor const& ex, net::any_io_executor const& task_ex) {
      net::co_spawn(ex, flights.run("k", cacheflight::on(task_ex, waits_a_while)), net::detached);
    },
};

/// Whether the context has met the library before, where the connection lives, where the last call's task
/// would run.
struct going : testing::TestWithParam<std::tuple<bool, std::size_t, bool>> {
#ifdef _WIN32
  void SetUp() override {
    if (!std::get<0>(GetParam()))
      GTEST_SKIP() << "a context that meets the library there waits for the call's flight";
  }
#endif
  void leave_a_connection(manual_group& flights, net::io_context& io, net::io_context& work,
                          last_call const& call) {
    auto const [known, place, task_elsewhere] = GetParam();
    if (known) {
      handler_call before;
      auto const task = make_task();
      task->inline_value = 1;
      before.start(flights, io.get_executor(), "before", task);
      poll(io);
      EXPECT_TRUE(before.done());
    }
    net::any_io_executor const work_ex = work.get_executor();
    net::co_spawn(
        places[place](io),
        connection([&flights, call, work_ex, elsewhere = task_elsewhere](net::any_io_executor const& ex) {
          call(flights, ex, elsewhere ? work_ex : ex);
        }),
        net::detached);
    poll(io);
  }
};
using R44 = going;
INSTANTIATE_TEST_SUITE_P(asio, R44,
                         testing::Combine(testing::Bool(), testing::Range<std::size_t>(0, std::size(places)),
                                          testing::Bool()));

TEST_P(R44, asio_a_call_made_while_its_context_goes_leaves_nothing_behind) {
  for (last_call const& call : last_calls) {
    manual_group flights;
    handler_call next;
    net::io_context work;
    {
      net::io_context io;
      leave_a_connection(flights, io, work, call);
    }
    EXPECT_EQ(flights.size(), 0u);
    EXPECT_EQ(flights.stats().waiters, 0u);
    auto const task = make_task();
    task->inline_value = 7;
    next.start(flights, work.get_executor(), "k", task);
    poll(work);
    ASSERT_TRUE(next.done());
    EXPECT_EQ(next.value->number, 7);
    EXPECT_EQ(flights.stats().detached, 0u);
  }
}

TEST_P(R44, asio_a_call_made_while_its_context_goes_does_not_disturb_the_flight_it_would_join) {
  for (last_call const& call : last_calls) {
    manual_group flights;
    net::io_context work;
    auto const task = make_task();
    handler_call leader;
    leader.start(flights, work.get_executor(), "k", task);
    poll(work);
    {
      net::io_context io;
      leave_a_connection(flights, io, work, call);
    }
    EXPECT_EQ(flights.stats().waiters, 1u);
    resolve(task, 7);
    poll(work);
    ASSERT_TRUE(leader.done());
    EXPECT_EQ(leader.value->number, 7);
  }
}

TEST_P(R44, asio_a_call_made_while_its_context_goes_answers_a_handler_elsewhere) {
  manual_group flights;
  net::io_context work;
  std::future<std::shared_ptr<answer const>> answered;
  last_call const call = [&](manual_group& group, net::any_io_executor const& ex,
                             net::any_io_executor const& task_ex) {
    answered =
        cacheflight::async_run(group, ex, "k", cacheflight::on(task_ex, waits_a_while), net::use_future);
  };
  {
    net::io_context io;
    leave_a_connection(flights, io, work, call);
  }
  bool const task_elsewhere = std::get<2>(GetParam());
  EXPECT_EQ(flights.size(), task_elsewhere ? 1u : 0u);
  flights.cancel("k");
  if (task_elsewhere) EXPECT_THROW(answered.get(), cacheflight::cancelled_error);
  else EXPECT_THROW(answered.get(), cacheflight::abandoned_error);
}

TEST_P(R44, asio_a_context_at_the_address_of_one_that_got_a_last_call_is_a_new_one) {
  std::optional<net::io_context> io;
  for (last_call const& call : last_calls) {
    manual_group flights;
    net::io_context work;
    io.emplace();
    leave_a_connection(flights, *io, work, call);
    io.emplace();
    auto const task = make_task();
    handler_call stays, goes;
    stays.start(flights, work.get_executor(), "other", task);
    goes.start(flights, io->get_executor(), "other", make_task());
    poll(work);
    EXPECT_EQ(flights.stats().waiters, 2u);
    io.reset();
    EXPECT_EQ(flights.stats().waiters, 1u);
    resolve(task, 7);
    poll(work);
    EXPECT_TRUE(stays.done());
    EXPECT_FALSE(goes.done());
  }
}

// ---- result types -----------------------------------------------------------------------------------------

net::awaitable<void> yields_nothing(task_ptr task, sentinel) {
  ++task->invoked;
  net::steady_timer timer(co_await net::this_coro::executor, 1h);
  co_await timer.async_wait(net::use_awaitable);
}
net::awaitable<std::shared_ptr<void>> yields_void_pointer() { co_return nullptr; }
net::awaitable<std::shared_ptr<int[]>> yields_array() { co_return std::shared_ptr<int[]>(new int[2]{4, 2}); }

TEST(R08, asio_void_and_a_pointer_to_void_are_different_types) {
  cacheflight::group flights;
  net::io_context io;
  auto const task = make_task();
  bool refused = false;
  cacheflight::async_run(flights, io.get_executor(), "k",
                         std::bind_front(yields_nothing, task, sentinel(task)), [](std::exception_ptr) {});
  cacheflight::async_run(flights, io.get_executor(), "k", yields_void_pointer,
                         [&](std::exception_ptr e, std::shared_ptr<void const>) { refused = e != nullptr; });
  poll(io);
  EXPECT_TRUE(refused);
  EXPECT_EQ(flights.stats().type_mismatches, 1u);
  flights.clear();
  poll(io);
}

TEST(R06, asio_arrays_are_shared_as_they_are) {
  cacheflight::group flights;
  net::io_context io;
  int sum = 0;
  cacheflight::async_run(flights, net::make_strand(net::any_io_executor(io.get_executor())), "k",
                         yields_array,
                         [&](std::exception_ptr, std::shared_ptr<int const[]> a) { sum = a[0] + a[1]; });
  poll(io);
  EXPECT_EQ(sum, 6);
}

#if __has_include(<boost/context/detail/exception.hpp>)
net::awaitable<int> is_shut_down() {
  co_await net::post(net::use_awaitable);
  throw boost::context::detail::forced_unwind();  // so is a stackful coroutine
}

TEST(R39, asio_a_coroutine_ends_the_unwinding_and_passes_it_to_nobody) {
  cacheflight::group flights;
  net::io_context io;
  int abandoned = 0, others = 0;
  for (int i = 0; i < 2; ++i)
    cacheflight::async_run(flights, io.get_executor(), "k", is_shut_down,
                           [&](std::exception_ptr e, std::shared_ptr<int const>) {
                             ++(is<cacheflight::abandoned_error>(e) ? abandoned : others);
                           });
  poll(io);
  EXPECT_EQ(abandoned, 2);
  EXPECT_EQ(others, 0);
  EXPECT_EQ(flights.stats().rejected, 1u);
}
#endif

}  // namespace
}  // namespace cacheflight_test
