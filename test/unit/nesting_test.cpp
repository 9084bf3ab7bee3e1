// SPDX-License-Identifier: MIT
#include <cacheflight/detail/nesting.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <optional>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#endif

namespace cacheflight::detail {
namespace {

/// A scope that says where it is: on the stack of a fiber, unless it is told otherwise. Each `Test` has its
/// own.
template <int Test>
class scope : public nesting<scope<Test>> {
 public:
  explicit scope(stack_address at) { this->enter(at); }
};

constexpr stack_address fiber = 0x100000;
constexpr stack_address window = 8 * 1024;

TEST(R42_nesting, a_scope_is_found_by_the_code_inside) {
  using scope = scope<1>;
  EXPECT_EQ(scope::around(), nullptr);
  {
    scope outer(here());
    EXPECT_EQ(scope::around(), &outer);
    EXPECT_EQ(outer.outer(), nullptr);
    {
      scope inner(here());
      EXPECT_EQ(scope::around(), &inner);
      EXPECT_EQ(inner.outer(), &outer);
    }
    EXPECT_EQ(scope::around(), &outer);
    std::thread([] { EXPECT_EQ(scope::around(), nullptr); }).join();
  }
  EXPECT_EQ(scope::around(), nullptr);
}

TEST(R42_nesting, a_scope_on_another_stack_is_not_around) {
  using scope = scope<2>;
  scope suspended(fiber);
  EXPECT_EQ(scope::around(), nullptr);
  scope own(here());
  EXPECT_EQ(own.outer(), nullptr);
  EXPECT_EQ(scope::around(), &own);
}

TEST(R42_nesting, near_each_other_is_on_one_stack) {
  using scope = scope<3>;
  scope outer(fiber);
  EXPECT_EQ(scope(fiber).outer(), &outer);
  EXPECT_EQ(scope(fiber - window).outer(), &outer);
  EXPECT_EQ(scope(fiber - window - 1).outer(), nullptr);
}

TEST(R42_nesting, what_is_less_deep_is_not_inside) {
  using scope = scope<4>;
  scope outer(fiber);
  EXPECT_EQ(scope(fiber + 1).outer(), nullptr);
}

TEST(R42_nesting, far_from_each_other_on_the_threads_own_stack_is_on_one_stack) {
#if defined(__linux__)
  using scope = scope<5>;
  scope outer(here());
  EXPECT_EQ(scope(here() - 4 * window).outer(), &outer);
  std::thread([&] {
    scope another(here());
    EXPECT_EQ(another.outer(), nullptr);
    EXPECT_EQ(scope(here() - 4 * window).outer(), &another);
  }).join();
#endif
}

TEST(R42_nesting, after_scopes_that_ended_in_another_order_near_is_not_enough) {
  using scope = scope<6>;
  std::optional<scope> first(fiber), second(fiber - 8);
  EXPECT_EQ(second->outer(), &*first);
  first.reset();  // the fiber of the second is suspended
  scope third(fiber - 16);
  EXPECT_EQ(third.outer(), nullptr);
  {
    scope fourth(fiber - 24);
    EXPECT_EQ(fourth.outer(), &third);
  }
  EXPECT_EQ(scope(fiber - 24).outer(), &third);
}

TEST(R42_nesting, what_was_before_is_forgotten_when_scopes_have_ended_in_another_order_meanwhile) {
  using scope = scope<7>;
  std::optional<scope> elsewhere(here());
  std::optional<scope> own(fiber);  // on another stack, not nested
  EXPECT_EQ(own->outer(), nullptr);
  std::thread([] {
    std::optional<scope> a(fiber), b(fiber - 8);
    a.reset();
  }).join();
  own.reset();
  EXPECT_EQ(scope::around(), nullptr);  // though `elsewhere` is still there: it could be gone
  elsewhere.reset();
  EXPECT_EQ(scope::around(), nullptr);
}

TEST(R42_nesting, what_was_before_is_found_again) {
  using scope = scope<8>;
  scope own(here());
  {
    scope const on_a_fiber(fiber);
  }
  EXPECT_EQ(scope::around(), &own);
}

#if defined(__linux__)
TEST(R42_nesting, a_threads_stack_is_what_the_system_says) {
  pthread_attr_t attributes{};
  ASSERT_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
  void* bottom = nullptr;
  std::size_t size = 0;
  ASSERT_EQ(pthread_attr_getstack(&attributes, &bottom, &size), 0);
  pthread_attr_destroy(&attributes);
  auto const low = reinterpret_cast<stack_address>(bottom), high = low + size;
  EXPECT_TRUE(thread_stack::has_both(here(), here()));
  EXPECT_TRUE(thread_stack::has_both(high - 1, here()));
  EXPECT_FALSE(thread_stack::has_both(high, here()));
  EXPECT_FALSE(thread_stack::has_both(here(), high));
  std::thread([low, high] {
    EXPECT_FALSE(thread_stack::has_both(low, high - 1));
    EXPECT_TRUE(thread_stack::has_both(here(), here()));
    EXPECT_FALSE(thread_stack::has_both(here(), low));
  }).join();
  std::thread([] {
    pthread_attr_t own{};
    void* from = nullptr;
    std::size_t length = 0;
    ASSERT_EQ(pthread_getattr_np(pthread_self(), &own), 0);
    ASSERT_EQ(pthread_attr_getstack(&own, &from, &length), 0);
    pthread_attr_destroy(&own);
    auto const first = reinterpret_cast<stack_address>(from);
    EXPECT_TRUE(thread_stack::has_both(first, first + length - 1));
    EXPECT_FALSE(thread_stack::has_both(first - 1, first));
    EXPECT_FALSE(thread_stack::has_both(first, first + length));
  }).join();
}
#endif

}  // namespace
}  // namespace cacheflight::detail
