// SPDX-License-Identifier: MIT
//
// docs/guides/quick-start.md
#include "docs/harness.hpp"
#include "docs/senders.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/future.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <functional>
#include <memory>

// not compiled here: from-an-empty-folder: commands.py builds and runs that program as the page says

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wsubobject-linkage"  // g++ takes a page's block for a header
#endif

namespace docs::quick_start {
using namespace std::chrono_literals;

namespace in_asio {
#include "quick-start/boostasio-coroutines.inc"
#include "quick-start/boostasio-coroutines-2.inc"

TEST(docs_quick_start, asio) {
  printed out;
  greet_three_times();
  EXPECT_EQ(out.text(), page_says("quick-start/boostasio-coroutines.out"));
}

TEST(docs_quick_start, asio_callback) {
  printed out;
  net::io_context io;
  cacheflight::group flights;
  greet_by_callback(io, flights);
  io.run();
  EXPECT_EQ(out.text(), "hello Ada, from a callback\n");
}
}  // namespace in_asio

namespace on_threads {
#include "quick-start/threads.inc"
#include "quick-start/threads-2.inc"
#include "quick-start/futures.inc"

user load_user(std::string id) { return {id, "Ada"}; }

TEST(docs_quick_start, threads) {
  printed out;
  cacheflight::group flights;
  print_user(flights, "42");
  pool workers;
  print_user_from_pool(flights, workers, "42");
  EXPECT_EQ(out.text(), "Ada\nAda\n");
}

TEST(docs_quick_start, futures) {
  cacheflight::group flights;
  pool workers;
  EXPECT_EQ(name_later(flights, workers, "42"), "Ada");
}
}  // namespace on_threads

namespace in_coroutines {
#include "quick-start/any-other-c20-coroutine.inc"
#include "quick-start/any-other-c20-coroutine-2.inc"

task<user> fetch_user(std::string id) { co_return user{id, "Ada"}; }

TEST(docs_quick_start, coroutines) {
  cacheflight::group flights;
  std::optional<std::string> name;
  run_into(name, name_of(flights, "42"));
  EXPECT_EQ(name, "Ada");
}

TEST(docs_quick_start, coroutines_resumed_on_a_loop) {
  cacheflight::group flights;
  std::optional<std::string> name;
  {
    event_loop loop;
    run_into(name, name_on_loop(flights, loop, "42"));
  }
  EXPECT_EQ(name, "Ada");
}
}  // namespace in_coroutines

namespace by_callback {
#include "quick-start/callbacks.inc"

void load_user(std::string id, cacheflight::completion<user> done) { done.set_value(user{id, "Ada"}); }

TEST(docs_quick_start, callbacks) {
  printed out;
  cacheflight::group flights;
  print_user(flights, "42");
  EXPECT_EQ(out.text(), "Ada\n");
}
}  // namespace by_callback

namespace with_senders {

void wait_until_done() {}

#include "quick-start/senders.inc"

TEST(docs_quick_start, senders) {
  cacheflight::group flights;
  std::string name;
  ask(flights, "42", receiver{&name});
  EXPECT_EQ(name, "Ada");
}
}  // namespace with_senders
}  // namespace docs::quick_start
