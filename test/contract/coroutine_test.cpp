// SPDX-License-Identifier: MIT

// The coroutine front without a scheduler: who resumes whom, frames that are destroyed, stacks that do not
// grow. Then callbacks and senders in the same respects.

#include "std_fronts.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/future.hpp>

#include <gtest/gtest.h>

#include <thread>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::options;
using cacheflight::run_options;

// Unoptimized or sanitized, g++ itself overflows the stack in longer loops of synchronous awaits.
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CACHEFLIGHT_TEST_SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CACHEFLIGHT_TEST_SANITIZED
#endif
#if defined(__OPTIMIZE__) && !defined(CACHEFLIGHT_TEST_SANITIZED)
constexpr int many = 1'000'000;
#else
constexpr int many = 20'000;
#endif

struct outcome {
  int number = 0;
  std::exception_ptr error;
  std::thread::id resumed_on;
  int completions = 0;
};

template <class Group>
owned wait_for(Group& flights, std::string key, run_options opts, task_ptr task, outcome& out,
               std::function<void()> then = {}) {
  try {
    auto const got =
        co_await flights.run(std::move(key), std::move(opts), lazy_task<answer>, task, sentinel(task));
    out.number = got->number;
  } catch (...) {
    out.error = std::current_exception();
  }
  out.resumed_on = std::this_thread::get_id();
  ++out.completions;
  if (then) then();
}

/// Notes the handle of the coroutine that awaits it.
struct catching {
  std::coroutine_handle<>* to;
  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> h) const noexcept {
    *to = h;
    return false;
  }
  void await_resume() const noexcept {}
};

template <class E>
bool is(std::exception_ptr const& error) {
  call c;
  c.error = error;
  return c.failed_with<E>();
}

void resolve(task_ptr const& task, int number) {
  task->value = number;
  task->open_gate(false);
}

TEST(R28, coroutine_waiters_resume_inside_the_call_that_ends_their_flight_as_documented) {
  manual_group flights;
  auto const task = make_task(), doomed = make_task();
  outcome a, b, c;
  owned const one = wait_for(flights, "k", {}, task, a), two = wait_for(flights, "k", {}, make_task(), b);
  resolve(task, 7);
  EXPECT_EQ(a.number + b.number, 14);
  owned const three = wait_for(flights, "d", {}, doomed, c);
  flights.cancel("d");
  EXPECT_TRUE(is<cacheflight::cancelled_error>(c.error));
  resolve(doomed, 1);
  for (auto const& o : {one, two, three}) o.handle.destroy();
}

TEST(R28, coroutine_a_waiter_resumes_where_its_scheduler_says) {
  cacheflight::group flights;
  std::optional<cacheflight::completion<answer>> done;
  // Led by a callback-style task; the coroutine's scheduler is a thread of its own.
  flights.start("k", cacheflight::answering<answer>([&](cacheflight::completion<answer> d) {
                  done.emplace(std::move(d));
                }),
                [](std::exception_ptr, std::shared_ptr<answer const>) {});
  struct local {
    static eager wait(cacheflight::group& g, std::thread& where, std::thread::id& resumed) {
      auto const on_thread = [&where](auto f) { where = std::thread(f); };
      auto operation = g.run("k", lazy_task<answer>, make_task(), sentinel(nullptr)).resume_on(on_thread);
      (void)co_await std::move(operation);
      resumed = std::this_thread::get_id();
    }
  };
  std::thread where;
  std::thread::id resumed;
  local::wait(flights, where, resumed);
  done->set_value(1);
  auto const expected = where.get_id();
  where.join();
  EXPECT_EQ(resumed, expected);
}

TEST(R29, coroutine_a_frame_destroyed_while_suspended_has_left) {
  manual_group flights;
  auto const task = make_task();
  outcome a, b;
  owned const leader = wait_for(flights, "k", {}, task, a),
              joiner = wait_for(flights, "k", {}, make_task(), b);
  leader.handle.destroy();
  EXPECT_EQ(flights.stats().waiters, 1u);
  EXPECT_FALSE(task->stop_requested);
  resolve(task, 7);
  EXPECT_EQ(b.number, 7);
  EXPECT_EQ(a.completions, 0);
  joiner.handle.destroy();
}

TEST(R12, coroutine_the_last_frame_destroyed_dooms_the_flight) {
  manual_group flights;
  auto const task = make_task();
  outcome a;
  owned const only = wait_for(flights, "k", run_options().wait_timeout(1s).timeout(2s), task, a);
  std::thread([&] { only.handle.destroy(); }).join();  // from any thread
  EXPECT_TRUE(task->stop_requested);
  EXPECT_FALSE(flights.has("k"));
  pass(flights, 3s);
  resolve(task, 1);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R29, coroutine_one_that_is_resumed_may_destroy_others_of_the_same_flight) {
  manual_group flights;
  auto const task = make_task();
  std::vector<owned> frames;
  std::array<outcome, 6> out;
  frames.push_back(wait_for(flights, "k", {}, task, out[0], [&] {
    for (std::size_t i = 1; i < 5; ++i) frames[i].handle.destroy();
  }));
  for (std::size_t i = 1; i < 6; ++i) frames.push_back(wait_for(flights, "k", {}, make_task(), out[i]));
  resolve(task, 7);
  EXPECT_EQ(out[0].number, 7);
  EXPECT_EQ(out[5].number, 7);
  for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(out[i].completions, 0);
  frames[0].handle.destroy();
  frames[5].handle.destroy();
}

TEST(R29, coroutine_a_queued_turn_is_dropped_with_its_frame) {
  // a, resumed, ends another flight whose waiter's turn then queues behind a's, and destroys that waiter.
  manual_group flights;
  auto const first = make_task(), second = make_task();
  outcome a, b;
  std::vector<owned> frames;
  frames.push_back(wait_for(flights, "b", {}, second, b));
  frames.push_back(wait_for(flights, "a", {}, first, a, [&] {
    resolve(second, 2);
    EXPECT_EQ(b.completions, 0) << "resumed inside another resumption";
    frames[0].handle.destroy();
  }));
  resolve(first, 1);
  EXPECT_EQ(a.number, 1);
  EXPECT_EQ(b.completions, 0);
  frames[1].handle.destroy();
}

TEST(R29, coroutine_a_leader_destroyed_by_what_its_own_start_released) {
  // The leader's task completes inside the starting call and releases a joiner, which destroys the leader.
  manual_group flights{options().on_event([](cacheflight::event const&) {})};
  auto const task = make_task();
  outcome leader_out, joiner_out;
  std::optional<owned> joiner;
  owned leader{};
  task->inline_value = 7;
  bool destroyed = false;
  task->when_invoked = [&] {
    joiner = wait_for(flights, "k", {}, make_task(), joiner_out, [&] {
      if (leader.handle) leader.handle.destroy(), destroyed = true;
    });
  };
  // The handle is known only when the coroutine has suspended or run on; so this leader is never destroyed
  // here, and goes on at once.
  leader = wait_for(flights, "k", {}, task, leader_out);
  EXPECT_EQ(leader_out.number, 7);
  EXPECT_EQ(joiner_out.number, 7);
  EXPECT_FALSE(destroyed);
  leader.handle.destroy();
  joiner->handle.destroy();
}

eager be_destroyed(manual_group& flights, std::string key, run_options opts, std::coroutine_handle<>& self,
                   bool& went_on) {
  co_await catching{&self};
  task_ptr const task = make_task();
  try {
    (void)co_await flights.run(std::move(key), std::move(opts), lazy_task<answer>, task, sentinel(task));
  } catch (...) {
  }
  went_on = true;
}

TEST(R29, coroutine_one_that_is_destroyed_before_it_has_suspended_does_not_go_on) {
  // Within the call, its own event ends a flight, whose waiter then destroys it: of a joiner, and of a call
  // that fails.
  for (bool const fails : {false, true}) {
    manual_group* group = nullptr;
    manual_group flights(options().max_keys(1).on_event([&](cacheflight::event const& e) {
      if (e.type == cacheflight::event_type::hit || e.type == cacheflight::event_type::max_keys_rejected)
        group->cancel("k");
    }));
    group = &flights;
    task_ptr const task = make_task();
    outcome out;
    std::coroutine_handle<> frame;
    bool went_on = false;
    owned const waits = wait_for(flights, "k", {}, task, out, [&] { frame.destroy(); });
    std::stop_source never;
    if (fails) be_destroyed(flights, "another", {}, frame, went_on);
    else be_destroyed(flights, "k", run_options().stop_token(never.get_token()), frame, went_on);
    EXPECT_EQ(out.completions, 1);
    EXPECT_FALSE(went_on);
    resolve(task, 1);
    waits.handle.destroy();
  }
}

lazy<int> at_once(int v) { co_return v; }
eager sum_up(cacheflight::group& flights, int count, long& sum) {
  for (int i = 0; i < count; ++i) {
    auto const got = co_await flights.run("k", at_once, 1);
    sum += *got;
  }
}
TEST(R29, coroutine_many_synchronous_completions_do_not_grow_the_stack) {
  cacheflight::group flights;
  long sum = 0;
  sum_up(flights, many, sum);
  EXPECT_EQ(sum, many);
}

TEST(R29, coroutine_100000_waiters_are_resumed_without_recursion) {
  manual_group flights;
  auto const task = make_task();
  constexpr std::size_t count = 100'000;
  std::vector<outcome> out(count);
  std::vector<owned> frames;
  for (auto& o : out) frames.push_back(wait_for(flights, "k", {}, task, o));
  EXPECT_EQ(flights.stats().waiters, count);
  resolve(task, 7);
  for (auto const& o : out) ASSERT_EQ(o.number, 7);
  for (auto const& f : frames) f.handle.destroy();
}

eager await_seven(cacheflight::group& flights, int& got) {
  std::shared_ptr<int const> const value = co_await flights.run("k", at_once, 0);
  got = *value;
}

// The joiner is armed by the step that ends the delivery of its hit, and given its turn before it has
// returned to be suspended.
TEST(R26, coroutine_a_joiner_whose_hit_ends_the_flight_goes_on) {
  std::optional<cacheflight::completion<int>> done;
  std::stop_source leader;
  cacheflight::group flights(options().on_event([&](cacheflight::event const& e) {
    if (e.type != cacheflight::event_type::hit) return;
    leader.request_stop();
    done->set_value(7);
  }));
  int left = 0, got = 0;
  flights.start(
      "k", run_options().stop_token(leader.get_token()),
      cacheflight::answering<int>([&](cacheflight::completion<int> d) { done.emplace(std::move(d)); }),
      [&](std::exception_ptr e, std::shared_ptr<int const>) {
        left += is<cacheflight::caller_stopped_error>(e);
      });
  await_seven(flights, got);
  EXPECT_EQ(left, 1);
  EXPECT_EQ(got, 7);
}

lazy<int> link(cacheflight::group& flights, int n, task_ptr last) {
  if (n == 0) {
    co_await coroutine_gate{last.get()};
    co_return 0;
  }
  auto const got = co_await flights.run("link" + std::to_string(n - 1), link, std::ref(flights), n - 1, last);
  co_return *got + 1;
}
eager hold(cacheflight::group& flights, int n, task_ptr last, int& got) {
  got = *co_await flights.run("link" + std::to_string(n), link, std::ref(flights), n, last);
}
TEST(R29, coroutine_a_chain_of_flights_that_end_each_other_does_not_recurse) {
  cacheflight::group flights;
  auto const last = make_task();
  int got = 0;
  hold(flights, 500, last, got);
  EXPECT_EQ(flights.size(), 501u);
  last->open_gate(false);
  EXPECT_EQ(got, 500);
  EXPECT_EQ(flights.size(), 0u);
}

TEST(R31, coroutine_errors_of_the_call_are_thrown_where_it_is_awaited) {
  manual_group flights{options().max_keys(1)};
  auto const task = make_task();
  outcome a, b;
  owned const one = wait_for(flights, "a", {}, task, a), two = wait_for(flights, "b", {}, make_task(), b);
  EXPECT_TRUE(is<cacheflight::max_keys_error>(b.error));
  resolve(task, 7);
  one.handle.destroy();
  two.handle.destroy();
}

// ---- callbacks --------------------------------------------------------------------------------------------

TEST(R28, callback_without_a_scheduler_is_called_by_the_thread_that_ends_the_wait) {
  cacheflight::group flights;
  std::optional<cacheflight::completion<int>> done;
  int got = 0;
  auto const callback = [&](std::exception_ptr, std::shared_ptr<int const> v) { got += *v; };
  flights.start(
      "k", cacheflight::answering<int>([&](cacheflight::completion<int> d) { done.emplace(std::move(d)); }),
      callback);
  flights.start("k", [] { return 9; }, callback);
  EXPECT_EQ(got, 0);
  EXPECT_TRUE(done->set_value(4));
  EXPECT_EQ(got, 8);
  EXPECT_FALSE(done->set_value(5));
  flights.start("k", [] { return 9; }, callback);  // inside start
  EXPECT_EQ(got, 17);
}

TEST(R25, callback_that_throws_is_counted_and_changes_nothing) {
  cacheflight::group flights;
  int got = 0;
  auto task = [&] {
    flights.start("k", [] { return 0; }, [&](std::exception_ptr, std::shared_ptr<int const> v) { got = *v; });
    return 5;
  };
  flights.start("k", task, [](std::exception_ptr, std::shared_ptr<int const>) {
    throw std::runtime_error("from a callback");
  });
  EXPECT_EQ(got, 5);
  EXPECT_EQ(flights.stats().callback_failures, 1u);
  EXPECT_EQ(flights.stats().resolved, 1u);
}

TEST(R09, callback_style_tasks_that_throw_or_drop_their_completion) {
  cacheflight::group flights;
  std::exception_ptr error;
  auto const callback = [&](std::exception_ptr e) { error = e; };
  flights.start("k", cacheflight::answering<void>([](cacheflight::completion<void>) {}), callback);
  EXPECT_TRUE(is<cacheflight::abandoned_error>(error));
  flights.start(
      "k", cacheflight::answering<void>([](cacheflight::completion<void>) { throw std::logic_error("x"); }),
      callback);
  EXPECT_TRUE(is<std::logic_error>(error));
  flights.start("k", cacheflight::answering<void>([](cacheflight::completion<void> d) {
                  d.set_value();
                  throw std::logic_error("after the answer");
                }),
                callback);
  EXPECT_FALSE(error);
  std::optional<cacheflight::completion<void>> kept;
  flights.start("k", cacheflight::answering<void>([&](cacheflight::completion<void> d) {
                  kept.emplace(std::move(d));
                  throw std::logic_error("the completion lives on");
                }),
                callback);
  EXPECT_TRUE(is<std::logic_error>(error));
  EXPECT_FALSE(kept->set_value());
  EXPECT_EQ(flights.stats().started, 4u);
  EXPECT_EQ(flights.size(), 0u);
}

TEST(R09, callback_completion_outlives_the_group) {
  std::optional<cacheflight::completion<int>> done;
  std::exception_ptr error;
  {
    cacheflight::group flights;
    flights.start(
        "k", cacheflight::answering<int>([&](cacheflight::completion<int> d) { done.emplace(std::move(d)); }),
        [&](std::exception_ptr e, std::shared_ptr<int const>) { error = e; });
  }
  EXPECT_TRUE(is<cacheflight::cancelled_error>(error));
  EXPECT_TRUE(done->stop_requested());
  EXPECT_TRUE(done->stop_token().stop_requested());
  EXPECT_TRUE(done->set_value(1));
}

TEST(R09, callback_whose_executor_runs_the_task_at_once) {
  cacheflight::group flights;
  int answers = 0;
  auto const at_once = [](cacheflight::work w) { w(); };
  for (int i = 0; i < 10; ++i) {
    flights.start(
        "k", cacheflight::on(at_once, [i] { return i; }),
        [&, i](std::exception_ptr, std::shared_ptr<int const> got) { answers += got && *got == i; });
  }
  EXPECT_EQ(answers, 10);
  EXPECT_EQ(flights.stats().resolved, 10u);
}

TEST(R20, callback_null_tasks_and_callbacks_are_refused_at_once) {
  cacheflight::group flights;
  std::function<int()> const none;
  std::function<void(std::exception_ptr, std::shared_ptr<int const>)> const no_callback;
  EXPECT_THROW(flights.start("k", none, [](std::exception_ptr, std::shared_ptr<int const>) {}),
               std::invalid_argument);
  EXPECT_THROW(flights.start("k", [] { return 1; }, no_callback), std::invalid_argument);
}

void count_down(cacheflight::group& flights, int left, int& calls) {
  flights.start(
      "k", [] { return 1; },
      [&flights, left, &calls](std::exception_ptr, std::shared_ptr<int const>) {
        ++calls;
        if (left > 1) count_down(flights, left - 1, calls);
      });
}
TEST(R29, callback_that_starts_the_next_call_does_not_recurse) {
  cacheflight::group flights;
  int calls = 0;
  count_down(flights, 100'000, calls);
  EXPECT_EQ(calls, 100'000);
}

TEST(R10, callback_whose_scheduler_refuses_the_error_of_a_call_that_never_entered) {
  manual_group flights{options().max_keys(1)};
  auto const task = make_task();
  outcome a;
  owned const one = wait_for(flights, "a", {}, task, a);
  std::exception_ptr error;
  int calls = 0;
  auto const refuses = [](cacheflight::work) { throw std::bad_alloc(); };
  flights.start(
      "b", [] { return 1; }, cacheflight::via(refuses, [&](std::exception_ptr e, std::shared_ptr<int const>) {
        error = e;
        ++calls;
      }));
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(is<cacheflight::max_keys_error>(error));
  resolve(task, 1);
  one.handle.destroy();
}

TEST(R10, callback_whose_scheduler_calls_and_then_throws_is_called_once) {
  cacheflight::group flights;
  int calls = 0;
  auto const both = [](cacheflight::work w) {
    w();
    throw std::runtime_error("after the call");
  };
  flights.start(
      "k", [] { return 1; },
      cacheflight::via(both, [&](std::exception_ptr, std::shared_ptr<int const>) { ++calls; }));
  EXPECT_EQ(calls, 1);
}

TEST(R28, callback_with_a_scheduler_is_called_by_it_also_when_released_with_others) {
  cacheflight::group flights;
  std::vector<cacheflight::work> queue;
  std::optional<cacheflight::completion<int>> done;
  int called = 0;
  auto const task =
      cacheflight::answering<int>([&](cacheflight::completion<int> d) { done.emplace(std::move(d)); });
  auto const callback = [&](std::exception_ptr, std::shared_ptr<int const>) { ++called; };
  auto const via_queue =
      cacheflight::via([&](cacheflight::work w) { queue.push_back(std::move(w)); }, callback);
  flights.start("k", task, callback);
  flights.start("k", task, via_queue);
  flights.start("k", task, callback);
  done->set_value(1);
  EXPECT_EQ(called, 2);
  ASSERT_EQ(queue.size(), 1u);
  queue.front()();
  EXPECT_EQ(called, 3);
}

TEST(R09, future_is_ready_when_the_flight_has_ended_also_within_a_turn) {
  cacheflight::group flights;
  int answers = 0;
  flights.start(
      "outer", [] { return 1; },
      [&](std::exception_ptr, std::shared_ptr<int const>) {
        answers += *cacheflight::run_future(flights, "inner", [] { return 2; }).get();
      });
  EXPECT_EQ(answers, 2);
}

struct counted_key {
  int id;
  static inline int alive = 0;
  explicit counted_key(int i) : id(i) { ++alive; }
  counted_key(counted_key const& other) : id(other.id) { ++alive; }
  ~counted_key() { --alive; }
  bool operator==(counted_key const& other) const { return id == other.id; }
};
struct counted_hash {
  std::size_t operator()(counted_key const& k) const { return static_cast<std::size_t>(k.id); }
};
using completions = std::vector<cacheflight::completion<answer>>;
auto answered_by(completions& up) {
  return cacheflight::answering<answer>(
      [&up](cacheflight::completion<answer> d) { up.push_back(std::move(d)); });
}
constexpr auto nothing = [](std::exception_ptr const&, std::shared_ptr<answer const> const&) {};

TEST(R32, coroutine_a_flight_goes_with_its_last_turn_though_what_was_awaited_lives_on) {
  struct local {
    static owned wait(cacheflight::basic_group<counted_key, counted_hash>& g, int key) {
      auto operation = g.run(counted_key(key), lazy_task<answer>, make_task(), sentinel(nullptr));
      (void)co_await std::move(operation);
      co_await std::suspend_always();
    }
  };
  cacheflight::basic_group<counted_key, counted_hash> flights;
  completions up;
  std::vector<owned> frames;
  for (int const key : {1, 2}) {
    flights.start(counted_key(key), answered_by(up), nothing);
    for (int i = 0; i < 2; ++i) frames.push_back(local::wait(flights, key));
  }
  EXPECT_EQ(counted_key::alive, 6);
  flights.start(
      counted_key(3), [] { return 0; },
      [&up](std::exception_ptr const&, std::shared_ptr<int const> const&) {
        for (auto& done : up) done.set_value(answer{1});
      });
  EXPECT_EQ(counted_key::alive, 4)
      << "what was awaited has a key each, and the flights have gone with theirs";
  for (auto const& frame : frames) frame.handle.destroy();
  EXPECT_EQ(counted_key::alive, 0);
}

TEST(R06, coroutine_turns_of_several_flights_in_a_row_get_each_its_own_outcome) {
  struct local {
    static owned wait(cacheflight::group& g, std::string_view key, std::vector<int>& got) {
      got.push_back((co_await g.run(key, lazy_task<answer>, make_task(), sentinel(nullptr)))->number);
    }
  };
  cacheflight::group flights;
  completions up;
  std::vector<int> got;
  std::vector<owned> frames;
  for (auto const* const key : {"a", "b"}) {
    flights.start(key, answered_by(up), nothing);
    for (int i = 0; i < 2; ++i) frames.push_back(local::wait(flights, key, got));
  }
  flights.start(
      "c", [] { return 0; },
      [&up](std::exception_ptr const&, std::shared_ptr<int const> const&) {
        up[0].set_value(answer{1});
        up[1].set_value(answer{2});
      });
  EXPECT_EQ(got, (std::vector{1, 1, 2, 2}));
  for (auto const& frame : frames) frame.handle.destroy();
}

TEST(R07, callback_task_that_answers_with_a_null_exception_has_failed) {
  cacheflight::group flights;
  int calls = 0;
  flights.start("k", cacheflight::answering<int>([](cacheflight::completion<int> done) {
                  done.set_exception(nullptr);
                }),
                [&calls](std::exception_ptr const& error, std::shared_ptr<int const> const& value) {
                  ++calls;
                  EXPECT_EQ(value, nullptr);
                  ASSERT_NE(error, nullptr);
                  EXPECT_THROW(std::rethrow_exception(error), std::invalid_argument);
                });
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(flights.stats().rejected, 1U);
}

TEST(R10, callback_whose_scheduler_drops_its_turn_is_destroyed_uncalled) {
  cacheflight::group flights;
  auto const alive = std::make_shared<int>();
  flights.start(
      "k", [] { return 1; },
      cacheflight::via([](cacheflight::work) {},
                       [alive](std::exception_ptr, std::shared_ptr<int const>) { ADD_FAILURE(); }));
  EXPECT_EQ(alive.use_count(), 1);
}

// A leader's frame is destroyed while its task starts, and a joiner of the same flight may get its address.
TEST(R29, coroutine_a_joiner_where_its_leader_was_is_not_taken_for_it) {
  manual_group flights;
  auto const task = make_task();
  outcome leader_out, other_out, joiner_out;
  std::vector<owned> frames;
  std::coroutine_handle<> leader;
  // The leader's handle, from inside: its task is started while it is suspended.
  task->when_invoked = [&] {
    frames.push_back(wait_for(flights, "k", {}, make_task(), other_out));  // keeps the flight open
    leader.destroy();
    frames.push_back(wait_for(flights, "k", {}, make_task(), joiner_out));
    task->inline_value = 7;
  };
  struct local {
    static eager lead(manual_group& g, task_ptr t, std::coroutine_handle<>* self, outcome& out) {
      co_await catching{self};
      out.number = (co_await g.run("k", lazy_task<answer>, t, sentinel(t)))->number;
    }
  };
  local::lead(flights, task, &leader, leader_out);
  EXPECT_EQ(leader_out.number, 0);
  EXPECT_EQ(other_out.number, 7);
  EXPECT_EQ(joiner_out.number, 7);
  for (auto const& f : frames) f.handle.destroy();
}

// ---- senders ----------------------------------------------------------------------------------------------

struct noting_receiver {
  using receiver_concept = ex::receiver_t;
  outcome* out;
  std::stop_token token;
  struct environment {
    std::stop_token token;
    std::stop_token query(ex::get_stop_token_t) const noexcept { return token; }
  };
  void set_value(std::shared_ptr<answer const> v) && noexcept { out->number = v->number, ++out->completions; }
  void set_error(std::exception_ptr e) && noexcept { out->error = e, ++out->completions; }
  void set_stopped() && noexcept { out->number = -1, ++out->completions; }
  environment get_env() const noexcept { return {token}; }
};

TEST(R11, sender_is_stopped_through_its_receivers_environment) {
  manual_group flights;
  auto const task = make_task();
  std::stop_source stop;
  outcome a, b;
  auto one = flights.run("k", sending_task<answer>, task, sentinel(task))
                 .connect(noting_receiver{&a, stop.get_token()});
  auto two =
      flights.run("k", sending_task<answer>, make_task(), sentinel(nullptr)).connect(noting_receiver{&b, {}});
  one.start();
  two.start();
  stop.request_stop();
  EXPECT_EQ(a.number, -1);
  EXPECT_FALSE(task->stop_requested);
  resolve(task, 7);
  EXPECT_EQ(b.number, 7);
  EXPECT_EQ(a.completions + b.completions, 2);
}

TEST(R09, sender_that_completes_with_stopped_unasked_abandons_its_flight) {
  manual_group flights;
  auto const task = make_task();
  outcome a;
  auto one = flights.run("k", sending_task<answer>, task, sentinel(task)).connect(noting_receiver{&a, {}});
  one.start();
  task->open_gate(true);
  EXPECT_TRUE(is<cacheflight::abandoned_error>(a.error));
}

// What takes awaitables by value, such as folly's collectAll, demands it.
using lazy_run = decltype(std::declval<cacheflight::group&>().run("k", std::declval<lazy<int> (&)()>()));
static_assert(std::is_nothrow_move_constructible_v<lazy_run>);

static_assert(std::is_same_v<
              decltype(std::declval<manual_group&>().run("k", sending_task<answer>, task_ptr(),
                                                         std::declval<sentinel>()))::completion_signatures,
              ex::completion_signatures<ex::set_value_t(std::shared_ptr<answer const>),
                                        ex::set_error_t(std::exception_ptr), ex::set_stopped_t()>>);

}  // namespace
}  // namespace cacheflight_test
