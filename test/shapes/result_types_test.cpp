// SPDX-License-Identifier: MIT
// What tasks may return, and what callers get for it (rules 6 and 8).
#include "support.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_future.hpp>

#include <future>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

namespace {

using namespace shapes;
using cacheflight::group;

/// What two callers at once get from `task`.
template <class Task>
auto both_results(Task task, int task_turns) {
  turns = task_turns;
  net::io_context io;
  group flights;
  auto first = net::co_spawn(io, flights.run("key", task), net::use_future);
  auto second = net::co_spawn(io, flights.run("key", task), net::use_future);
  io.run();
  EXPECT_EQ(flights.stats().hits, 1U);
  if constexpr (!std::is_void_v<decltype(first.get())>) {
    using result = decltype(first.get());
    result one = first.get(), two = second.get();
    return std::pair<result, result>(std::move(one), std::move(two));
  } else {
    first.get();
    second.get();
  }
}

net::awaitable<void> nothing() { co_await take_turns(); }
TEST(result_types, nothing) { both_results(nothing, 5); }

net::awaitable<int> number() {
  co_await take_turns();
  co_return 42;
}
TEST(result_types, value) {
  auto const got = both_results(number, 5);
  static_assert(std::is_same_v<decltype(got.first), std::shared_ptr<int const>>);
  EXPECT_EQ(*got.first, 42);
  EXPECT_EQ(got.first, got.second) << "not the same object";
}

net::awaitable<std::unique_ptr<tracked>> move_only() {
  co_await take_turns();
  co_return std::make_unique<tracked>(long_text);
}
TEST(result_types, move_only) {
  tracked::forget();
  {
    auto const got = both_results(move_only, 5);
    EXPECT_EQ((*got.first)->text(), long_text);
    EXPECT_EQ(got.first, got.second);
    EXPECT_EQ(tracked::alive(), 1U);
  }
  EXPECT_EQ(tracked::alive(), 0U);
  EXPECT_EQ(tracked::destroyed_twice(), 0);
}

struct no_default {
  explicit no_default(int n) : value(n), at(std::make_unique<int>(n)) {}
  int value;
  std::unique_ptr<int> at;
};
static_assert(!std::is_default_constructible_v<no_default> && !std::is_copy_constructible_v<no_default>);
net::awaitable<no_default> not_default_constructible() {
  co_await take_turns();
  co_return no_default(7);
}
TEST(result_types, not_default_constructible) {
  auto const got = both_results(not_default_constructible, 5);
  EXPECT_EQ(got.first->value, 7);
  EXPECT_EQ(got.first, got.second);
}

std::shared_ptr<std::string> const made_before = std::make_shared<std::string>("made before");

net::awaitable<std::shared_ptr<std::string>> shared() {
  co_await take_turns();
  co_return made_before;
}
TEST(result_types, shared_pointer) {
  auto const got = both_results(shared, 5);
  static_assert(std::is_same_v<decltype(got.first), std::shared_ptr<std::string const>>);
  EXPECT_EQ(got.first, made_before) << "copied";
  EXPECT_EQ(got.second, made_before);
}

net::awaitable<std::shared_ptr<std::string const>> shared_const() {
  co_await take_turns();
  co_return made_before;
}
TEST(result_types, shared_pointer_to_const) {
  auto const got = both_results(shared_const, 5);
  EXPECT_EQ(got.first, made_before);
  EXPECT_EQ(got.second, made_before);
}

net::awaitable<std::shared_ptr<std::string const>> null() {
  co_await take_turns();
  co_return nullptr;
}
TEST(result_types, null_shared_pointer) {
  auto const got = both_results(null, 5);
  EXPECT_EQ(got.first, nullptr);
  EXPECT_EQ(got.second, nullptr);
}

net::awaitable<std::vector<tracked>> several() {
  co_await take_turns();
  std::vector<tracked> all;
  for (int i = 0; i < 3; ++i) all.push_back(payload());
  co_return all;
}
TEST(result_types, large_values_are_moved_and_die_with_the_last_caller) {
  tracked::forget();
  {
    auto const got = both_results(several, 5);
    EXPECT_EQ(got.first->at(2).text(), long_text);
    EXPECT_EQ(tracked::alive(), 3U);
  }
  EXPECT_EQ(tracked::alive(), 0U);
}

TEST(result_types, a_value_and_a_shared_pointer_to_it_are_the_same_type) {  // rule 8
  turns = 5;
  net::io_context io;
  group flights;
  auto value = net::co_spawn(io, flights.run("key", load, payload()), net::use_future);
  auto pointer = net::co_spawn(io, flights.run("key", shared), net::use_future);
  auto pointer_to_const = net::co_spawn(io, flights.run("key", shared_const), net::use_future);
  auto other = net::co_spawn(io, flights.run("key", number), net::use_future);
  auto none = net::co_spawn(io, flights.run("key", nothing), net::use_future);
  io.run();
  auto const got = value.get();
  EXPECT_EQ(*got, long_text);
  EXPECT_EQ(pointer.get(), got);
  EXPECT_EQ(pointer_to_const.get(), got);
  EXPECT_THROW(other.get(), cacheflight::type_mismatch_error);
  EXPECT_THROW(none.get(), cacheflight::type_mismatch_error);
  EXPECT_EQ(flights.stats().type_mismatches, 2U);
  EXPECT_EQ(flights.stats().hits, 2U);
}

// An awaitable with a concrete executor type.
using strand = net::strand<net::io_context::executor_type>;
net::awaitable<int, strand> on_a_strand() { co_return 5; }
net::awaitable<void, strand> await_on_a_strand(group& flights, int& got) {
  auto const result = co_await flights.run("key", on_a_strand);
  got = *result;
}
net::awaitable<int, net::io_context::executor_type> on_io() { co_return 6; }
net::awaitable<void, net::io_context::executor_type> await_on_io(group& flights, int& got) {
  auto const result = co_await flights.run("key", on_io);
  got = *result;
}
TEST(result_types, awaitables_with_concrete_executors) {
  net::io_context io;
  group flights;
  int first = 0, second = 0;
  net::co_spawn(net::make_strand(io), await_on_a_strand(flights, first), net::detached);
  net::co_spawn(io, await_on_io(flights, second), net::detached);
  io.run();
  EXPECT_EQ(first, 5);
  EXPECT_EQ(second, 6);
}

// Keys that are no text.
TEST(result_types, other_key_types) {
  turns = 5;
  net::io_context io;
  cacheflight::basic_group<int> flights;
  auto one = net::co_spawn(io, flights.run(7, number), net::use_future);
  auto two = net::co_spawn(io, flights.run(7, number), net::use_future);
  auto three = net::co_spawn(io, flights.run(8, number), net::use_future);
  io.run();
  EXPECT_EQ(one.get(), two.get());
  EXPECT_EQ(*three.get(), 42);
  EXPECT_EQ(flights.stats().misses, 2U);
}

}  // namespace
