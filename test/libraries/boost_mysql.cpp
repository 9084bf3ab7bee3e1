// SPDX-License-Identifier: MIT

// Boost.MySQL: the task is a coroutine of Asio that takes a connection from a pool. Usage: boost_mysql
// SOCKET, the Unix socket of a server for this alone.

#include "asio_scenarios.hpp"

#include <boost/asio/io_context.hpp>
#include <boost/mysql/any_connection.hpp>
#include <boost/mysql/connection_pool.hpp>
#include <boost/mysql/pool_params.hpp>
#include <boost/mysql/results.hpp>

namespace {

namespace asio = boost::asio;
namespace mysql = boost::mysql;

mysql::pool_params parameters(std::string socket) {
  mysql::pool_params with;
  with.server_address.emplace_unix_path(std::move(socket));
  with.username = "root";
  with.database = "mysql";
  with.ssl = mysql::ssl_mode::disable;
  return with;
}

class client {
 public:
  client(asio::io_context& context, std::string socket) : pool_(context, parameters(std::move(socket))) {
    pool_.async_run(asio::detached);
  }
  asio::awaitable<void> open() { co_return; }  // the pool connects when it is asked
  void close() { pool_.cancel(); }

  asio::awaitable<std::string> get() { return ask("SELECT 'answer' FROM user LIMIT 1", 0); }
  asio::awaitable<std::string> get_wrongly() { return ask("SELECT * FROM nothing", 0); }
  asio::awaitable<long> asked() {
    std::string const count = co_await ask("SHOW GLOBAL STATUS LIKE 'Com_select'", 1);
    co_return std::atol(count.c_str());
  }

 private:
  asio::awaitable<std::string> ask(char const* statement, std::size_t column) {
    mysql::pooled_connection connection = co_await pool_.async_get_connection(asio::use_awaitable);
    mysql::results result;
    co_await connection->async_execute(statement, result, asio::use_awaitable);
    co_return std::string(result.rows().at(0).at(column).as_string());
  }

  mysql::connection_pool pool_;
};

}  // namespace

int main(int, char** arguments) {
  asio::io_context context(1);
  client server(context, arguments[1]);
  return libraries::run_all(context, server);
}
