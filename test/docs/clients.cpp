// SPDX-License-Identifier: MIT
//
// docs/guides/clients.md
#include "docs/harness.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>

#include <array>
#include <chrono>
#include <string>

namespace docs::clients {
using namespace std::chrono_literals;
namespace net = boost::asio;

int fetched = 0;
bool stopped = false;
net::awaitable<user> fetch_user(std::string id) {
  ++fetched;
  net::steady_timer query(co_await net::this_coro::executor, id == "slow" ? 1h : 0h);
  try {
    co_await query.async_wait(net::use_awaitable);
  } catch (boost::system::system_error const&) {
    stopped = true;
    throw;
  }
  co_return user{id, "Ada"};
}

#include "clients/clients-that-go-away.inc"

struct connection {
  explicit connection(net::io_context& io) : near(io), far(io) {
    net::ip::tcp::acceptor acceptor(io, {net::ip::address_v4::loopback(), 0});
    near.connect(acceptor.local_endpoint());
    acceptor.accept(far);
  }
  net::ip::tcp::socket near, far;
};

TEST(docs_clients, answered) {
  net::io_context io;
  cacheflight::group flights;
  connection one(io);
  net::co_spawn(io, serve(std::move(one.far), flights, "42"), net::detached);
  io.run();
  std::string text;
  boost::system::error_code ended;
  net::read(one.near, net::dynamic_buffer(text), ended);
  EXPECT_EQ(text, "200 Ada\n");
}

TEST(docs_clients, the_last_one_that_goes_stops_the_work) {
  net::io_context io;
  cacheflight::group flights;
  connection first(io), second(io);
  fetched = 0;
  net::co_spawn(io, serve(std::move(first.far), flights, "slow"), net::detached);
  net::co_spawn(io, serve(std::move(second.far), flights, "slow"), net::detached);
  while (flights.stats().waiters != 2) io.run_one();
  first.near.close();
  while (flights.stats().waiters != 1) io.run_one();
  EXPECT_FALSE(stopped);
  second.near.close();
  io.run();
  EXPECT_TRUE(stopped);
  EXPECT_EQ(fetched, 1);
}
}  // namespace docs::clients
