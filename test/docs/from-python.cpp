// SPDX-License-Identifier: MIT
//
// docs/guides/from-python.md
#include "docs/harness.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <memory>

namespace docs::from_python {
using namespace std::chrono_literals;
namespace net = boost::asio;

net::awaitable<user> fetch_user_from_db(std::string id) {
  net::steady_timer query(co_await net::this_coro::executor, 20ms);
  co_await query.async_wait(net::use_awaitable);
  co_return user{id, "Ada"};
}
net::awaitable<int> generate_report() {
  net::steady_timer work(co_await net::this_coro::executor, 1h);
  co_await work.async_wait(net::use_awaitable);
  co_return 1;
}
std::string logged;
void log(char const*, char const* type, std::size_t key) {
  logged += std::string(type) + ' ' + std::to_string(key) + '\n';
}

#include "from-python/quick-start.inc"
#include "from-python/cancelling.inc"
#include "from-python/redaction.inc"

TEST(docs_from_python, quick_start) {
  printed out;
  a_hundred_calls();
  EXPECT_EQ(out.text(), page_says("from-python/quick-start.out"));
}

TEST(docs_from_python, cancelling) {
  printed out;
  cancel_it();
  EXPECT_EQ(out.text(), page_says("from-python/cancelling.out"));
}

TEST(docs_from_python, redaction) {
  net::io_context io;
  net::co_spawn(io, redacted_flights.run("user:42", fetch_user_from_db, "42"), net::detached);
  io.run();
  EXPECT_NE(logged.find("task_resolved "), std::string::npos);
  EXPECT_EQ(logged.find("user:"), std::string::npos);
}
}  // namespace docs::from_python
