// SPDX-License-Identifier: MIT
#include <cacheflight/error.hpp>

#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using namespace cacheflight;
using detail::key_copy;

template <class E>
constexpr bool is_one_of_ours = std::is_base_of_v<error, E> && std::is_nothrow_copy_constructible_v<E> &&
                                std::is_nothrow_copy_assignable_v<E>;
static_assert(is_one_of_ours<timeout_error> && is_one_of_ours<max_keys_error> &&
              is_one_of_ours<cancelled_error> && is_one_of_ours<type_mismatch_error> &&
              is_one_of_ours<abandoned_error>);
static_assert(std::is_base_of_v<std::exception, error>);
static_assert(!std::is_base_of_v<cancelled_error, timeout_error> &&
              !std::is_base_of_v<timeout_error, cancelled_error>);
static_assert(!std::is_constructible_v<error, char const*>, "the base is nobody's to throw");

std::vector<std::function<std::exception_ptr(key_copy)>> makers() {
  return {
      [](key_copy k) { return std::make_exception_ptr(timeout_error(timeout_scope::flight, std::move(k))); },
      [](key_copy k) { return std::make_exception_ptr(timeout_error(timeout_scope::wait, std::move(k))); },
      [](key_copy k) { return std::make_exception_ptr(max_keys_error(std::move(k))); },
      [](key_copy k) { return std::make_exception_ptr(cancelled_error(std::move(k))); },
      [](key_copy k) { return std::make_exception_ptr(type_mismatch_error(std::move(k))); },
      [](key_copy k) { return std::make_exception_ptr(abandoned_error(std::move(k))); },
  };
}

/// Calls `look` with the exception, caught as what every handler may catch.
template <class F>
void caught(std::exception_ptr const& thrown, F look) {
  try {
    std::rethrow_exception(thrown);
  } catch (error const& e) {
    look(e);
  }
}

TEST(error, every_text_is_its_own_and_names_the_library) {
  std::set<std::string> texts;
  for (auto const& make : makers())
    caught(make({}), [&](error const& e) {
      EXPECT_EQ(std::string(e.what()).rfind("cacheflight: ", 0), 0U) << e.what();
      EXPECT_TRUE(texts.insert(e.what()).second) << e.what();
    });
}

TEST(error, the_key_is_there_for_those_who_ask_and_never_in_the_text) {  // rule 32
  std::string const secret = "session:4a7f-secret";
  for (auto const& make : makers())
    caught(make(key_copy::of(secret)), [&](error const& e) {
      EXPECT_EQ(e.key(), secret);
      EXPECT_NE(e.key().data(), secret.data());  // its own copy
      ASSERT_NE(e.key_as<std::string>(), nullptr);
      EXPECT_EQ(*e.key_as<std::string>(), secret);
      EXPECT_EQ(e.key_as<int>(), nullptr);
      EXPECT_EQ(std::string(e.what()).find("secret"), std::string::npos);
      EXPECT_EQ(std::string(e.what()).find("4a7f"), std::string::npos);
    });
}

TEST(error, keys_are_bytes) {
  std::string const key("a\0b", 3);
  caught(std::make_exception_ptr(cancelled_error(key_copy::of(key))),
         [&](error const& e) { EXPECT_EQ(e.key(), key); });
}

TEST(error, keys_of_other_types_are_found_by_their_type) {
  using pair = std::pair<int, int>;
  caught(std::make_exception_ptr(abandoned_error(key_copy::of(pair(4, 2)))), [](error const& e) {
    EXPECT_TRUE(e.key().empty());
    ASSERT_NE(e.key_as<pair>(), nullptr);
    EXPECT_EQ(*e.key_as<pair>(), pair(4, 2));
    EXPECT_EQ(e.key_as<std::string>(), nullptr);
  });
}

TEST(error, without_a_key_there_is_none) {
  for (auto const& make : makers())
    caught(make({}), [](error const& e) {
      EXPECT_TRUE(e.key().empty());
      EXPECT_EQ(e.key_as<std::string>(), nullptr);
    });
}

struct uncopyable {
  bool copied = false;
  uncopyable() = default;
  uncopyable(uncopyable const&) { throw std::bad_alloc(); }
};

TEST(error, a_key_that_cannot_be_copied_is_left_out) {
  EXPECT_EQ(cancelled_error(key_copy::of(uncopyable())).key_as<uncopyable>(), nullptr);  // its copy throws
  EXPECT_EQ(cancelled_error(key_copy::of(std::make_unique<int>(1))).key_as<std::unique_ptr<int>>(),
            nullptr);  // it has none
  static_assert(noexcept(key_copy::of(uncopyable())));
}

TEST(error, copies_share_the_key_and_outlive_the_original) {
  auto original = std::make_unique<max_keys_error>(key_copy::of(std::string("key")));
  max_keys_error copy = *original;
  max_keys_error assigned;
  assigned = copy;
  EXPECT_EQ(copy.key().data(), original->key().data());
  original.reset();
  EXPECT_EQ(copy.key(), "key");
  EXPECT_EQ(assigned.key(), "key");
}

TEST(timeout_error, tells_whose_time_ran_out) {
  EXPECT_EQ(timeout_error(timeout_scope::flight).scope(), timeout_scope::flight);
  timeout_error const wait(timeout_scope::wait);
  EXPECT_EQ(timeout_error(wait).scope(), timeout_scope::wait);
}

}  // namespace
