// SPDX-License-Identifier: MIT
//
// 100 concurrent callers of one key, one execution of the task.
//
// Prints:
//     100 callers, 100 right answers, 1 execution(s)
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>

#include <chrono>
#include <iostream>
#include <string>

namespace net = boost::asio;
using namespace std::chrono_literals;

int executions = 0;  // One thread runs everything here, so that plain integers will do.
int answered = 0;

// The expensive work. It takes its arguments by value: the flight may outlive the caller that started it.
net::awaitable<std::string> fetch_user_from_db(std::string id) {
  ++executions;
  net::steady_timer query(co_await net::this_coro::executor, 50ms);
  co_await query.async_wait(net::use_awaitable);
  co_return "user " + id;
}

net::awaitable<void> get_user(cacheflight::group& flights, std::string id) {
  std::shared_ptr<std::string const> const user = co_await flights.run("user:" + id, fetch_user_from_db, id);
  if (*user == "user " + id) ++answered;
}

int main() {
  net::io_context io;
  cacheflight::group flights;
  for (int caller = 0; caller < 100; ++caller) net::co_spawn(io, get_user(flights, "42"), net::detached);
  io.run();
  std::cout << "100 callers, " << answered << " right answers, " << executions << " execution(s)\n";
  return answered == 100 && executions == 1 ? 0 : 1;
}
