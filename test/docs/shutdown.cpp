// SPDX-License-Identifier: MIT
//
// docs/guides/shutdown.md
#include "docs/harness.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <functional>
#include <string>

namespace docs::shutdown_guide {
using namespace std::chrono_literals;

#include "shutdown/shutdown.inc"

net::awaitable<int> load_goods(std::string) { co_return 40; }
net::awaitable<int> load_postage(std::string) { co_return 2; }

#include "shutdown/shutdown-2.inc"

net::awaitable<int> total_when_closed(cacheflight::task_context context, cacheflight::group& flights,
                                      std::string order) {
  net::steady_timer timer(co_await net::this_coro::executor);
  while (!flights.closed()) {
    timer.expires_after(1ms);
    co_await timer.async_wait(net::use_awaitable);
  }
  co_return co_await total(context, flights, order);
}

net::awaitable<void> ask_for_total(cacheflight::group& flights, int& answer) {
  answer = *co_await flights.run("total", total_when_closed, std::ref(flights), std::string("7"));
}

net::awaitable<int> takes(std::chrono::hours time) {
  net::steady_timer timer(co_await net::this_coro::executor, time);
  co_await timer.async_wait(net::use_awaitable);
  co_return 1;
}

net::awaitable<void> call(cacheflight::group& flights, std::chrono::hours time) {
  try {
    co_await flights.run("key", takes, time);
    std::cout << "the caller: answered\n";
  } catch (cacheflight::cancelled_error const&) {
    std::cout << "the caller: the flight was cancelled\n";
  }
}

std::string shut_down_with(std::chrono::hours time) {
  printed out;
  net::io_context io;
  cacheflight::group flights;
  net::co_spawn(io, call(flights, time), net::detached);
  net::co_spawn(io, shut_down(flights, 20ms), net::detached);
  io.run();
  return out.text();
}

TEST(docs_shutdown, with_patience_and_without) {
  EXPECT_EQ(shut_down_with(1h), page_says("shutdown/shutdown.out"));
  EXPECT_EQ(shut_down_with(0h), "the caller: answered\nall were answered\n");
}

TEST(docs_shutdown, a_task_gets_what_it_needs_from_a_closed_group) {
  printed out;
  net::io_context io;
  cacheflight::group flights;
  int answer = 0;
  net::co_spawn(io, ask_for_total(flights, answer), net::detached);
  net::co_spawn(io, shut_down(flights, 1min), net::detached);
  io.run();
  EXPECT_EQ(answer, 42);
  EXPECT_EQ(out.text(), "all were answered\n");
}
}  // namespace docs::shutdown_guide
