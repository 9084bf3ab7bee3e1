// SPDX-License-Identifier: MIT
//
// docs/guides/deadlines.md
#include "docs/harness.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <stdexcept>
#include <string>

namespace docs::deadlines {
using namespace std::chrono_literals;
namespace net = boost::asio;

struct request {
  std::string path;
  std::chrono::steady_clock::time_point deadline;
};
bool hangs = false;
net::awaitable<std::string> render(std::string name);

#include "deadlines/deadlines.inc"

/// Takes until one of two callers is left, or for ever.
net::awaitable<std::string> render(std::string name) {
  net::steady_timer timer(co_await net::this_coro::executor);
  do {
    timer.expires_after(1ms);
    co_await timer.async_wait(net::use_awaitable);
  } while (hangs || reports.stats().waiters != 1);
  co_return "report on " + name;
}

#include "deadlines/deadlines-2.inc"

std::string sent;
net::awaitable<std::string> query(std::string statement) {
  sent = std::move(statement);
  co_return "rendered";
}
#include "deadlines/telling-the-upstream.inc"

std::string sent_for(cacheflight::run_options opts) {
  net::io_context io;
  auto const caller = [&]() -> net::awaitable<void> {
    (void)co_await reports.run("sales", opts, render_in_time, "sales");
  };
  net::co_spawn(io, caller, net::detached);
  io.run();
  return sent;
}

TEST(docs_deadlines, telling_the_upstream) {
  EXPECT_EQ(sent_for(cacheflight::run_options().no_timeout()),
            "set statement_timeout = 0; select render('sales')");
  std::string const limited = sent_for(cacheflight::run_options().wait_timeout(10s).timeout(1h));
  EXPECT_TRUE(limited.starts_with("set statement_timeout = 9") ||
              limited.starts_with("set statement_timeout = 10000;"))
      << limited;
}

TEST(docs_deadlines, wrong_and_right) {
  printed out;
  wrong_and_right();
  EXPECT_EQ(out.text(), page_says("deadlines/deadlines.out"));
}

std::string answer_to(std::chrono::milliseconds left) {
  net::io_context io;
  std::string answer;
  auto const into = [&](std::exception_ptr, std::string text) { answer = text; };
  net::co_spawn(io, handle({"sales", std::chrono::steady_clock::now() + left}), into);
  io.run();
  return answer;
}

TEST(docs_deadlines, a_request) {
  EXPECT_EQ(answer_to(1h), "report on sales");
  EXPECT_EQ(answer_to(-1ms), "504, it was late when it came");
  hangs = true;
  EXPECT_EQ(answer_to(10ms), "504, your deadline");
  hangs = false;
}
}  // namespace docs::deadlines
