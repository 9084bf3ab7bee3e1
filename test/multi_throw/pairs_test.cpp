// SPDX-License-Identifier: MIT

// Every kind of caller on one flight, in every pairing of leader and joiner.

#include "../contract/thread_front.hpp"

#include <tuple>

namespace cacheflight_test {
namespace {

template <class Leader, class Joiner>
struct pairing {
  using leader = Leader;
  using joiner = Joiner;
};

template <class... Fronts>
struct all_pairings {
  template <class Leader>
  using row = std::tuple<pairing<Leader, Fronts>...>;
  using tuple = decltype(std::tuple_cat(std::declval<row<Fronts>>()...));
};
template <class Tuple>
struct as_types;
template <class... Pairs>
struct as_types<std::tuple<Pairs...>> {
  using type = testing::Types<Pairs...>;
};
using pairings = as_types<all_pairings<asio_coroutine_front, asio_handler_front, thread_front, coroutine_front,
                                       callback_front, sender_front>::tuple>::type;

struct pairing_names {
  template <class Pair>
  static std::string GetName(int) {
    std::string name = std::string(Pair::leader::name) + " leads " + Pair::joiner::name;
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
  }
};

template <class Pair>
class pairs : public testing::Test {
 protected:
  void pump() {
    // Callers of one front are released by what the other's pump runs.
    for (int i = 0; i < 3; ++i) {
      leading.pump();
      joining.pump();
    }
  }
  void TearDown() override {
    flights.reset();
    pump();
    task_registry::drop_all();
    pump();
  }

  typename Pair::leader leading;
  typename Pair::joiner joining;
  std::optional<manual_group> flights{std::in_place};
};
TYPED_TEST_SUITE(pairs, pairings, pairing_names);

/// Lets a front's callers go on until `c`, one of them, is over, while others still wait.
template <class Front>
void pump_until_over(Front& front, call& c) {
  if constexpr (std::is_same_v<Front, thread_front>) {
    while (!static_cast<thread_front::thread_call&>(c).over) std::this_thread::yield();
  } else {
    front.pump();
    ASSERT_TRUE(c.done());
  }
}

TYPED_TEST(pairs, share_one_execution_and_one_object) {
  auto const task = make_task(), never = make_task();
  call& a = this->leading.run(*this->flights, "k", {}, task);
  call& b = this->joining.run(*this->flights, "k", {}, never);
  EXPECT_EQ(this->flights->stats().waiters, 2u);
  task->value = 7;
  task->open_gate(false);
  this->pump();
  ASSERT_TRUE(a.value && b.value);
  EXPECT_EQ(a.value.get(), b.value.get());
  EXPECT_EQ(task->invoked, 1);
  EXPECT_EQ(never->invoked, 0);
  EXPECT_EQ(this->flights->stats().started, 1u);
}

TYPED_TEST(pairs, share_the_original_exception) {
  auto const task = make_task();
  call& a = this->leading.run(*this->flights, "k", {}, task);
  call& b = this->joining.run(*this->flights, "k", {}, make_task());
  task->error = std::make_exception_ptr(task_failed("x"));
  task->open_gate(false);
  this->pump();
  EXPECT_TRUE(a.error == task->error);
  EXPECT_TRUE(b.error == task->error);
}

TYPED_TEST(pairs, are_cancelled_together) {
  auto const task = make_task();
  call& a = this->leading.run(*this->flights, "k", {}, task);
  call& b = this->joining.run(*this->flights, "k", {}, make_task());
  EXPECT_TRUE(this->flights->cancel("k"));
  this->pump();
  EXPECT_TRUE(a.template failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(b.template failed_with<cacheflight::cancelled_error>());
  EXPECT_TRUE(task->stop_requested);
  task->value = 1;
  task->open_gate(false);
  this->pump();
  EXPECT_EQ(this->flights->stats().detached, 0u);
}

TYPED_TEST(pairs, leave_each_when_it_likes) {
  auto const task = make_task();
  call& a = this->leading.run(*this->flights, "k", {}, task);
  call& b = this->joining.run(*this->flights, "k", run_options().wait_timeout(1s), make_task());
  call& c = this->joining.run(*this->flights, "k", {}, make_task());
  this->leading.leave(a);
  pass(*this->flights, 1s);
  pump_until_over(this->leading, a);
  pump_until_over(this->joining, b);
  EXPECT_TRUE(a.left);
  EXPECT_TRUE(b.template failed_with<cacheflight::timeout_error>());
  EXPECT_EQ(this->flights->stats().waiters, 1u);
  EXPECT_FALSE(task->stop_requested);
  task->value = 7;
  task->open_gate(false);
  this->pump();
  EXPECT_EQ(c.value->number, 7);
}

}  // namespace
}  // namespace cacheflight_test
