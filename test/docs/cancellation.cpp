// SPDX-License-Identifier: MIT
//
// docs/guides/cancellation.md
#include "docs/harness.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <chrono>
#include <latch>
#include <memory>
#include <stop_token>
#include <thread>

namespace docs::cancellation {
using namespace std::chrono_literals;
namespace net = boost::asio;

struct report {
  std::string name;
};
std::jthread worker;
std::latch working{1};
void start_thread(cacheflight::work w) {
  worker = std::jthread(w);
  working.count_down();
}

#include "cancellation/cancellation.inc"
#include "cancellation/a-caller-leaves.inc"
#include "cancellation/a-flight-is-cancelled.inc"
#include "cancellation/the-task-is-asked-to-stop.inc"
#include "cancellation/a-caller-leaves-2.inc"  // after the task that it runs

TEST(docs_cancellation, race) {
  printed out;
  net::io_context io;
  cacheflight::group flights;
  net::co_spawn(io, impatient(flights), net::detached);
  io.run();
  EXPECT_EQ(out.text(), page_says("cancellation/a-caller-leaves.out"));
}

TEST(docs_cancellation, stop_token) {
  printed out;
  cacheflight::group flights;
  {
    std::jthread caller(wait_until_stopped, std::ref(flights));
    working.wait();  // a flight that ends before its task was started never runs it
  }
  worker.join();
  EXPECT_NE(out.text().find("this thread was stopped\n"), std::string::npos);
  EXPECT_NE(out.text().find("rendering was stopped\n"), std::string::npos);
}

TEST(docs_cancellation, cancel) {
  printed out;
  net::io_context io;
  cacheflight::group flights;
  net::co_spawn(io, wait_for_report(flights), net::detached);
  net::co_spawn(io, cancel_report(flights), net::detached);
  io.run();
  EXPECT_EQ(out.text(), page_says("cancellation/a-flight-is-cancelled.out"));
}
}  // namespace docs::cancellation
