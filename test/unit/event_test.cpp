// SPDX-License-Identifier: MIT
#include <cacheflight/event.hpp>

#include <gtest/gtest.h>

#include <any>
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>

namespace {

using cacheflight::event;
using cacheflight::event_type;
using cacheflight::to_string;
using cacheflight::detail::key_view;

static_assert(to_string(event_type::hit) == std::string_view("hit"));
static_assert(to_string(event_type::miss) == std::string_view("miss"));

TEST(event_type, is_spelled_as_in_the_seed) {
  EXPECT_STREQ(to_string(event_type::hit), "hit");
  EXPECT_STREQ(to_string(event_type::miss), "miss");
  EXPECT_STREQ(to_string(event_type::task_started), "task_started");
  EXPECT_STREQ(to_string(event_type::task_resolved), "task_resolved");
  EXPECT_STREQ(to_string(event_type::task_rejected), "task_rejected");
  EXPECT_STREQ(to_string(event_type::task_timed_out), "task_timed_out");
  EXPECT_STREQ(to_string(event_type::task_cancelled), "task_cancelled");
  EXPECT_STREQ(to_string(event_type::max_keys_rejected), "max_keys_rejected");
  EXPECT_STREQ(to_string(event_type::closed_rejected), "closed_rejected");
  EXPECT_STREQ(to_string(static_cast<event_type>(99)), "unknown");
}

template <class Key>
event event_with(Key const& key, std::exception_ptr const& error, std::any const& metadata) {
  auto const view = key_view::of(key);
  return event{event_type::hit, view.text, 1, 2, {}, error, metadata, view};
}

TEST(event, shows_text_keys_as_text_and_as_their_type) {
  std::exception_ptr const no_error;
  std::any const metadata = 7;
  std::string const key("user\0:42", 8);
  event const seen = event_with(key, no_error, metadata);
  EXPECT_EQ(seen.key, key);
  EXPECT_EQ(seen.key_as<std::string>(), &key);
  EXPECT_EQ(seen.key_as<int>(), nullptr);
  EXPECT_EQ(std::any_cast<int>(seen.metadata), 7);
}

TEST(event, shows_other_keys_as_their_type_only) {
  std::exception_ptr const no_error;
  std::any const metadata;
  int const key = 42;
  event const seen = event_with(key, no_error, metadata);
  EXPECT_TRUE(seen.key.empty());
  EXPECT_EQ(seen.key_as<int>(), &key);
  EXPECT_EQ(seen.key_as<std::string>(), nullptr);
}

TEST(event, a_refused_key_that_could_not_be_copied_is_nobodys) {
  std::exception_ptr const no_error;
  std::any const metadata;
  event const seen{event_type::max_keys_rejected, {}, 0, 0, {}, no_error, metadata, {}};
  EXPECT_EQ(seen.key_as<std::string>(), nullptr);
}

}  // namespace
