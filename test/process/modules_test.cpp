// SPDX-License-Identifier: MIT

// A group that a program and what it loads share: a type is one in both, or it is refused (rule 43). This is
// built twice: as documentation tells programs that have plugins to be linked, exporting what they have, and
// without.

#include "process/module.hpp"

#include <gtest/gtest.h>

#include <dlfcn.h>

#include <cstddef>
#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace modules {
namespace {

// libc++ knows types by the address of what describes them, libstdc++ by their name as well.
#ifdef _LIBCPP_VERSION
constexpr bool names_will_do = false;
#else
constexpr bool names_will_do = true;
#endif
#ifdef CACHEFLIGHT_EXPORTS
constexpr bool one = true;
#else
constexpr bool one = names_will_do;
#endif

struct row {
  double no_text;
  int id;
  row(int i) : no_text(0), id(i) {}
};

class R43 : public testing::Test {
 protected:
  R43() {
    void* const loaded = dlopen(CACHEFLIGHT_MODULE, RTLD_NOW | RTLD_LOCAL);  // stays
    if (!loaded) return;
    if (auto const* const it = static_cast<module const* const*>(dlsym(loaded, "cacheflight_module")))
      module_ = *it;
  }
  void SetUp() override { ASSERT_TRUE(module_) << dlerror(); }

  /// What the module gets that calls for the key of a flight which this program has up.
  template <class T>
  answer joins(void (*call)(cacheflight::group&, char const*, answer&)) {
    cacheflight::group flights;
    std::optional<cacheflight::completion<T>> up;
    answer here = answer::none, there = answer::none;
    flights.start("key", cacheflight::answering<T>([&](cacheflight::completion<T> done) {
                    up.emplace(std::move(done));
                  }),
                  [&](std::exception_ptr const&, std::shared_ptr<T const> const& result) {
                    here = result && number(*result) == 5 ? answer::value : answer::failed;
                  });
    call(flights, "key", there);
    EXPECT_EQ(flights.stats().waiters, there == answer::none ? 2U : 1U);
    EXPECT_EQ(flights.stats().type_mismatches, there == answer::mismatch ? 1U : 0U);
    EXPECT_TRUE(up->set_value(T{5}));
    EXPECT_EQ(here, answer::value);
    return there;
  }

  module const* module_ = nullptr;
};

TEST_F(R43, a_module_joins_the_programs_flight_where_their_type_is_one) {
  EXPECT_EQ(joins<shared_row>(module_->call_shared), one ? answer::value : answer::mismatch);
  EXPECT_EQ(joins<int>(module_->call_int), one ? answer::value : answer::mismatch);
}

TEST_F(R43, a_type_that_is_split_is_refused) {
  EXPECT_EQ(joins<hidden_row>(module_->call_hidden), names_will_do ? answer::value : answer::mismatch);
}

TEST_F(R43, types_that_have_nothing_but_their_name_in_common_are_two) {
  EXPECT_EQ(joins<row>(module_->call_unnamed), answer::mismatch);
}

TEST_F(R43, what_a_module_throws_is_caught_by_its_type) {
  EXPECT_STREQ(caught(module_->throw_timeout), one ? "timeout_error" : "std::exception");
  EXPECT_STREQ(caught(module_->throw_cancelled), one ? "cancelled_error" : "std::exception");
  EXPECT_STREQ(caught(module_->throw_caller_stopped), one ? "caller_stopped_error" : "std::exception");
  EXPECT_STREQ(caught(module_->throw_own), one ? "shared_error" : "std::exception");
}

TEST_F(R43, what_the_program_throws_is_caught_by_its_type) {
  EXPECT_STREQ(module_->caught(throw_it<cacheflight::timeout_error>),
               one ? "timeout_error" : "std::exception");
  EXPECT_STREQ(module_->caught(throw_it<cacheflight::cancelled_error>),
               one ? "cancelled_error" : "std::exception");
  EXPECT_STREQ(module_->caught(throw_it<cacheflight::caller_stopped_error>),
               one ? "caller_stopped_error" : "std::exception");
  EXPECT_STREQ(module_->caught(throw_it<shared_error>), one ? "shared_error" : "std::exception");
}

}  // namespace
}  // namespace modules
