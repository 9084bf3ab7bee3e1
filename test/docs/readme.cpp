// SPDX-License-Identifier: MIT
//
// README.md
#include "docs/harness.hpp"
#include "docs/senders.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <memory>
#include <stop_token>

#pragma GCC diagnostic ignored "-Wunused-result"     // the README is brief: it calls run for its effect,
#pragma GCC diagnostic ignored "-Wunused-parameter"  // and leaves bodies out

namespace docs::readme {
using namespace std::chrono_literals;

namespace quick_start {
namespace net = boost::asio;
#include "readme/quick-start.inc"

int executions = 0;
net::awaitable<user> fetch_user(std::string id) {
  ++executions;
  co_await net::post(co_await net::this_coro::executor, net::use_awaitable);
  co_return user{id, "Ada"};
}

TEST(docs_readme, quick_start) {
  net::io_context io;
  for (int i = 0; i < 100; ++i) net::co_spawn(io, handle("42"), net::detached);
  io.run();
  EXPECT_EQ(executions, 1);
}
}  // namespace quick_start

namespace threads {
int loaded = 0;
user load_user(std::string id) {
  ++loaded;
  return {id, "Ada"};
}

TEST(docs_readme, threads) {
  cacheflight::group flights;
  std::string const id = "42";
  std::jthread pool;
  auto const submit = [&](cacheflight::work work) { pool = std::jthread(std::move(work)); };
#include "readme/the-other-fronts.inc"
  EXPECT_EQ(u->name, "Ada");
  EXPECT_EQ(loaded, 2);
}
}  // namespace threads

namespace in_coroutines {
task<user> fetch_user(std::string id) { co_return user{id, "Ada"}; }

task<std::string> both(cacheflight::group& flights, event_loop& loop) {
  std::string const id = "42";
  auto const scheduler = [&loop](auto resume) { loop.post(resume); };
#include "readme/the-other-fronts-2.inc"
  co_return u->name;
}

TEST(docs_readme, coroutines) {
  cacheflight::group flights;
  std::optional<std::string> names;
  {
    event_loop loop;
    run_into(names, both(flights, loop));
  }
  EXPECT_EQ(names, "Ada");
}
}  // namespace in_coroutines

namespace callbacks {
int loaded = 0;
void load_user(std::string id, cacheflight::completion<user> done) {
  ++loaded;
  done.set_value(user{id, "Ada"});
}

TEST(docs_readme, callbacks) {
  cacheflight::group flights;
  std::string const id = "42";
#include "readme/the-other-fronts-3.inc"
  EXPECT_EQ(loaded, 1);
}
}  // namespace callbacks

namespace senders {
TEST(docs_readme, senders) {
  cacheflight::group flights;
  std::string const id = "42";
  std::string name;
  struct receiver const receiver{&name};
#include "readme/the-other-fronts-4.inc"
  EXPECT_EQ(name, "Ada");
}
}  // namespace senders

}  // namespace docs::readme
