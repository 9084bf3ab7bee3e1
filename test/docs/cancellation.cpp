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
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <thread>

namespace docs::cancellation {
using namespace std::chrono_literals;
namespace net = boost::asio;

struct report {
  std::string name;
};
std::jthread worker;
std::optional<std::latch> working;
void start_thread(cacheflight::work w) {
  worker = std::jthread(w);
  working->count_down();
}

#include "cancellation/cancellation.inc"
#include "cancellation/a-caller-leaves.inc"
#include "cancellation/a-flight-is-cancelled.inc"
#include "cancellation/the-task-is-asked-to-stop.inc"
#include "cancellation/a-caller-leaves-2.inc"  // after the task that it runs
#include "cancellation/in-asio.inc"

TEST(docs_cancellation, race) {
  printed out;
  net::io_context io;
  cacheflight::group flights;
  net::co_spawn(io, impatient(flights), net::detached);
  io.run();
  EXPECT_EQ(out.text(), page_says("cancellation/a-caller-leaves.out"));
}

net::awaitable<report> failing() {
  net::steady_timer work(co_await net::this_coro::executor, 1ms);
  co_await work.async_wait(net::use_awaitable);
  throw std::runtime_error("the task failed");
}

TEST(docs_cancellation, race_does_not_keep_an_error_back) {
  net::io_context io;
  cacheflight::group flights;
  std::string said;
  net::co_spawn(io, flights.run("report", failing), net::detached);
  net::co_spawn(io, impatient(flights), [&](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (std::exception const& e) {
      said = e.what();
    }
  });
  io.run();
  EXPECT_EQ(said, "the task failed");
}

TEST(docs_cancellation, offload) {
  net::io_context io;
  net::thread_pool pool(1);
  cacheflight::group flights;
  int words = 0;
  cacheflight::async_run(flights, io, "words", words_of, std::ref(pool), "three small words",
                         [&](std::exception_ptr, std::shared_ptr<int const> n) { words = n ? *n : -1; });
  io.run();
  EXPECT_EQ(words, 3);
}

TEST(docs_cancellation, stop_token) {
  printed out;
  cacheflight::group flights;
  // The rendering may be stopped before it has begun: then it never begins.
  while (out.text().find("rendering was stopped\n") == std::string::npos) {
    working.emplace(1);
    {
      std::jthread caller(wait_until_stopped, std::ref(flights));
      working->wait();
      std::this_thread::yield();
    }
    worker.join();
  }
  EXPECT_NE(out.text().find("this thread was stopped\n"), std::string::npos);
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
