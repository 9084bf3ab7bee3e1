// SPDX-License-Identifier: MIT
//
// docs/guides/timeouts.md
#include "docs/harness.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <stdexcept>

namespace docs::timeouts {
using namespace std::chrono_literals;
namespace net = boost::asio;

net::awaitable<int> never() {
  net::steady_timer timer(co_await net::this_coro::executor, net::steady_timer::time_point::max());
  co_await timer.async_wait(net::use_awaitable);
  co_return 0;
}

#include "timeouts/timeouts.inc"
#include "timeouts/what-to-know.inc"

TEST(docs_timeouts, two_callers) {
  printed out;
  two_callers();
  EXPECT_EQ(out.text(), page_says("timeouts/timeouts.out"));
}

TEST(docs_timeouts, refused) {
  printed out;
  refused();
  EXPECT_EQ(out.text(), page_says("timeouts/what-to-know.out"));
}
}  // namespace docs::timeouts
