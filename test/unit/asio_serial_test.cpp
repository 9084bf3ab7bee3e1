// SPDX-License-Identifier: MIT

#include "../support/asking_executor.hpp"
#include <cacheflight/detail/asio/asios_own.hpp>

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/thread_pool.hpp>

#include <gtest/gtest.h>

#include <memory>

namespace {

namespace net = boost::asio;
using cacheflight::detail::asio_front::asios_own;

template <class T>
struct other_allocator : std::allocator<T> {
  other_allocator() = default;
  template <class U>
  other_allocator(other_allocator<U> const&) noexcept {}
  template <class U>
  struct rebind {
    using other = other_allocator<U>;
  };
};

/// The executor itself, a strand on it, and both behind any_io_executor, alone and one behind the other.
template <class Executor>
void expect_own(Executor const& ex, bool own) {
  net::any_io_executor const erased = ex;
  EXPECT_EQ(asios_own(ex), own);
  EXPECT_EQ(asios_own(net::make_strand(ex)), own);
  EXPECT_EQ(asios_own(erased), own);
  EXPECT_EQ(asios_own(net::any_io_executor(net::make_strand(ex))), own);
  EXPECT_EQ(asios_own(net::make_strand(erased)), own);
  EXPECT_EQ(asios_own(net::any_io_executor(net::make_strand(erased))), own);
}

TEST(asio_serial, contexts_of_asios_run_only_asios_code) {
  net::io_context io;
  net::thread_pool pool(1);
  auto const tracked = net::execution::outstanding_work.tracked;
  expect_own(io.get_executor(), true);
  expect_own(pool.get_executor(), true);
  expect_own(net::system_executor(), true);
  expect_own(net::require(io.get_executor(), tracked), true);
  expect_own(net::require(pool.get_executor(), tracked), true);
  EXPECT_TRUE(asios_own(net::prefer(net::any_io_executor(io.get_executor()), tracked)));
  EXPECT_TRUE(
      asios_own(net::require(net::any_io_executor(io.get_executor()), net::execution::blocking.never)));
}

TEST(asio_serial, executors_and_allocators_of_others_run_theirs) {
  net::io_context io;
  expect_own(cacheflight_test::asking(io.get_executor(), [] {}), false);
  EXPECT_FALSE(
      asios_own(net::require(io.get_executor(), net::execution::allocator(other_allocator<void>()))));
  EXPECT_FALSE(asios_own(net::any_io_executor()));
}

}  // namespace
