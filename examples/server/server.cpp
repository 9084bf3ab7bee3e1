// SPDX-License-Identifier: MIT
//
// A user service over HTTP whose concurrent requests for one user share one database call. See ../README.md.
#include "../demo/program.hpp"
#include "../demo/settings.hpp"
#include "database.hpp"
#include "http.hpp"
#include "user_service.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <functional>
#include <iostream>
#include <thread>
#include <vector>

namespace {

namespace net = boost::asio;
using namespace std::chrono_literals;

net::awaitable<void> wait_until_idle(demo::http_server const& server,
                                     std::chrono::steady_clock::time_point deadline) {
  net::steady_timer tick(co_await net::this_coro::executor);
  while (server.busy() > 0 && std::chrono::steady_clock::now() < deadline) {
    tick.expires_after(10ms);
    co_await tick.async_wait(net::use_awaitable);
  }
}

// Ends in steps: no new connections and flights; time for those who wait; 503 for those who still do; the
// end. A second signal ends at once.
net::awaitable<void> stop_on_signal(net::io_context& io, net::signal_set& signals, demo::http_server& server,
                                    demo::user_service& users, std::chrono::milliseconds grace) {
  co_await signals.async_wait(net::use_awaitable);
  signals.clear();
  std::cout << "stopping" << std::endl;
  server.stop();
  auto const deadline = std::chrono::steady_clock::now() + grace;
  if (!co_await users.drain(grace)) co_await users.drain(1s);  // until the queries have stopped
  // Answers are still being sent, and requests that are not coalesced have no flight.
  co_await wait_until_idle(server, deadline + 1s);
  io.stop();
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

int run(int argc, char** argv) {
  demo::settings chosen{.program = "demo_server",
                        .threads = 2,
                        .most_threads = 256,
                        .threads_are = "threads for the connections, and as many for the database"};
  if (!demo::parse(argc, argv, chosen)) return 0;
  demo::allow_descriptors(4096);
  demo::database db(chosen.database, static_cast<std::size_t>(chosen.threads),
                    std::chrono::milliseconds(chosen.db_latency_ms),
                    std::chrono::milliseconds(chosen.busy_timeout_ms));
  demo::user_service users(db, static_cast<std::size_t>(chosen.max_keys),
                           std::chrono::milliseconds(chosen.timeout_ms), chosen.log_events);
  net::io_context io(
      chosen.threads);  // goes first, with the coroutines that are left: they refer to what stands above
  demo::http_server server(io, static_cast<unsigned short>(chosen.port),
                           std::bind_front(&demo::user_service::answer, &users));

  net::signal_set signals(io, SIGINT, SIGTERM);

  server.start();
  net::co_spawn(io, stop_on_signal(io, signals, server, users, std::chrono::milliseconds(chosen.grace_ms)),
                rethrow);
  demo::announce(server.port(), chosen);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < chosen.threads; ++i) threads.emplace_back([&io] { io.run(); });
  }
  db.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return demo::run_program("demo_server", run, argc, argv); }
