// SPDX-License-Identifier: MIT

// What is over. Tasks that had not begun when their flight ended, in every queue that we filled (rule 34);
// and what is kept by works, completions and tasks that have done their part (rule 37).

#include "../support/coroutines.hpp"
#include "../support/errors.hpp"
#include "../support/manual_platform.hpp"
#include "../support/senders.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/future.hpp>
#include <cacheflight/sender.hpp>

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::run_options;
namespace ex = cacheflight::execution;

/// A pool whose thread is busy elsewhere.
struct busy_pool {
  std::deque<cacheflight::work> queue;
  auto submit() {
    return [this](cacheflight::work w) { queue.push_back(std::move(w)); };
  }
  void get_round_to_it() {
    while (!queue.empty()) {
      cacheflight::work const next = std::move(queue.front());
      queue.pop_front();
      next();
    }
  }
};

auto never() {
  return [] {
    ADD_FAILURE() << "began though its flight had ended";
    return 1;
  };
}

/// Its flight has ended as `E`, and its task is still in the queue.
template <class E>
void expect_ended(auto& flights, std::exception_ptr const& error, busy_pool& pool) {
  EXPECT_TRUE(is<E>(error));
  EXPECT_FALSE(flights.has("k"));
  EXPECT_EQ(flights.stats().detached, 1u);
  pool.get_round_to_it();
  EXPECT_EQ(flights.stats().detached, 0u);
}

struct R34_queued : testing::Test {
  manual_group flights;
  busy_pool pool;
  std::exception_ptr error;

  template <class Task>
  void call(run_options opts, Task task) {
    flights.start("k", std::move(opts), cacheflight::on(pool.submit(), std::move(task)),
                  [this](std::exception_ptr e, std::shared_ptr<int const>) { error = std::move(e); });
    ASSERT_EQ(pool.queue.size(), 1u);
  }
};

TEST_F(R34_queued, task_of_a_cancelled_flight_never_begins) {
  call({}, never());
  flights.cancel("k");
  expect_ended<cacheflight::cancelled_error>(flights, error, pool);
}

TEST_F(R34_queued, task_that_takes_a_token_never_begins_either) {
  call({}, [begin = never()](std::stop_token) { return begin(); });
  flights.clear();
  expect_ended<cacheflight::cancelled_error>(flights, error, pool);
}

TEST_F(R34_queued, task_of_a_flight_that_timed_out_never_begins) {
  call(run_options().timeout(1s), never());
  pass(flights, 1s);
  expect_ended<cacheflight::timeout_error>(flights, error, pool);
}

TEST_F(R34_queued, task_whose_last_caller_has_left_never_begins) {
  std::stop_source stop;
  call(run_options().stop_token(stop.get_token()), never());
  stop.request_stop();
  expect_ended<cacheflight::caller_stopped_error>(flights, error, pool);
}

TEST_F(R34_queued, task_of_a_group_that_is_gone_never_begins) {
  {
    manual_group gone;
    gone.start("k", cacheflight::on(pool.submit(), never()),
               [](std::exception_ptr, std::shared_ptr<int const>) {});
  }
  pool.get_round_to_it();
}

TEST_F(R34_queued, task_begins_while_one_of_its_callers_still_waits) {
  std::stop_source stop;
  int runs = 0;
  call(run_options().stop_token(stop.get_token()), [&] { return ++runs; });
  int got = 0;
  flights.start("k", never(), [&](std::exception_ptr, std::shared_ptr<int const> v) { got = *v; });
  stop.request_stop();
  pool.get_round_to_it();
  EXPECT_EQ(runs, 1);
  EXPECT_EQ(got, 1);
}

TEST(R34, blocking_task_in_a_queue_never_begins_when_its_flight_has_ended) {
  cacheflight::group flights;
  busy_pool pool;
  std::stop_source stop;
  auto const leave = [&](cacheflight::work w) {
    pool.queue.push_back(std::move(w));
    stop.request_stop();
  };
  EXPECT_THROW(
      (void)flights.run("k", run_options().stop_token(stop.get_token()), cacheflight::on(leave, never())),
      cacheflight::caller_stopped_error);
  EXPECT_THROW(
      (void)flights.run("k", run_options().wait_timeout(1ms), cacheflight::on(pool.submit(), never())),
      cacheflight::timeout_error);
  pool.get_round_to_it();
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R34, future_task_in_a_queue_never_begins_when_its_flight_has_ended) {
  cacheflight::group flights;
  busy_pool pool;
  auto f = cacheflight::run_future(flights, "k", cacheflight::on(pool.submit(), never()));
  flights.cancel("k");
  EXPECT_THROW((void)f.get(), cacheflight::cancelled_error);
  pool.get_round_to_it();
}

// ---- who was stopped before the call ----------------------------------------------------------------------

struct sending_never {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_value_t(int)>;
  template <class Receiver>
  struct state {
    Receiver receiver;
    void start() & noexcept {
      ADD_FAILURE() << "began though nobody waits";
      std::move(receiver).set_value(1);
    }
  };
  template <class Receiver>
  state<Receiver> connect(Receiver r) && {
    return {std::move(r)};
  }
};

struct receiver {
  using receiver_concept = ex::receiver_t;
  std::stop_token token;
  int* stopped;
  void set_value(std::shared_ptr<int const>) && noexcept { ADD_FAILURE(); }
  void set_error(std::exception_ptr e) && noexcept { *stopped += is<cacheflight::caller_stopped_error>(e); }
  void set_stopped() && noexcept { ++*stopped; }
  [[nodiscard]] stop_environment get_env() const noexcept { return {token}; }
};

struct R34_stopped_before : testing::Test {
  R34_stopped_before() { stop.request_stop(); }
  ~R34_stopped_before() override {
    EXPECT_EQ(flights.size(), 0u);
    auto const s = flights.stats();
    EXPECT_EQ(s.cancelled, s.started);
    EXPECT_EQ(s.detached, 0u);
  }
  [[nodiscard]] run_options stopped() const { return run_options().stop_token(stop.get_token()); }

  cacheflight::group flights;
  std::stop_source stop;
  busy_pool pool;
};

TEST_F(R34_stopped_before, a_thread_starts_no_task) {
  EXPECT_THROW((void)flights.run("k", stopped(), never()), cacheflight::caller_stopped_error);
  EXPECT_THROW((void)flights.run("k", stopped(), cacheflight::on(pool.submit(), never())),
               cacheflight::caller_stopped_error);
  EXPECT_TRUE(pool.queue.empty()) << "not even queued";
}

TEST_F(R34_stopped_before, a_callback_starts_no_task) {
  int calls = 0;
  auto const callback = [&](std::exception_ptr e, std::shared_ptr<int const>) {
    calls += is<cacheflight::caller_stopped_error>(e);
  };
  flights.start("k", stopped(), never(), callback);
  flights.start("k", stopped(), cacheflight::on(pool.submit(), never()), callback);
  flights.start("k", stopped(),
                cacheflight::answering<int>([](cacheflight::completion<int>) { ADD_FAILURE(); }), callback);
  EXPECT_EQ(calls, 3);
  EXPECT_THROW((void)cacheflight::run_future(flights, "k", stopped(), never()).get(),
               cacheflight::caller_stopped_error);
}

TEST_F(R34_stopped_before, a_coroutine_starts_no_task) {
  int calls = 0;
  auto const call = [&]() -> eager {
    auto const task = []() -> lazy<int> {
      ADD_FAILURE() << "began though nobody waits";
      co_return 1;
    };
    try {
      auto operation = flights.run("k", stopped(), task);
      (void)co_await std::move(operation);
    } catch (cacheflight::caller_stopped_error const&) {
      ++calls;
    }
  };
  call();
  EXPECT_EQ(calls, 1);
}

TEST_F(R34_stopped_before, a_sender_starts_no_task) {
  int calls = 0;
  auto task = [] {
    ADD_FAILURE() << "began though nobody waits";
    return sending_never();
  };
  auto by_environment = flights.run("k", task).connect(receiver{stop.get_token(), &calls});
  by_environment.start();
  auto by_option = flights.run("k", stopped(), task).connect(receiver{{}, &calls});
  by_option.start();
  EXPECT_EQ(calls, 2);
}

// ---- what is kept -----------------------------------------------------------------------------------------

/// A key that can be asked for.
struct counted_key {
  explicit counted_key(int n) : number(n) { ++alive; }
  counted_key(counted_key const& other) : number(other.number) { ++alive; }
  ~counted_key() { --alive; }
  friend bool operator==(counted_key const&, counted_key const&) = default;
  int number;
  static inline int alive = 0;
};
struct hash_of_number {
  std::size_t operator()(counted_key const& k) const { return static_cast<std::size_t>(k.number); }
};
using counted_group = cacheflight::basic_group<counted_key, hash_of_number>;

TEST(R37, work_that_has_run_keeps_neither_task_nor_result_nor_key) {
  std::optional<cacheflight::work> last_job;  // as a worker's loop has it until the next comes
  std::weak_ptr<int const> result, captured;
  {
    counted_group flights;
    auto capture = std::make_shared<int>(1);
    captured = capture;
    flights.start(counted_key(1),
                  cacheflight::on([&](cacheflight::work w) { last_job = std::move(w); },
                                  [capture = std::move(capture)] { return *capture; }),
                  [&](std::exception_ptr, std::shared_ptr<int const> v) { result = v; });
    ASSERT_TRUE(last_job);
    EXPECT_FALSE(captured.expired());
    (*last_job)();
    EXPECT_TRUE(captured.expired());
    EXPECT_TRUE(result.expired());
    EXPECT_EQ(counted_key::alive, 0);
  }
  (*last_job)();
}

TEST(R37, work_that_came_too_late_keeps_nothing_either) {
  std::optional<cacheflight::work> last_job;
  counted_group flights;
  flights.start(counted_key(1),
                cacheflight::on([&](cacheflight::work w) { last_job = std::move(w); }, never()),
                [](std::exception_ptr, std::shared_ptr<int const>) {});
  flights.clear();
  EXPECT_EQ(counted_key::alive, 1) << "the task is still to be destroyed";
  (*last_job)();
  EXPECT_EQ(counted_key::alive, 0);
}

TEST(R37, work_that_was_refused_and_kept_keeps_nothing_once_it_is_called) {
  std::optional<cacheflight::work> last_job;
  counted_group flights;
  auto const submit = [&](cacheflight::work w) {
    last_job = std::move(w);
    throw std::bad_alloc();
  };
  flights.start(counted_key(1), cacheflight::on(submit, never()),
                [](std::exception_ptr, std::shared_ptr<int const>) {});
  (*last_job)();
  EXPECT_EQ(counted_key::alive, 0);
}

TEST(R37, completion_that_has_answered_keeps_nothing) {
  counted_group flights;
  std::optional<cacheflight::completion<int>> done;
  std::weak_ptr<int const> result;
  flights.start(counted_key(1), cacheflight::answering<int>([&](cacheflight::completion<int> d) {
                  done.emplace(std::move(d));
                }),
                [&](std::exception_ptr, std::shared_ptr<int const> v) { result = v; });
  EXPECT_TRUE(done->set_value(1));
  EXPECT_TRUE(result.expired());
  EXPECT_EQ(counted_key::alive, 0);
  EXPECT_FALSE(done->set_value(2));
}

TEST(R37, answering_task_that_has_returned_keeps_none_of_its_captures) {
  cacheflight::group flights;
  std::optional<cacheflight::completion<int>> done;
  auto capture = std::make_shared<int>(1);
  std::weak_ptr<int> const captured = capture;
  int got = 0;
  flights.start(
      "k", cacheflight::answering<int>([&, capture = std::move(capture)](cacheflight::completion<int> d) {
        done.emplace(std::move(d));
      }),
      [&](std::exception_ptr, std::shared_ptr<int const> v) { got = *v; });
  EXPECT_TRUE(captured.expired());
  done->set_value(7);
  EXPECT_EQ(got, 7);
}

/// Keeps itself alive by what it waits for, and has to answer.
struct request {
  static void send(std::shared_ptr<request> const& self, std::vector<std::function<void()>>& network,
                   cacheflight::completion<int> d) {
    self->done.emplace(std::move(d));
    network.push_back([self] { self->done->set_value(1); });
  }
  std::optional<cacheflight::completion<int>> done;
};

TEST(R37, answering_task_of_a_request_that_holds_its_own_completion_is_no_cycle) {
  cacheflight::group flights;
  std::vector<std::function<void()>> network;
  auto start = [&](std::exception_ptr& error, int& got) {
    auto const one = std::make_shared<request>();
    flights.start("k", cacheflight::answering<int>(std::bind_front(&request::send, one, std::ref(network))),
                  [&](std::exception_ptr e, std::shared_ptr<int const> v) {
                    error = std::move(e);
                    got = v ? *v : 0;
                  });
    return std::weak_ptr<request>(one);
  };
  std::exception_ptr error;
  int got = 0;
  auto const lost = start(error, got);
  ASSERT_FALSE(lost.expired());
  network.clear();
  EXPECT_TRUE(lost.expired());
  EXPECT_TRUE(is<cacheflight::abandoned_error>(error));
  EXPECT_FALSE(flights.has("k"));

  auto const cancelled = start(error, got);
  flights.cancel("k");
  network.clear();
  EXPECT_TRUE(cancelled.expired());
  EXPECT_EQ(flights.stats().detached, 0u);

  auto const answered = start(error, got);
  network.back()();
  network.clear();
  EXPECT_TRUE(answered.expired());
  EXPECT_EQ(got, 1);
}

TEST(R37, answering_task_whose_captures_hold_its_completion_has_dropped_it) {
  cacheflight::group flights;
  std::exception_ptr error;
  auto task =
      cacheflight::answering<int>([mine = std::make_shared<std::optional<cacheflight::completion<int>>>()](
                                      cacheflight::completion<int> d) {
        mine->emplace(std::move(d));  // and goes with the function
      });
  flights.start("k", std::move(task),
                [&](std::exception_ptr e, std::shared_ptr<int const>) { error = std::move(e); });
  EXPECT_TRUE(is<cacheflight::abandoned_error>(error));
  EXPECT_FALSE(flights.has("k"));
}

/// A sender whose operation can be asked for, and that completes when the test says so.
struct watched {
  int operations = 0;
  std::function<void()> complete;
};
struct watched_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures =
      ex::completion_signatures<ex::set_value_t(int), ex::set_error_t(std::exception_ptr)>;
  template <class Receiver>
  struct state {
    state(watched* s, Receiver r) : seen(s), receiver(std::move(r)) { ++seen->operations; }
    state(state&&) = delete;
    ~state() { --seen->operations; }
    void start() & noexcept {
      seen->complete = [this] { std::move(receiver).set_value(7); };
    }
    watched* seen;
    Receiver receiver;
  };
  template <class Receiver>
  state<Receiver> connect(Receiver r) && {
    return state<Receiver>(seen, std::move(r));
  }
  watched* seen;
};

/// Looks, when it is completed, for what should be gone.
struct looking_receiver {
  using receiver_concept = ex::receiver_t;
  watched* seen;
  std::weak_ptr<int> captured;
  int* got;
  void set_value(std::shared_ptr<int const> v) && noexcept {
    EXPECT_EQ(seen->operations, 0);
    EXPECT_TRUE(captured.expired());
    *got += *v;
  }
  void set_error(std::exception_ptr) && noexcept {}
  void set_stopped() && noexcept {}
  [[nodiscard]] stop_environment get_env() const noexcept { return {}; }
};

TEST(R37, sender_its_operation_and_its_task_go_when_it_has_completed) {
  cacheflight::group flights;
  watched seen;
  auto capture = std::make_shared<int>(1);
  std::weak_ptr<int> const captured = capture;
  int got = 0;
  auto task = [&seen, capture = std::move(capture)] { return watched_sender{&seen}; };
  auto first = flights.run("k", std::move(task)).connect(looking_receiver{&seen, captured, &got});
  auto second = flights.run("k", [] { return watched_sender{nullptr}; })
                    .connect(looking_receiver{&seen, captured, &got});
  first.start();
  second.start();
  EXPECT_EQ(seen.operations, 1);
  std::exchange(seen.complete, nullptr)();
  EXPECT_EQ(got, 14);
}

TEST(R37, blocking_a_tasks_captures_are_gone_before_its_callers_go_on) {
  counted_group flights;
  auto capture = std::make_shared<int>(7);
  std::weak_ptr<int> const captured = capture;
  bool seen = false;
  flights.start(
      counted_key(1), [capture = std::move(capture)] { return *capture; },
      [&](std::exception_ptr, std::shared_ptr<int const>) { seen = captured.expired(); });
  EXPECT_TRUE(seen);
  EXPECT_EQ(counted_key::alive, 0);
}

}  // namespace
}  // namespace cacheflight_test
