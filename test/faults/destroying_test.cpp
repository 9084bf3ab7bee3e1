// SPDX-License-Identifier: MIT

// Frames that are destroyed, contexts that stop or go, executors that drop or refuse what they are given: at
// every step of a script, one step further in each run until the script completes.

#include "asio_fronts.hpp"
#include "std_fronts.hpp"

#include <cstdio>

namespace faults {
namespace {

using cacheflight_test::owned;

void expect_rest(manual_group& flights) {
  auto const s = flights.stats();
  EXPECT_EQ(s.in_flight + s.waiters + s.detached, 0u);
  EXPECT_EQ(s.misses, s.started);
  EXPECT_EQ(s.started, s.resolved + s.rejected + s.timed_out + s.cancelled);
}

// ---- frames of any coroutine ------------------------------------------------------------------------------

owned wait(manual_group& flights, slot& c, cf::run_options opts, task& t, queue* to) {
  std::shared_ptr<answer const> value;
  std::exception_ptr error;
  try {
    auto operation = flights.run(here, std::move(opts), lazy_task, &t);
    if (to) {
      auto const scheduler = [to](auto f) { to->push(std::move(f)); };
      auto scheduled = std::move(operation).resume_on(scheduler);
      value = co_await std::move(scheduled);
    } else {
      value = co_await std::move(operation);
    }
  } catch (...) {
    error = std::current_exception();
  }
  c.complete(value, error);
}

/// The moments when another's frame can be destroyed: in every place where the library calls out.
TEST(destroyed_frames, at_every_call_out_of_the_library_and_every_step) {
  // Three callers of one flight; the victim is destroyed at the n-th moment that its thread is in user code.
  long points = 0;
  for (std::size_t const victim : {0u, 1u, 2u}) {
    for (long nth = 1;; ++nth) {
      SCOPED_TRACE("caller " + std::to_string(victim) + " at moment " + std::to_string(nth));
      std::array<slot, 4> calls;
      std::array<task, 4> tasks;
      std::array<std::coroutine_handle<>, 3> frames{};
      long seen = 0;
      bool destroyed = false;
      std::optional<manual_group> flights;
      auto const moment = [&] {
        if (!frames.at(victim) || ++seen != nth || calls.at(victim).completions > 0) return;
        destroyed = true;
        std::exchange(frames.at(victim), nullptr).destroy();
      };
      flights.emplace(cf::options().on_event([&](cf::event const&) { moment(); }));
      for (slot& c : calls) c.on_complete = moment;
      for (std::size_t i = 0; i < 3; ++i) {
        frames.at(i) = wait(*flights, calls.at(i), {}, tasks.at(i), nullptr).handle;
        moment();
      }
      for (std::size_t i = 0; i < 3; ++i) tasks.at(i).tell(told::answer);  // those that lead
      moment();
      if (destroyed) {
        EXPECT_EQ(calls.at(victim).completions, 0);
        ++points;
      }
      for (std::size_t i = 0; i < 3; ++i)
        if (!destroyed || i != victim) {
          EXPECT_STREQ(to_string(calls.at(i).how()), "value");
        }
      expect_rest(*flights);
      auto const again = wait(*flights, calls[3], {}, tasks[3], nullptr).handle;
      tasks[3].tell(told::answer);
      EXPECT_STREQ(to_string(calls[3].how()), "value");
      again.destroy();
      for (auto const frame : frames)
        if (frame) frame.destroy();
      if (nth > 32) break;
    }
  }
  std::printf("  destroyed frames: %ld\n", points);
  EXPECT_GE(points, 3 * 4);
}

/// A scheduler that drops what it is given, or holds it while the frame is destroyed.
TEST(destroyed_frames, while_its_turn_waits_in_a_scheduler_that_drops_it) {
  manual_group flights;
  queue to;
  slot a, b;
  task t, unused;
  auto const first = wait(flights, a, {}, t, &to).handle, second = wait(flights, b, {}, unused, &to).handle;
  t.tell(told::answer);
  EXPECT_EQ(a.completions + b.completions, 0);
  to = queue();  // dropped: the coroutines are never resumed, and nothing else is held
  expect_rest(flights);
  first.destroy();
  second.destroy();
  EXPECT_EQ(answer::alive, 0);
}

// ---- contexts ---------------------------------------------------------------------------------------------

enum class fate { stops, destroyed };

/// Callers and task on contexts of their own; the n-th handler is the last that one of them runs.
template <class Front>
long context_ends(fate what, bool task_context) {
  long points = 0;
  for (long steps = 0;; ++steps) {
    SCOPED_TRACE(std::string(Front::name) + (what == fate::stops ? ", stops" : ", is destroyed") + " after " +
                 std::to_string(steps) + " handlers");
    slot here_1, here_2, other;
    std::array<task, 4> tasks;
    std::optional<manual_group> flights{std::in_place};
    auto elsewhere = std::make_unique<asio_handler<false, task_on::leader>>();
    bool complete = false;
    {
      auto front = std::make_unique<Front>();
      front->steps = steps;
      net::io_context& doomed = task_context ? front->other_io : front->io;
      auto const run_both = [&] {
        for (bool more = true; more;) {
          more = false;
          front->io.restart();
          front->other_io.restart();
          for (net::io_context* each : {&front->io, &front->other_io})
            for (;;) {
              if (each == &doomed && front->steps == 0) break;
              if (each->poll_one() == 0) break;
              if (each == &doomed) --front->steps;
              more = true;
            }
          elsewhere->pump();
        }
      };
      front->pumps = false;
      front->run(*flights, here_1, here, cf::run_options().timeout(1s), tasks[0]);
      run_both();
      front->run(*flights, here_2, here, {}, tasks[1]);
      run_both();
      elsewhere->run(*flights, other, here, cf::run_options().timeout(1s), tasks[2]);
      run_both();
      for (task& t : tasks) t.tell(told::answer);
      run_both();
      complete = front->steps > 0;
      if (what == fate::stops) {
        // A context that merely stopped answers nobody on it; its flights are bounded by their timeouts.
        cacheflight_test::pass(*flights, 1s);
        elsewhere->pump();
        EXPECT_EQ(other.completions, 1);
      }
      front->abandon_gates();
      tasks[0].open = tasks[1].open = nullptr;
    }
    elsewhere->pump();
    cacheflight_test::pass(*flights, 1ms);
    elsewhere->pump();
    for (task& t : tasks) t.tell(told::answer);
    elsewhere->pump();
    EXPECT_EQ(other.completions, 1) << "a caller elsewhere hangs";
    EXPECT_LE(here_1.completions, 1);
    EXPECT_LE(here_2.completions, 1);
    expect_rest(*flights);
    slot again;
    task fresh;
    elsewhere->run(*flights, again, here, {}, fresh);
    elsewhere->pump();
    fresh.tell(told::answer);
    elsewhere->pump();
    EXPECT_STREQ(to_string(again.how()), "value");
    flights.reset();
    elsewhere->close();
    if (testing::Test::HasFailure()) return points;
    if (complete) break;
    ++points;
  }
  EXPECT_EQ(answer::alive, 0);
  return points;
}

template <class Front>
struct stepped : Front {
  static constexpr char const* name = Front::name;
  long steps = 0;
  bool pumps = true;
  void pump() {
    if (pumps) Front::pump();
  }
  void abandon_gates() {
    for (caller_of& each : this->callers) each.end.drop(), each.gate.drop();
  }
};

template <class Front>
class contexts : public testing::Test {};
using fronts = testing::Types<stepped<asio_handler<false, task_on::leader>>,
                              stepped<asio_handler<true, task_on::leader>>,
                              stepped<asio_handler<false, task_on::other>>>;
TYPED_TEST_SUITE(contexts, fronts);

TYPED_TEST(contexts, stop_or_go_after_every_handler) {
  long points = 0;
  for (fate const what : {fate::stops, fate::destroyed})
    for (bool const task_context : {false, true}) points += context_ends<TypeParam>(what, task_context);
  std::printf("  %-30s contexts stopped or destroyed at %ld points\n", TypeParam::name, points);
  EXPECT_GE(points, 8);
}

// ---- executors that refuse --------------------------------------------------------------------------------

/// Refuses or drops what it is given, from the n-th on, `times` times.
struct moody {
  long* given;
  long nth;
  long times;
  bool drops;
  queue* to;
  template <class F>
  void operator()(F f) const {
    long const now = ++*given;
    if (now >= nth && now < nth + times) {
      if (drops) return;
      throw std::runtime_error("refused");
    }
    to->push(std::move(f));
  }
};

TEST(executors, of_tasks_refuse_or_drop_and_that_is_the_flights_outcome) {
  for (bool const drops : {false, true}) {
    manual_group flights;
    queue to;
    long given = 0;
    slot a, b;
    auto const start = [&](slot& c) {
      flights.start(
          here, cf::on(moody{&given, 1, 1, drops, &to}, [] { return answer(7); }),
          [&c](std::exception_ptr e, std::shared_ptr<answer const> v) { c.complete(v, std::move(e)); });
    };
    start(a);
    EXPECT_STREQ(to_string(a.how()), drops ? "abandoned" : "other");
    start(b);
    to.pump();
    EXPECT_STREQ(to_string(b.how()), "value");
    EXPECT_EQ(flights.stats().rejected, 1u);
    expect_rest(flights);
  }
}

TEST(executors, of_callers_that_refuse_for_a_while_are_asked_until_they_take_it) {
  for (long times = 0; times < 20; ++times) {
    for (long nth = 1; nth <= 3; ++nth) {
      manual_group flights;
      queue to;
      long given = 0;
      std::array<slot, 3> calls;
      std::optional<cf::completion<answer>> done;
      for (slot& c : calls)
        flights.start(
            here, cf::answering<answer>([&done](cf::completion<answer> d) { done.emplace(std::move(d)); }),
            cf::via(moody{&given, nth, times, false, &to},
                    [&c](std::exception_ptr e, std::shared_ptr<answer const> v) {
                      c.complete(v, std::move(e));
                    }));
      EXPECT_TRUE(done->set_value(7));
      EXPECT_EQ(std::count_if(calls.begin(), calls.end(), [](slot const& c) { return c.completions > 0; }),
                0);
      for (long i = 0; i < times; ++i) cacheflight_test::pass(flights, 1ms);
      to.pump();
      for (slot const& c : calls) {
        EXPECT_STREQ(to_string(c.how()), "value");
        EXPECT_EQ(c.completions, 1);
      }
      EXPECT_EQ(given, 3 + times);
      expect_rest(flights);
    }
  }
}

/// No thread to be had for the deadlines.
TEST(executors, a_driver_that_cannot_start_fails_that_call_alone) {
  manual_group flights;
  slot a, b, joins;
  auto const start = [&](slot& c, cf::run_options opts) {
    flights.start(
        here, std::move(opts), [] { return answer(7); },
        [&c](std::exception_ptr e, std::shared_ptr<answer const> v) { c.complete(v, std::move(e)); });
  };
  manual_driver::refuse = true;
  start(a, cf::run_options().timeout(1s));
  manual_driver::refuse = false;
  EXPECT_STREQ(to_string(a.how()), "refused");
  EXPECT_EQ(flights.stats().misses, 0u);
  start(b, cf::run_options().timeout(1s));
  EXPECT_STREQ(to_string(b.how()), "value");
  expect_rest(flights);
}

/// The group's own thread: what starting it allocates fails as well.
TEST(executors, the_deadline_thread_cannot_be_started) {
  long points = 0;
  for (long nth = 1;; ++nth) {
    cf::group flights;
    end how = end::open;
    slot c;
    injection::watched = true;
    injection::arm(nth, shortage::once);
    try {
      auto const got = flights.run(here, cf::run_options().timeout(1h), [] { return answer(7); });
      pause const own;
      c.complete(got, nullptr);
    } catch (...) {
      pause const own;
      c.complete(nullptr, std::current_exception());
    }
    injection::disarm();
    injection::watched = false;
    how = c.how();
    if (injection::failed() == 0) {
      EXPECT_EQ(how, end::value);
      break;
    }
    ++points;
    EXPECT_EQ(how, end::memory);
    auto const s = flights.stats();
    EXPECT_EQ(s.started, s.rejected);
    EXPECT_EQ(flights.run(here, cf::run_options().timeout(1h), [] { return answer(8); })->number, 8);
  }
  std::printf("  the deadline thread: %ld allocations failed\n", points);
  EXPECT_GE(points, 3);
}

}  // namespace
}  // namespace faults
