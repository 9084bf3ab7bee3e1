// SPDX-License-Identifier: MIT
//
// The same user service as ../server, on cpp-httplib: a thread per connection, and handlers that block. See
// ../README.md.
#include "../demo/program.hpp"
#include "../demo/settings.hpp"
#include "database.hpp"
#include "http_server.hpp"
#include "user_service.hpp"

#include <httplib.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <future>
#include <iostream>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <system_error>
#include <thread>

namespace {

// More would not be faster: SQLite computes in this process.
constexpr std::size_t database_connections = 4;

// Listens on 127.0.0.1; port 0 picks a free one. Throws if the port is taken.
unsigned short listen(httplib::Server& server, int port) {
  int listener = -1;
  server.set_address_family(AF_INET);
  // In place of cpp-httplib's own choice, SO_REUSEPORT, with which two servers would share one port.
  server.set_socket_options([&listener](int socket) {
    int const yes = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    listener = socket;
  });
  errno = 0;
  int const bound = port == 0                                ? server.bind_to_any_port("127.0.0.1")
                    : server.bind_to_port("127.0.0.1", port) ? port
                                                             : -1;
  if (bound < 0) {
    throw std::runtime_error("cannot listen on 127.0.0.1:" + std::to_string(port) + ": " +
                             std::generic_category().message(errno));
  }
  // cpp-httplib lets 5 connections queue up, and the system drops the others of a burst for a second.
  if (::listen(listener, SOMAXCONN) != 0) throw std::system_error(errno, std::generic_category(), "listen");
  return static_cast<unsigned short>(bound);
}

void write(demo::reply const& answer, httplib::Response& response) {
  response.status = answer.status;
  response.body = answer.body;
  for (auto const& [name, value] : answer.headers) response.set_header(name, value);
}

void set_up(demo::http_server& server, demo::user_service& users, std::size_t threads) {
  // A connection has its thread until it is closed, also between its requests.
  server.new_task_queue = [threads] { return new httplib::ThreadPool(threads); };
  server.set_keep_alive_max_count(1000);
  server.set_keep_alive_timeout(5);
  server.set_payload_max_length(4 * 1024);
  server.set_tcp_nodelay(true);

  // Requests without a body are answered before cpp-httplib looks for a route; it finds none for the others,
  // when it has read the body, and they are answered then.
  auto const answer = [&users](httplib::Request const& asked, httplib::Response& response,
                               std::stop_token const& gone) {
    auto const arrived = std::chrono::steady_clock::now().time_since_epoch();
    write(users.answer(asked.method, asked.target, gone), response);
    response.set_header(
        "X-Arrived-Us",
        std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(arrived).count()));
  };
  server.set_pre_routing_handler(
      [&server, answer](httplib::Request const& asked, httplib::Response& response) {
        if (asked.method != "GET") return httplib::Server::HandlerResponse::Unhandled;
        answer(asked, response, server.client_gone());
        return httplib::Server::HandlerResponse::Handled;
      });
  server.set_error_handler(httplib::Server::HandlerWithResponse(
      [answer](httplib::Request const& asked, httplib::Response& response) {
        if (!response.body.empty()) return httplib::Server::HandlerResponse::Unhandled;  // our own
        if (response.status == 413) write(demo::problem(413, "the body is too large"), response);
        else if (asked.target.empty() || asked.method == "GET")
          write(demo::problem(response.status, "this is not HTTP"), response);
        else answer(asked, response, {});
        return httplib::Server::HandlerResponse::Handled;
      }));
}

int run(int argc, char** argv) {
  demo::settings chosen{
      .program = "demo_httplib_server",
      .threads = 64,
      .most_threads = 8192,
      .threads_are = "threads: the most connections that are served at a time; others wait"};
  if (!demo::parse(argc, argv, chosen)) return 0;
  demo::allow_descriptors(static_cast<std::size_t>(chosen.threads) + 1024);

  // The main thread alone takes the signals; threads that are started from here on inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  demo::database db(chosen.database, database_connections, std::chrono::milliseconds(chosen.db_latency_ms),
                    std::chrono::milliseconds(chosen.busy_timeout_ms));
  demo::user_service users(db, static_cast<std::size_t>(chosen.max_keys),
                           std::chrono::milliseconds(chosen.timeout_ms), chosen.log_events);
  demo::http_server server;
  set_up(server, users, static_cast<std::size_t>(chosen.threads));
  unsigned short const port = listen(server, chosen.port);

  std::atomic<bool> stopping = false;
  auto serving = std::async(std::launch::async, [&] {
    server.listen_after_bind();  // returns when all its connections are closed
    if (!stopping) kill(getpid(), SIGTERM);
  });
  while (!server.is_running()) std::this_thread::yield();
  demo::announce(port, chosen);

  // Ends in steps: no new connections, no new requests on those that are up, no new flights; time for those
  // who wait; 503 for those who still do; the end. A second signal ends at once.
  int signal = 0;
  sigwait(&signals, &signal);
  stopping = true;
  pthread_sigmask(SIG_UNBLOCK, &signals, nullptr);
  std::cout << "stopping" << std::endl;
  server.stop();
  server.close_connections();
  std::chrono::milliseconds const grace(chosen.grace_ms);
  auto const deadline = std::chrono::steady_clock::now() + grace;
  users.drain(grace);
  (void)serving.wait_until(deadline);  // for requests that are not coalesced
  users.quit();
  serving.get();
  return 0;
}

}  // namespace

int main(int argc, char** argv) { return demo::run_program("demo_httplib_server", run, argc, argv); }
