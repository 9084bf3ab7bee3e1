// SPDX-License-Identifier: MIT

// Boost.Redis: the task is a coroutine of Asio around `async_exec`. Usage: boost_redis PORT, of a server for
// this alone.

#include "asio_scenarios.hpp"

#include <boost/asio/consign.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/redis/connection.hpp>
#include <boost/redis/src.hpp>

#include <cstdlib>

namespace {

namespace asio = boost::asio;
namespace redis = boost::redis;

class client {
 public:
  explicit client(asio::io_context& context) : connection_(context) {}

  void connect(char const* port) {
    redis::config config;
    config.addr = {"127.0.0.1", port};
    config.health_check_interval = std::chrono::seconds::zero();
    connection_.async_run(config, {redis::logger::level::disabled}, asio::detached);
  }
  void close() { connection_.cancel(); }
  asio::awaitable<void> open() {
    co_await exec<redis::ignore_t>("SET", "key", "answer");
    co_await exec<redis::ignore_t>("RPUSH", "list", "item");
  }

  asio::awaitable<std::string> get() { return exec<std::string>("GET", "key"); }
  asio::awaitable<std::string> get_wrongly() { return exec<std::string>("GET", "list"); }
  asio::awaitable<long> asked() {
    std::string const all = co_await exec<std::string>("INFO", "commandstats");
    std::string const name = "cmdstat_get:calls=";
    auto const at = all.find(name);
    co_return at == all.npos ? 0 : std::atol(all.c_str() + at + name.size());
  }

 private:
  template <class T, class... Words>
  asio::awaitable<T> exec(Words... words) {
    redis::request request;
    request.push(words...);
    redis::response<T> response;
    co_await connection_.async_exec(request, response, asio::use_awaitable);
    co_return std::move(std::get<0>(response).value());
  }

  redis::connection connection_;
};

}  // namespace

int main(int, char** arguments) {
  asio::io_context context(1);
  client server(context);
  server.connect(arguments[1]);
  return libraries::run_all(context, server);
}
