// SPDX-License-Identifier: MIT

// Calls inside a task, and inside a turn (rule 42): when their callbacks are called, as the fronts' headers
// say.

#include "../support/coroutines.hpp"
#include "../support/senders.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/sender.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <utility>

namespace cacheflight_test {
namespace {

namespace ex = cacheflight::execution;

/// A synchronous function on top of the callback interface, as old code has it: -1 if it would have to wait.
int synchronously(cacheflight::group& flights) {
  int got = -1;
  flights.start(
      "inner", [] { return 5; }, [&](std::exception_ptr, std::shared_ptr<int const> v) { got = *v; });
  return got;
}

TEST(R42, blocking_start_inside_a_task_calls_its_callback_before_it_returns) {
  cacheflight::group flights;
  EXPECT_EQ(*flights.run("outer", [&] { return synchronously(flights); }), 5);
}

TEST(R42, callback_start_inside_a_task_calls_its_callback_before_it_returns) {
  cacheflight::group flights;
  int plain = 0, answered = 0;
  flights.start(
      "outer", [&] { return synchronously(flights); },
      [&](std::exception_ptr, std::shared_ptr<int const> v) { plain = *v; });
  auto const task = [&](cacheflight::completion<int> done) { done.set_value(synchronously(flights)); };
  flights.start("outer", cacheflight::answering<int>(task),
                [&](std::exception_ptr, std::shared_ptr<int const> v) { answered = *v; });
  EXPECT_EQ(plain, 5);
  EXPECT_EQ(answered, 5);
}

lazy<int> asks_synchronously(cacheflight::group* flights) { co_return synchronously(*flights); }
eager awaits(cacheflight::group& flights, int& got) {
  auto const value = co_await flights.run("outer", asks_synchronously, &flights);
  got = *value;
}

TEST(R42, coroutine_start_inside_a_task_calls_its_callback_before_it_returns) {
  cacheflight::group flights;
  int got = 0;
  awaits(flights, got);
  EXPECT_EQ(got, 5);
}

struct asking_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_value_t(int)>;
  template <class Receiver>
  struct state {
    cacheflight::group* flights;
    Receiver receiver;
    void start() & noexcept { std::move(receiver).set_value(synchronously(*flights)); }
  };
  template <class Receiver>
  state<Receiver> connect(Receiver r) && {
    return {flights, std::move(r)};
  }
  cacheflight::group* flights;
};
struct int_receiver {
  using receiver_concept = ex::receiver_t;
  int* got;
  void set_value(std::shared_ptr<int const> v) && noexcept { *got = *v; }
  void set_error(std::exception_ptr) && noexcept {}
  void set_stopped() && noexcept {}
};

TEST(R42, sender_start_inside_a_task_calls_its_callback_before_it_returns) {
  cacheflight::group flights;
  int got = 0;
  auto operation = flights.run("outer", [&] { return asking_sender{&flights}; }).connect(int_receiver{&got});
  operation.start();
  EXPECT_EQ(got, 5);
}

TEST(R42, callback_start_inside_a_turn_calls_its_callback_when_that_is_over) {
  cacheflight::group flights;
  int inside = 0, after = 0;
  flights.start(
      "outer", [] { return 1; },
      [&](std::exception_ptr, std::shared_ptr<int const>) {
        flights.start(
            "inner", [] { return 5; }, [&](std::exception_ptr, std::shared_ptr<int const> v) { after = *v; });
        inside = after;
      });
  EXPECT_EQ(inside, 0);
  EXPECT_EQ(after, 5);
}

TEST(R42, callback_via_a_scheduler_waits_for_no_turn_and_is_none) {
  cacheflight::group flights;
  auto const at_once = [](cacheflight::work const& w) { w(); };
  int inside_a_turn = 0, inside_a_scheduled = 0;
  flights.start(
      "outer", [] { return 1; },
      [&](std::exception_ptr, std::shared_ptr<int const>) {
        int got = 0;
        flights.start(
            "inner", [] { return 5; },
            cacheflight::via(at_once, [&](std::exception_ptr, std::shared_ptr<int const> v) { got = *v; }));
        inside_a_turn = got;
      });
  flights.start(
      "outer", [] { return 1; },
      cacheflight::via(at_once, [&](std::exception_ptr, std::shared_ptr<int const>) {
        inside_a_scheduled = synchronously(flights);
      }));
  EXPECT_EQ(inside_a_turn, 5);
  EXPECT_EQ(inside_a_scheduled, 5);
}

}  // namespace
}  // namespace cacheflight_test
