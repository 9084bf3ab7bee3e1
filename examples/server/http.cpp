// SPDX-License-Identifier: MIT
#include "http.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <iostream>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace demo {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using net::ip::tcp;
using namespace std::chrono_literals;
using namespace net::experimental::awaitable_operators;
using boost::system::error_code;

namespace {

constexpr std::size_t header_limit = 8 * 1024;
constexpr std::size_t body_limit = 4 * 1024;
constexpr auto idle_limit = 30s;

// Completes when the client has closed the connection. Looks without taking: what arrives may be the client's
// next request, which is read in its turn; from then on nothing is watched any more. A client that only shuts
// down its sending side counts as gone.
net::awaitable<void> client_gone(tcp::socket& socket) {
  socket.non_blocking(true);
  error_code error = net::error::would_block;
  while (error ==
         net::error::
             would_block) {  // with several threads, the news of readiness may be older than the last read
    co_await socket.async_wait(tcp::socket::wait_read, net::use_awaitable);
    char next;
    socket.receive(net::buffer(&next, 1), tcp::socket::message_peek, error);
  }
  if (error) co_return;
  net::steady_timer never(socket.get_executor(), net::steady_timer::time_point::max());
  co_await never.async_wait(net::use_awaitable);
}

// What to tell a client whose request could not be read; nothing if it is gone, idle, or done.
std::optional<reply> complaint(error_code const& error) {
  if (error == http::error::end_of_stream || error == http::error::partial_message) return std::nullopt;
  if (error == http::error::body_limit) return problem(413, "the body is too large");
  if (error == http::error::header_limit || error == http::error::buffer_overflow) {
    return problem(431, "the header is too large");
  }
  if (error.category() == error_code(http::error::bad_method).category())
    return problem(400, "this is not HTTP");
  return std::nullopt;
}

// Closing with unread data in the socket would reset the connection, and the client might never see the
// response.
net::awaitable<void> close(beast::tcp_stream& stream) {
  error_code error;
  stream.socket().shutdown(tcp::socket::shutdown_send, error);
  stream.expires_after(2s);
  std::array<char, 4096> discarded;
  for (std::size_t total = 0; !error && total < 1024 * 1024;) {
    total += co_await stream.async_read_some(net::buffer(discarded),
                                             net::redirect_error(net::use_awaitable, error));
  }
}

// Counts one more while it lives.
class counted {
 public:
  explicit counted(std::atomic<int>& count) : count_(count) { ++count_; }
  ~counted() { --count_; }
  counted(counted const&) = delete;
  counted& operator=(counted const&) = delete;

 private:
  std::atomic<int>& count_;
};

// A connection that breaks is the client's affair; anything else is ours.
void report(std::exception_ptr error) {
  if (!error) return;
  try {
    std::rethrow_exception(error);
  } catch (boost::system::system_error const&) {
  } catch (std::exception const& failure) {
    std::cerr << "connection: " << failure.what() << std::endl;
  }
}

}  // namespace

struct http_server::shared_state {
  explicit shared_state(handler given) : answer(std::move(given)) {}

  handler answer;
  std::atomic<bool> stopping = false;
  std::atomic<int> busy = 0;
};

net::awaitable<void> http_server::serve(tcp::socket socket, std::shared_ptr<shared_state> state) {
  beast::tcp_stream stream(std::move(socket));
  beast::flat_buffer buffer(header_limit + body_limit);
  for (bool keep_alive = true; keep_alive;) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(header_limit);
    parser.body_limit(body_limit);
    error_code error;
    stream.expires_after(idle_limit);
    co_await http::async_read(stream, buffer, parser, net::redirect_error(net::use_awaitable, error));
    auto const arrived = std::chrono::steady_clock::now().time_since_epoch();
    counted const one_more(state->busy);

    std::optional<reply> answer = complaint(error);
    if (!error) {
      stream.expires_never();
      // The handler turns its errors into replies: `||` waits for a *success*, and after an error would wait
      // for the client to go.
      std::string_view const method(parser.get().method_string().data(), parser.get().method_string().size());
      std::string_view const target(parser.get().target().data(), parser.get().target().size());
      std::variant<reply, std::monostate> outcome =
          co_await (state->answer(method, target) || client_gone(stream.socket()));
      if (auto* const answered = std::get_if<reply>(&outcome)) answer = std::move(*answered);
    }
    if (!answer) co_return;

    keep_alive = !error && parser.keep_alive() && !state->stopping;
    http::response<http::string_body> response(static_cast<http::status>(answer->status),
                                               parser.get().version());
    for (auto const& [name, value] : answer->headers) response.set(name, value);
    response.body() = std::move(answer->body);
    response.keep_alive(keep_alive);
    response.set("X-Arrived-Us",
                 std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(arrived).count()));
    response.prepare_payload();
    stream.expires_after(idle_limit);
    co_await http::async_write(stream, response, net::use_awaitable);
  }
  co_await close(stream);
}

http_server::http_server(net::io_context& io, unsigned short port, handler answer)
    : io_(io), acceptor_(net::make_strand(io)), state_(std::make_shared<shared_state>(std::move(answer))) {
  tcp::endpoint const endpoint(net::ip::address_v4::loopback(), port);
  error_code error;
  acceptor_.open(endpoint.protocol());
  acceptor_.set_option(net::socket_base::reuse_address(true));
  acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(net::socket_base::max_listen_connections, error);
  if (error)
    throw std::runtime_error("cannot listen on 127.0.0.1:" + std::to_string(port) + ": " + error.message());
  port_ = acceptor_.local_endpoint().port();
}

void http_server::start() { net::co_spawn(acceptor_.get_executor(), accept(), report); }

void http_server::stop() {
  state_->stopping = true;
  net::post(acceptor_.get_executor(), [this] { acceptor_.close(); });
}

int http_server::busy() const noexcept { return state_->busy; }

net::awaitable<void> http_server::accept() {
  while (acceptor_.is_open()) {
    net::any_io_executor const strand = net::make_strand(io_);
    error_code error;
    tcp::socket socket =
        co_await acceptor_.async_accept(strand, net::redirect_error(net::use_awaitable, error));
    if (!error) {
      net::co_spawn(strand, serve(std::move(socket), state_), report);
    } else if (acceptor_.is_open()) {  // out of descriptors, most likely: it passes
      net::steady_timer pause(acceptor_.get_executor(), 100ms);
      co_await pause.async_wait(net::use_awaitable);
    }
  }
}

}  // namespace demo
