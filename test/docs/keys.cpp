// SPDX-License-Identifier: MIT
//
// docs/guides/keys.md
#include <cacheflight/blocking.hpp>

#if __has_include(<cacheflight/keys.hpp>)
#include <cacheflight/keys.hpp>
#endif
#ifdef WITH_REDACT
#include <cacheflight/redact.hpp>
#endif
#if __has_include(<cacheflight/wrap.hpp>)
#include <cacheflight/asio.hpp>
#include <cacheflight/wrap.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#endif

#include "docs/harness.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

namespace docs::keys {
using namespace std::chrono_literals;

struct tile;
std::string render(tile const&) { return "image"; }
std::string logged;
template <class Token>
void log(char const*, char const* type, Token const& token) {
  std::ostringstream line;
  line << type << ' ' << token << '\n';
  logged += line.str();
}

#include "keys/what-belongs-into-a-key.inc"
#include "keys/what-belongs-into-a-key-2.inc"
#include "keys/other-types-than-text.inc"
#include "keys/secrets.inc"

TEST(docs_keys, text) {
  EXPECT_EQ(good_key("7", "de", "admin"), "user:7:locale:de:role:admin");
  EXPECT_EQ(bad_key("7"), "user:7");
  printed out;
  ambiguous();
  EXPECT_EQ(out.text(), page_says("keys/what-belongs-into-a-key.out"));
}

TEST(docs_keys, other_types) { EXPECT_EQ(*image_of({1, 2, 3}), "image"); }

TEST(docs_keys, secrets) {
  cacheflight::group flights(cacheflight::options().on_event(safe_log()));
  (void)flights.run("secret", [] { return 1; });
  EXPECT_NE(logged.find("task_resolved "), std::string::npos);
  EXPECT_EQ(logged.find("secret"), std::string::npos);
}

// These wait for their headers.
#if __has_include(<cacheflight/keys.hpp>)
#include "keys/make_key.inc"
TEST(docs_keys, make_key) {
  printed out;
  print_keys();
  EXPECT_EQ(out.text(), page_says("keys/make_key.out"));
}
#endif
#ifdef WITH_REDACT
#include "keys/secrets-2.inc"
TEST(docs_keys, redactor) {
  logged.clear();
  cacheflight::group flights(cacheflight::options().on_event(safe_log_for_others()));
  (void)flights.run("secret", [] { return 1; });
  EXPECT_NE(logged.find("task_resolved "), std::string::npos);
  EXPECT_EQ(logged.find("secret"), std::string::npos);
}
#endif
#if __has_include(<cacheflight/wrap.hpp>)
namespace wrapped {
namespace net = boost::asio;
net::awaitable<user> fetch_user(std::string id) { co_return user{id, "Ada"}; }
cacheflight::group flights;
struct connection {
  int queries = 0;
} database;
net::awaitable<user> query_user(connection& db, std::string id) {
  ++db.queries;
  co_return user{id, "Grace"};
}
#include "keys/a-typed-wrapper.inc"
#include "keys/a-typed-wrapper-2.inc"
TEST(docs_keys, wrap) {
  printed out;
  net::io_context io;
  net::co_spawn(io, greet("42"), net::detached);
  std::string found;
  net::co_spawn(io, find("42", "trace"), [&](std::exception_ptr, user const& u) { found = u.name; });
  io.run();
  EXPECT_EQ(out.text(), "hello Ada\n");
  EXPECT_EQ(found, "Grace");
  EXPECT_EQ(database.queries, 1);
  EXPECT_FALSE(give_up("42"));
}
}  // namespace wrapped
#endif
}  // namespace docs::keys
