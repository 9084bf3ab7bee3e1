// SPDX-License-Identifier: MIT
//
// Fires bursts of simultaneous requests for one user at the demo server, with and without CacheFlight, checks
// every response, and prints what it cost. See ../README.md.
#include "program.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/value.hpp>
#include <boost/json/value_to.hpp>
#include <boost/program_options.hpp>
#include <boost/system/system_error.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

namespace net = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
namespace json = boost::json;
namespace po = boost::program_options;
using net::ip::tcp;
using clock_type = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto patience = 120s;

http::request<http::empty_body> get(std::string const& target) {
  http::request<http::empty_body> asked(http::verb::get, target, 11);
  asked.set(http::field::host, "localhost");
  return asked;
}

struct server_stats {
  std::int64_t total_db_calls;
  std::int64_t latency_ms;
};

server_stats read_stats(tcp::endpoint const& server) {
  net::io_context io;
  beast::tcp_stream stream(io);
  boost::system::error_code error;
  stream.connect(server, error);
  if (error)
    throw std::runtime_error("no server on 127.0.0.1:" + std::to_string(server.port()) + ": " +
                             error.message());
  http::write(stream, get("/stats"));
  beast::flat_buffer buffer;
  http::response<http::string_body> answer;
  http::read(stream, buffer, answer);
  json::object const stats = json::parse(answer.body()).as_object();
  return {stats.at("total_db_calls").to_number<std::int64_t>(),
          stats.at("simulated_db_latency_ms").to_number<std::int64_t>()};
}

struct reply {
  std::string error;  // empty: a response came, and is below
  unsigned status = 0;
  std::string body;
  std::int64_t arrived_us = 0;  // at the server, by its clock
  clock_type::duration latency{};
};

// A number of clients who connect first, wait for each other, and then ask all at once.
class burst {
 public:
  burst(tcp::endpoint server, std::string target, std::size_t clients)
      : server_(server),
        target_(std::move(target)),
        replies_(clients),
        gate_(io_, clock_type::time_point::max()) {}

  void run() {
    for (reply& one : replies_) net::co_spawn(io_, client(one), rethrow);
    io_.run();
    wall_ = clock_type::now() - fired_;
  }

  std::vector<reply> const& replies() const { return replies_; }
  clock_type::duration wall() const { return wall_; }

 private:
  static void rethrow(std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  }

  net::awaitable<void> client(reply& mine) {
    beast::tcp_stream stream(io_);
    stream.expires_after(patience);
    try {
      co_await stream.async_connect(server_, net::use_awaitable);
      co_await ask(stream, "/stats",
                   mine);  // now the server has accepted the connection and waits for the next request
    } catch (boost::system::system_error const& error) {
      mine.error = error.code().message();
    }
    co_await everybody();
    if (!mine.error.empty()) co_return;
    try {
      auto const start = clock_type::now();
      co_await ask(stream, target_, mine);
      mine.latency = clock_type::now() - start;
    } catch (boost::system::system_error const& error) {
      mine.error = error.code().message();
    }
  }

  net::awaitable<void> ask(beast::tcp_stream& stream, std::string const& target, reply& into) {
    http::request<http::empty_body> const asked = get(target);
    co_await http::async_write(stream, asked, net::use_awaitable);
    beast::flat_buffer buffer;
    http::response<http::string_body> answer;
    co_await http::async_read(stream, buffer, answer, net::use_awaitable);
    into.status = answer.result_int();
    into.body = answer.body();
    into.arrived_us = std::atoll(std::string(answer["X-Arrived-Us"]).c_str());
  }

  // One thread runs all clients, so that a count and a timer that never fires make a barrier.
  net::awaitable<void> everybody() {
    if (++parked_ == replies_.size()) {
      fired_ = clock_type::now();
      gate_.cancel();
      co_return;
    }
    boost::system::error_code opened;
    co_await gate_.async_wait(net::redirect_error(net::use_awaitable, opened));
  }

  tcp::endpoint server_;
  std::string target_;
  std::vector<reply> replies_;
  net::io_context io_;
  net::steady_timer gate_;
  std::size_t parked_ = 0;
  clock_type::time_point fired_;
  clock_type::duration wall_{};
};

double milliseconds(clock_type::duration time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// `expected` is what all the others got; the first response that is right sets it.
std::string fault(reply const& one, std::int64_t user, std::string& expected) {
  if (!one.error.empty()) return one.error;
  if (one.status != 200) return "status " + std::to_string(one.status);
  boost::system::error_code error;
  json::value const body = json::parse(one.body, error);
  json::value const* const id = body.is_object() ? body.as_object().if_contains("id") : nullptr;
  if (error || !id || *id != user) return "not the user that was asked for: " + one.body;
  if (expected.empty()) expected = one.body;
  return one.body == expected ? "" : "not what the others got: " + one.body;
}

void print_head(std::int64_t user, std::int64_t latency_ms) {
  std::printf(
      "Bursts of simultaneous GET /user/%lld.\nEach database call has a simulated latency of %lld ms.\n\n",
      static_cast<long long>(user), static_cast<long long>(latency_ms));
  std::printf("%-19s %8s %9s %8s %7s %6s %6s\n", "", "", "arrival", "queries", "wall", "p50", "p95");
  std::printf("%-19s %8s %9s %8s %7s %6s %6s %6s\n", "mode", "requests", "spread ms", "executed", "ms", "ms",
              "ms", "errors");
  std::printf("%s\n", std::string(76, '-').c_str());
}

/// One line of the table; false if anything was wrong.
bool measure(tcp::endpoint const& server, std::int64_t user, int requests, bool coalesce,
             std::string& expected) {
  server_stats const before = read_stats(server);
  burst shots(server, "/user/" + std::to_string(user) + (coalesce ? "" : "?coalesce=0"),
              static_cast<std::size_t>(requests));
  shots.run();
  std::int64_t const queries = read_stats(server).total_db_calls - before.total_db_calls;

  std::vector<std::string> faults;
  std::vector<double> latencies;
  std::vector<std::int64_t> arrivals;
  for (reply const& one : shots.replies()) {
    if (std::string what = fault(one, user, expected); !what.empty()) {
      faults.push_back(std::move(what));
      continue;
    }
    latencies.push_back(milliseconds(one.latency));
    arrivals.push_back(one.arrived_us);
  }
  std::sort(latencies.begin(), latencies.end());
  auto const percentile = [&](std::size_t percent) {
    return latencies.empty() ? 0.0 : latencies[(latencies.size() * percent + 99) / 100 - 1];
  };
  std::sort(arrivals.begin(), arrivals.end());
  double const spread =
      arrivals.empty() ? 0.0 : static_cast<double>(arrivals.back() - arrivals.front()) / 1000;

  std::printf("%-19s %8d %9.1f %8lld %7.0f %6.0f %6.0f %6zu\n",
              coalesce ? "with CacheFlight" : "without CacheFlight", requests, spread,
              static_cast<long long>(queries), milliseconds(shots.wall()), percentile(50), percentile(95),
              faults.size());
  for (std::size_t i = 0; i < std::min<std::size_t>(faults.size(), 3); ++i)
    std::printf("  wrong: %s\n", faults[i].c_str());

  bool right = faults.empty();
  if (coalesce && spread >= static_cast<double>(before.latency_ms)) {
    std::printf(
        "  note: the requests arrived over longer than a query takes, so that one query cannot serve them "
        "all\n");
  } else if (std::int64_t const should_be = coalesce ? 1 : requests; queries != should_be) {
    std::printf("  wrong: %lld queries instead of %lld\n", static_cast<long long>(queries),
                static_cast<long long>(should_be));
    right = false;
  }
  std::fflush(stdout);
  return right;
}

int run(int argc, char** argv) {
  int port = 8000;
  std::int64_t user = 42;
  std::vector<int> bursts;
  po::options_description options("Usage: demo_load [options]\n\nOptions", 100);
  auto add = options.add_options();
  add("help", "print this and exit");
  add("port", po::value(&port)->default_value(port), "the server's port on 127.0.0.1");
  add("user", po::value(&user)->default_value(user), "whom to ask for");
  add("requests", po::value(&bursts)->multitoken()->default_value({50, 1000}, "50 1000"),
      "how many at once, for each burst");
  po::variables_map given;
  po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), given);
  if (given.count("help")) {
    std::cout << options;
    return 0;
  }
  po::notify(given);
  demo::require_between(1, port, 65'535, "port");
  for (int const requests : bursts) demo::require_between(1, requests, 20'000, "requests");
  auto const wanted = static_cast<std::size_t>(*std::max_element(bursts.begin(), bursts.end())) + 64;
  if (std::size_t const allowed = demo::allow_descriptors(wanted); allowed < wanted) {
    throw std::runtime_error("needs " + std::to_string(wanted) + " open files, but the hard limit is " +
                             std::to_string(allowed) + " (see `ulimit -Hn`)");
  }

  tcp::endpoint const server(net::ip::address_v4::loopback(), static_cast<unsigned short>(port));
  std::string expected;
  bool right = true;
  print_head(user, read_stats(server).latency_ms);
  for (int const requests : bursts) {
    for (bool const coalesce : {false, true})
      right = measure(server, user, requests, coalesce, expected) && right;
  }
  return right ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) { return demo::run_program("demo_load", run, argc, argv); }
