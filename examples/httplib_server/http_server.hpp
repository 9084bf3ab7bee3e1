// SPDX-License-Identifier: MIT
#pragma once

#include <httplib.h>

#include <map>
#include <mutex>
#include <stop_token>
#include <thread>

namespace demo {

/// cpp-httplib's server, but it knows its sockets: so it can tell a handler that its client has hung up, and
/// does not wait for clients who say nothing when it stops.
class http_server : public httplib::Server {
 public:
  /// For a handler, on the thread that it was called on: a token that is asked to stop when the client hangs
  /// up. A client that only shuts down its sending side counts as gone.
  std::stop_token client_gone();

  /// Closes all connections: those with a handler under way that has asked for `client_gone` after its
  /// response, the others at once. To be called after `stop`.
  void close_connections();

 private:
  bool process_and_close_socket(socket_t socket) override;
  bool end_of_request(socket_t socket);
  void forget(socket_t socket);
  void watch(std::stop_token const& stop);

  std::mutex mutex_;
  std::map<socket_t, std::stop_source>
      connections_;       // guarded by mutex_; without a state if no handler is under way
  bool closing_ = false;  // guarded by mutex_
  std::jthread watcher_{[this](std::stop_token const& stop) { watch(stop); }};
};

}  // namespace demo
