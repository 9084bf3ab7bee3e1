// SPDX-License-Identifier: MIT
#include <cacheflight/detail/task.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace {

using cacheflight::detail::bind_task;
using cacheflight::detail::result_of_answer;

template <class Bound>
auto call(Bound bound) {
  return bound(std::stop_token());
}

std::string greet(std::string name, int times) { return name + std::to_string(times); }

TEST(bound_task, calls_a_function_with_its_arguments) {
  auto bound = bind_task(greet, "ann", 3);
  static_assert(std::is_same_v<decltype(bound)::result, std::string>);
  EXPECT_EQ(call(std::move(bound)), "ann3");
}

TEST(bound_task, binds_by_value) {
  std::string name = "before";
  auto bound = bind_task(greet, name, 1);
  name = "after";
  EXPECT_EQ(call(std::move(bound)), "before1");
}

TEST(bound_task, a_literal_is_bound_as_a_pointer_and_an_array_of_functions_as_well) {
  auto bound = bind_task([](std::string_view text) { return text.size(); }, "four");
  EXPECT_EQ(call(std::move(bound)), 4U);
}

TEST(bound_task, moves_what_can_only_be_moved) {
  auto const take = [](std::unique_ptr<int> number) { return *number; };
  auto bound = bind_task(take, std::make_unique<int>(7));
  static_assert(!std::is_copy_constructible_v<decltype(bound)>);
  EXPECT_EQ(call(std::move(bound)), 7);
}

struct move_only_function {
  std::unique_ptr<int> number;
  explicit move_only_function(int n) : number(std::make_unique<int>(n)) {}
  int operator()() && { return *number; }  // only as an rvalue: it is called once
};

TEST(bound_task, calls_the_function_as_an_rvalue) { EXPECT_EQ(call(bind_task(move_only_function(9))), 9); }

TEST(bound_task, passes_arguments_as_rvalues) {
  auto const pass = [](std::string&& text) { return std::move(text); };
  EXPECT_EQ(call(bind_task(pass, std::string("a text that is longer than the small string buffer"))),
            "a text that is longer than the small string buffer");
}

struct user {
  std::string name;
  std::string load(std::string prefix) { return prefix + name; }
  std::string peek() const { return name; }
};

TEST(bound_task, calls_members_through_pointers_copies_and_references) {
  user ann{"ann"};
  EXPECT_EQ(call(bind_task(&user::load, &ann, "user:")), "user:ann");
  EXPECT_EQ(call(bind_task(&user::load, std::make_shared<user>(ann), "user:")), "user:ann");
  EXPECT_EQ(call(bind_task(&user::peek, std::ref(ann))), "ann");
  EXPECT_EQ(call(bind_task(&user::peek, ann)), "ann");
  EXPECT_EQ(call(bind_task(&user::name, ann)), "ann");
}

TEST(bound_task, std_ref_passes_references) {
  int number = 1;
  auto const count = [](int& n) { ++n; };
  call(bind_task(count, std::ref(number)));
  EXPECT_EQ(number, 2);
  auto const copied = bind_task([](int n) { return n; }, number);
  number = 5;
  EXPECT_EQ(call(copied), 2);
}

TEST(bound_task, a_leading_stop_token_is_passed_if_it_is_taken) {
  std::stop_source source;
  auto takes = bind_task([](std::stop_token token, int n) { return token.stop_requested() ? n : -1; }, 4);
  static_assert(decltype(takes)::takes_token);
  EXPECT_EQ(takes(source.get_token()), -1);
  source.request_stop();
  auto takes_again =
      bind_task([](std::stop_token token, int n) { return token.stop_requested() ? n : -1; }, 4);
  EXPECT_EQ(takes_again(source.get_token()), 4);
  auto without = bind_task([](int n) { return n; }, 4);
  static_assert(!decltype(without)::takes_token);
  EXPECT_EQ(without(source.get_token()), 4);
}

TEST(bound_task, a_leading_stop_flag_is_passed_if_it_is_taken_and_no_token) {
  std::stop_source source;
  auto takes =
      bind_task([](cacheflight::stop_flag flag, int n) { return flag.stop_requested() ? n : -1; }, 4);
  static_assert(decltype(takes)::takes_flag && !decltype(takes)::takes_token);
  EXPECT_EQ(takes(source.get_token()), -1);
  auto either = bind_task([](auto told) { return std::is_same_v<decltype(told), std::stop_token>; });
  static_assert(decltype(either)::takes_token && !decltype(either)::takes_flag);
  EXPECT_TRUE(either(source.get_token()));
  source.request_stop();
  auto takes_again =
      bind_task([](cacheflight::stop_flag flag, int n) { return flag.stop_requested() ? n : -1; }, 4);
  EXPECT_EQ(takes_again(source.get_token()), 4);
  EXPECT_FALSE(cacheflight::stop_flag().stop_requested());
}

TEST(bound_task, the_callers_own_stop_token_is_an_argument_like_any_other) {
  std::stop_source own;
  own.request_stop();
  auto bound = bind_task([](std::stop_token token) { return token.stop_requested(); }, own.get_token());
  static_assert(!decltype(bound)::takes_token);
  EXPECT_TRUE(bound(std::stop_token()));
}

TEST(bound_task, null_tasks_are_refused_at_once) {
  int (*no_function)(int) = nullptr;
  EXPECT_THROW((void)bind_task(no_function, 1), std::invalid_argument);
  EXPECT_THROW((void)bind_task(std::function<int()>()), std::invalid_argument);
  std::string (user::*no_member)(std::string) = nullptr;
  EXPECT_THROW((void)bind_task(no_member, user{}, "x"), std::invalid_argument);
  EXPECT_NO_THROW((void)bind_task(std::function<int()>([] { return 1; })));
  EXPECT_NO_THROW((void)bind_task([] { return 1; }));
  EXPECT_NO_THROW((void)bind_task(greet, "ann", 1));
}

struct convertible_to_false {  // not a null function: its bool means something else
  int operator()() const { return 1; }
  operator bool() const { return false; }
};

TEST(bound_task, an_object_that_happens_to_be_false_is_a_task) {
  EXPECT_EQ(call(bind_task(convertible_to_false())), 1);
}

TEST(result_of_answer, is_a_shared_pointer_to_const) {  // rule 6
  static_assert(std::is_same_v<result_of_answer<int>::type, std::shared_ptr<int const>>);
  static_assert(std::is_same_v<result_of_answer<int const>::type, std::shared_ptr<int const>>);
  static_assert(std::is_same_v<result_of_answer<std::shared_ptr<int>>::type, std::shared_ptr<int const>>);
  static_assert(
      std::is_same_v<result_of_answer<std::shared_ptr<int const>>::type, std::shared_ptr<int const>>);
  static_assert(std::is_same_v<result_of_answer<std::unique_ptr<int>>::type,
                               std::shared_ptr<std::unique_ptr<int> const>>);
  static_assert(std::is_void_v<result_of_answer<void>::type>);
  // The same type whichever way the task spells it: such calls share a flight (rule 8).
  static_assert(std::is_same_v<result_of_answer<int>::value_type,
                               result_of_answer<std::shared_ptr<int const>>::value_type>);

  auto shared = std::make_shared<int>(3);
  int const* const address = shared.get();
  EXPECT_EQ(result_of_answer<std::shared_ptr<int>>::make(std::move(shared)).get(), address);
  EXPECT_EQ(result_of_answer<std::shared_ptr<int>>::make(nullptr), nullptr);
  EXPECT_EQ(**result_of_answer<std::unique_ptr<int>>::make(std::make_unique<int>(4)), 4);
}

}  // namespace
