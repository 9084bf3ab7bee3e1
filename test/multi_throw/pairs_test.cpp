// SPDX-License-Identifier: MIT

// Every kind of caller on one flight, in every pairing of leader and joiner.

#include "../contract/thread_front.hpp"

#include <algorithm>
#include <memory>
#include <string>
#include <tuple>

namespace cacheflight_test {
namespace {

/// The fronts behind one interface: each test is compiled once, not once for each pair.
struct any_front {
  virtual ~any_front() = default;
  virtual call& run(manual_group&, run_options, task_ptr) = 0;
  virtual void leave(call&) = 0;
  virtual void pump() = 0;
  /// Lets its callers go on until `c`, one of them, is over, while others still wait.
  virtual void pump_until_over(call& c) = 0;
};

template <class Front>
class one_of final : public any_front {
  call& run(manual_group& flights, run_options opts, task_ptr task) override {
    return front_.run(flights, "k", std::move(opts), std::move(task));
  }
  void leave(call& c) override { front_.leave(c); }
  void pump() override { front_.pump(); }
  void pump_until_over(call& c) override {
    if constexpr (std::is_same_v<Front, thread_front>) {
      while (!static_cast<thread_front::thread_call&>(c).over) std::this_thread::yield();
    } else {
      front_.pump();
      ASSERT_TRUE(c.done());
    }
  }

  Front front_;
};

struct kind {
  char const* name;
  std::unique_ptr<any_front> (*make)();
};
template <class Front>
kind const of{Front::name, [] { return std::unique_ptr<any_front>(std::make_unique<one_of<Front>>()); }};

using pairing = std::tuple<kind, kind>;

class pairs : public testing::TestWithParam<pairing> {
 protected:
  void pump() {
    // Callers of one front are released by what the other's pump runs.
    for (int i = 0; i < 3; ++i) {
      leading->pump();
      joining->pump();
    }
  }
  void TearDown() override {
    flights.reset();
    pump();
    task_registry::drop_all();
    pump();
  }

  std::unique_ptr<any_front> leading = std::get<0>(GetParam()).make(),
                             joining = std::get<1>(GetParam()).make();
  std::optional<manual_group> flights{std::in_place};
};

constexpr auto name_of = [](testing::TestParamInfo<pairing> const& info) {
  std::string name = std::string(std::get<0>(info.param).name) + " leads " + std::get<1>(info.param).name;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
};

auto const every_kind = testing::Values(of<asio_coroutine_front>, of<asio_handler_front>, of<thread_front>,
                                        of<coroutine_front>, of<callback_front>, of<sender_front>);
INSTANTIATE_TEST_SUITE_P(all, pairs, testing::Combine(every_kind, every_kind), name_of);

TEST_P(pairs, share_one_execution_and_one_object) {
  auto const task = make_task(), never = make_task();
  call& a = leading->run(*flights, {}, task);
  call& b = joining->run(*flights, {}, never);
  EXPECT_EQ(flights->stats().waiters, 2u);
  task->value = 7;
  task->open_gate(false);
  pump();
  ASSERT_TRUE(a.value && b.value);
  EXPECT_EQ(a.value.get(), b.value.get());
  EXPECT_EQ(task->invoked, 1);
  EXPECT_EQ(never->invoked, 0);
  EXPECT_EQ(flights->stats().started, 1u);
}

TEST_P(pairs, share_the_original_exception) {
  auto const task = make_task();
  call& a = leading->run(*flights, {}, task);
  call& b = joining->run(*flights, {}, make_task());
  task->error = std::make_exception_ptr(task_failed("x"));
  task->open_gate(false);
  pump();
  EXPECT_TRUE(a.error == task->error);
  EXPECT_TRUE(b.error == task->error);
}

TEST_P(pairs, are_cancelled_together) {
  auto const task = make_task();
  call& a = leading->run(*flights, {}, task);
  call& b = joining->run(*flights, {}, make_task());
  EXPECT_TRUE(flights->cancel("k"));
  pump();
  EXPECT_TRUE(a.failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(b.failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(task->stop_requested);
  task->value = 1;
  task->open_gate(false);
  pump();
  EXPECT_EQ(flights->stats().detached, 0u);
}

TEST_P(pairs, leave_each_when_it_likes) {
  auto const task = make_task();
  call& a = leading->run(*flights, {}, task);
  call& b = joining->run(*flights, run_options().wait_timeout(1s), make_task());
  call& c = joining->run(*flights, {}, make_task());
  leading->leave(a);
  pass(*flights, 1s);
  leading->pump_until_over(a);
  joining->pump_until_over(b);
  EXPECT_TRUE(a.left);
  EXPECT_TRUE(b.failed_with<cacheflight::timeout_error>());
  EXPECT_EQ(flights->stats().waiters, 1u);
  EXPECT_FALSE(task->stop_requested);
  task->value = 7;
  task->open_gate(false);
  pump();
  EXPECT_EQ(c.value->number, 7);
}

}  // namespace
}  // namespace cacheflight_test
