// SPDX-License-Identifier: MIT

// The fronts that need only the standard library pull in no other front's runtime.

#include <cacheflight/blocking.hpp>
#include <cacheflight/cacheflight.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/future.hpp>
#include <cacheflight/sender.hpp>

#if defined(BOOST_VERSION) || defined(BOOST_ASIO_VERSION) || defined(ASIO_VERSION)
#error "a front of the standard library includes Asio"
#endif

#include <gtest/gtest.h>

#include <type_traits>

TEST(fronts, each_kind_of_task_has_one_front) {
  // All fronts but Asio's are included here; that this compiles shows that no two of them want the same task.
  cacheflight::group flights;
  EXPECT_EQ(*flights.run("k", [] { return 7; }), 7);
  static_assert(cacheflight::detail::has_front<int>);
  static_assert(cacheflight::detail::has_front<std::suspend_never>);
}
