// SPDX-License-Identifier: MIT
#pragma once

#include "../demo/protocol.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>

#include <functional>
#include <memory>
#include <string_view>

namespace demo {

/// A small HTTP/1.1 server: a coroutine per connection, each on a strand of its own. Every member may be
/// called from any thread.
class http_server {
 public:
  /// Answers one request; runs on the connection's strand, and is cancelled if the client goes away. What it
  /// throws is not answered.
  using handler =
      std::function<boost::asio::awaitable<reply>(std::string_view method, std::string_view target)>;

  /// Listens on 127.0.0.1; port 0 picks a free one. Throws if the port is taken.
  http_server(boost::asio::io_context& io, unsigned short port, handler answer);

  unsigned short port() const noexcept { return port_; }

  void start();

  /// Accepts no more connections, and closes those that are up after the response that they are owed.
  void stop();

  /// Requests that have been read and not been answered.
  int busy() const noexcept;

 private:
  struct shared_state;  // the connections', who may outlive the server

  boost::asio::awaitable<void> accept();
  static boost::asio::awaitable<void> serve(boost::asio::ip::tcp::socket socket,
                                            std::shared_ptr<shared_state> state);

  boost::asio::io_context& io_;
  boost::asio::ip::tcp::acceptor acceptor_;  // on a strand of its own
  unsigned short port_ = 0;
  std::shared_ptr<shared_state> state_;
};

}  // namespace demo
