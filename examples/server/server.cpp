// SPDX-License-Identifier: MIT
//
// A user service over HTTP whose concurrent requests for one user share one database call. See ../README.md.
#include "database.hpp"
#include "http.hpp"
#include "program.hpp"
#include "user_service.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/program_options.hpp>

#include <chrono>
#include <csignal>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

namespace {

namespace net = boost::asio;
namespace po = boost::program_options;
using namespace std::chrono_literals;

struct settings {
  int port = 8000;
  int threads = 2;
  std::string database;
  // Long enough for the shell on a slow machine to start fifty `curl` processes meanwhile.
  int db_latency_ms = 1000;
  int max_keys = 10'000;
  int timeout_ms = 5000;
  bool log_events = false;
};

std::string default_database() {
  std::error_code error;
  auto const program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / "demo_users.sqlite3").string();
}

/// False if there is nothing to do but to have printed the help.
bool parse(int argc, char** argv, settings& chosen) {
  po::options_description options("Usage: demo_server [options]\n\nOptions", 100);
  auto add = options.add_options();
  add("help", "print this and exit");
  add("port", po::value(&chosen.port)->default_value(chosen.port), "port on 127.0.0.1; 0 picks a free one");
  add("threads", po::value(&chosen.threads)->default_value(chosen.threads),
      "threads for the connections, and as many for the database");
  add("database", po::value(&chosen.database)->default_value(default_database(), "beside this program"),
      "SQLite file, made if missing");
  add("db-latency-ms", po::value(&chosen.db_latency_ms)->default_value(chosen.db_latency_ms),
      "SIMULATED network latency of each call to the database");
  add("max-keys", po::value(&chosen.max_keys)->default_value(chosen.max_keys),
      "users in flight at once; beyond that 503");
  add("timeout-ms", po::value(&chosen.timeout_ms)->default_value(chosen.timeout_ms),
      "time limit of a flight; beyond that 504");
  add("log-events", po::bool_switch(&chosen.log_events), "log all of CacheFlight's events instead of failures only");

  po::variables_map given;
  po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), given);
  if (given.count("help")) {
    std::cout << options;
    return false;
  }
  po::notify(given);
  demo::require_between(0, chosen.port, 65'535, "port");
  demo::require_between(1, chosen.threads, 256, "threads");
  demo::require_between(0, chosen.db_latency_ms, 3'600'000, "db-latency-ms");
  demo::require_between(1, chosen.max_keys, 1'000'000'000, "max-keys");
  demo::require_between(1, chosen.timeout_ms, 3'600'000, "timeout-ms");
  return true;
}

net::awaitable<void> wait_until_idle(demo::http_server const& server, std::chrono::milliseconds limit) {
  auto const deadline = std::chrono::steady_clock::now() + limit;
  net::steady_timer tick(co_await net::this_coro::executor);
  while (server.busy() > 0 && std::chrono::steady_clock::now() < deadline) {
    tick.expires_after(10ms);
    co_await tick.async_wait(net::use_awaitable);
  }
}

// Ends in steps: no new connections; time for those who wait; 503 for those who still do; the end. A second signal ends
// at once.
net::awaitable<void> stop_on_signal(net::io_context& io, demo::http_server& server, demo::user_service& users) {
  net::signal_set signals(io, SIGINT, SIGTERM);
  co_await signals.async_wait(net::use_awaitable);
  signals.clear();
  std::cout << "stopping" << std::endl;
  server.stop();
  co_await wait_until_idle(server, 5s);
  users.cancel_all();
  co_await wait_until_idle(server, 1s);
  io.stop();
}

void rethrow(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

void announce(unsigned short port, settings const& chosen) {
  std::cout << "listening on http://127.0.0.1:" << port << " (" << chosen.threads
            << " threads, simulated database latency " << chosen.db_latency_ms
            << " ms); Ctrl-C stops it\n\nTry, in another terminal:\n\n"
            << "  for i in $(seq 1 50); do curl -s http://localhost:" << port << "/user/42 & done; wait\n"
            << "  curl http://localhost:" << port << "/stats\n\n"
            << "total_db_calls is then 1: fifty requests, one query.\n"
            << std::endl;
}

int run(int argc, char** argv) {
  settings chosen;
  if (!parse(argc, argv, chosen)) return 0;
  demo::allow_descriptors(4096);
  demo::database db(chosen.database, static_cast<std::size_t>(chosen.threads),
                    std::chrono::milliseconds(chosen.db_latency_ms));
  demo::user_service users(db, static_cast<std::size_t>(chosen.max_keys), std::chrono::milliseconds(chosen.timeout_ms),
                           chosen.log_events);
  net::io_context io(chosen.threads);  // goes first, with the coroutines that are left: they refer to what stands above
  demo::http_server server(io, static_cast<unsigned short>(chosen.port),
                           std::bind_front(&demo::user_service::answer, &users));

  server.start();
  net::co_spawn(io, stop_on_signal(io, server, users), rethrow);
  announce(server.port(), chosen);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < chosen.threads; ++i) threads.emplace_back([&io] { io.run(); });
  }
  db.join();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return demo::run_program("demo_server", run, argc, argv); }
