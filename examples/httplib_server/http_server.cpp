// SPDX-License-Identifier: MIT
#include "http_server.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <string>
#include <vector>

namespace demo {

namespace {

using namespace std::chrono_literals;

// How long a client that has hung up may go unnoticed.
constexpr auto look_every = 20ms;

thread_local socket_t this_connection = -1;

bool ready(socket_t socket, short events, std::chrono::milliseconds limit) {
  pollfd one{socket, events, 0};
  return poll(&one, 1, static_cast<int>(limit.count())) == 1;
}

// A connection's bytes.
class socket_stream final : public httplib::Stream {
 public:
  using Stream::write;

  socket_stream(socket_t socket, std::chrono::seconds limit) : socket_(socket), limit_(limit) {}

  bool is_readable() const override { return is_readable_within(limit_); }
  bool is_readable_within(std::chrono::milliseconds limit) const {
    return next_ != end_ || ready(socket_, POLLIN, limit);
  }
  bool is_writable() const override { return ready(socket_, POLLOUT, limit_); }

  // Through a buffer, because cpp-httplib takes the header byte by byte.
  ssize_t read(char* to, std::size_t size) override {
    if (!is_readable()) return -1;
    if (next_ == end_) {
      ssize_t const got = recv(socket_, buffer_.data(), buffer_.size(), 0);
      if (got <= 0) return got;
      next_ = buffer_.data();
      end_ = next_ + got;
    }
    auto const taken = std::min(static_cast<std::ptrdiff_t>(size), end_ - next_);
    std::copy_n(next_, taken, to);
    next_ += taken;
    return taken;
  }
  ssize_t write(char const* from, std::size_t size) override {
    return is_writable() ? send(socket_, from, size, MSG_NOSIGNAL) : -1;
  }

  void get_remote_ip_and_port(std::string&, int&) const override {}
  void get_local_ip_and_port(std::string&, int&) const override {}
  socket_t socket() const override { return socket_; }

 private:
  socket_t socket_;
  std::chrono::milliseconds limit_;
  std::array<char, 4096> buffer_;
  char const* next_ = nullptr;  // of what is buffered
  char const* end_ = nullptr;
};

// Closing with unread data in the socket would reset the connection, and the client might never see the
// response.
void read_to_end(socket_t socket) {
  shutdown(socket, SHUT_WR);
  auto const deadline = std::chrono::steady_clock::now() + 2s;
  std::array<char, 4096> discarded;
  while (std::chrono::steady_clock::now() < deadline && ready(socket, POLLIN, 2s) &&
         recv(socket, discarded.data(), discarded.size(), 0) > 0) {
  }
}

}  // namespace

// Called by cpp-httplib for each connection, on a thread of its pool.
bool http_server::process_and_close_socket(socket_t socket) {
  this_connection = socket;
  socket_stream stream(socket, std::chrono::seconds(read_timeout_sec_));
  bool closed = false;
  for (auto left = keep_alive_max_count_; left > 0 && !closed && end_of_request(socket); --left) {
    if (!stream.is_readable_within(std::chrono::seconds(keep_alive_timeout_sec_))) break;
    if (!process_request(stream, left == 1, closed, nullptr)) break;
  }
  if (end_of_request(socket)) read_to_end(socket);
  forget(socket);
  ::close(socket);
  return true;
}

// No handler is under way; true if the connection may be kept.
bool http_server::end_of_request(socket_t socket) {
  std::lock_guard const lock(mutex_);
  connections_.insert_or_assign(socket, std::stop_source(std::nostopstate));
  return !closing_;
}

void http_server::forget(socket_t socket) {
  std::lock_guard const lock(mutex_);
  connections_.erase(socket);
}

std::stop_token http_server::client_gone() {
  std::stop_source request;
  std::lock_guard const lock(mutex_);
  connections_.insert_or_assign(this_connection, request);
  return request.get_token();
}

void http_server::close_connections() {
  std::lock_guard const lock(mutex_);
  closing_ = true;
  for (auto const& [socket, request] : connections_) {
    if (!request.stop_possible()) shutdown(socket, SHUT_RD);
  }
}

void http_server::watch(std::stop_token const& stop) {
  std::condition_variable_any never;
  std::unique_lock lock(mutex_);
  while (!never.wait_for(lock, stop, look_every, [&stop] { return stop.stop_requested(); })) {
    std::vector<pollfd> sockets;
    std::vector<std::stop_source> requests;
    for (auto const& [socket, request] : connections_) {
      if (!request.stop_possible()) continue;
      sockets.push_back({socket, POLLRDHUP, 0});
      requests.push_back(request);
    }
    poll(sockets.data(), sockets.size(), 0);
    lock.unlock();
    for (std::size_t i = 0; i < sockets.size(); ++i) {
      if (sockets[i].revents != 0) requests[i].request_stop();
    }
    lock.lock();
  }
}

}  // namespace demo
