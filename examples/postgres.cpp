// SPDX-License-Identifier: MIT
//
// PostgreSQL through libpq and Asio: a statement is cancelled when nobody waits for it any more, and not
// before. Usage: postgres CONNINFO, of a server that nobody else uses: "host=/path/of/its/socket
// dbname=postgres".
//
// Prints:
//     100 callers, 1 statement
//     99 have left: 1 statement runs
//     all have left: ERROR:  canceling statement due to user request
//     0 statements run
//     a caller with three seconds: ERROR:  canceling statement due to statement timeout
#include <cacheflight/asio.hpp>

#include <boost/asio.hpp>

#include <libpq-fe.h>

#include <array>
#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace net = boost::asio;
using namespace std::chrono_literals;

/// `PQcancel` opens a connection of its own and waits for the server: it blocks, and goes to a pool.
void cancel_statement(std::shared_ptr<PGcancel> what) {
  std::array<char, 256> message{};
  if (!PQcancel(what.get(), message.data(), message.size())) std::cerr << message.data() << '\n';
}

/// One statement at a time.
class connection {
 public:
  connection(net::any_io_executor ex, char const* where) : db_(PQconnectdb(where), PQfinish), socket_(ex) {
    if (PQstatus(db_.get()) != CONNECTION_OK) throw failure();
    PQsetnonblocking(db_.get(), 1);
    socket_.assign(PQsocket(db_.get()));
  }
  ~connection() { socket_.release(); }  // libpq closes it

  /// The first column of the first row. If the coroutine is cancelled the server is told, and its answer
  /// awaited, so that the connection can be used again.
  net::awaitable<std::string> ask(net::thread_pool& blocking, std::string statement) {
    co_await net::this_coro::throw_if_cancelled(false);
    if (!PQsendQuery(db_.get(), statement.c_str())) throw failure();
    for (bool told = false;;) {
      int const unsent = PQflush(db_.get());
      if (unsent < 0) throw failure();
      if (unsent == 0 && !PQisBusy(db_.get())) break;
      auto const wait =
          unsent ? net::posix::stream_descriptor::wait_write : net::posix::stream_descriptor::wait_read;
      boost::system::error_code error;
      co_await socket_.async_wait(wait, net::redirect_error(net::use_awaitable, error));
      if (error == net::error::operation_aborted && !told) {
        told = true;
        co_await net::this_coro::reset_cancellation_state(net::disable_cancellation());
        std::shared_ptr<PGcancel> const request(PQgetCancel(db_.get()), PQfreeCancel);
        co_await cacheflight::offload(blocking, cancel_statement, request);
      } else if (error) {
        throw boost::system::system_error(error);
      } else if (!PQconsumeInput(db_.get())) {
        throw failure();
      }
    }
    std::string answer, complaint;
    while (auto const result = next()) {
      if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) complaint = PQresultErrorMessage(result.get());
      else if (PQntuples(result.get()) != 0) answer = PQgetvalue(result.get(), 0, 0);
    }
    if (!complaint.empty()) throw std::runtime_error(complaint);
    co_return answer;
  }

 private:
  using result_ptr = std::unique_ptr<PGresult, decltype(&PQclear)>;
  [[nodiscard]] result_ptr next() { return {PQgetResult(db_.get()), PQclear}; }
  [[nodiscard]] std::runtime_error failure() const { return std::runtime_error(PQerrorMessage(db_.get())); }

  std::unique_ptr<PGconn, decltype(&PQfinish)> db_;
  net::posix::stream_descriptor socket_;
};

struct server {
  connection& reports;
  connection& control;
  net::thread_pool& blocking;
  cacheflight::group flights{};
  std::string how_it_ended{};
};

net::awaitable<std::string> load(server& s, std::string statement) {
  try {
    co_return co_await s.reports.ask(s.blocking, std::move(statement));
  } catch (std::exception const& e) {
    s.how_it_ended = e.what();
    throw;
  }
}

net::awaitable<void> get(server& s, std::string statement, std::vector<std::string>& answers) {
  auto const answer = co_await s.flights.run("report", load, std::ref(s), std::move(statement));
  answers.push_back(*answer);
}

/// The server gives up by itself before the last of the callers would, also if our request to cancel is lost; a connection that another statement uses next sets its own limit.
net::awaitable<std::string> load_in_time(cacheflight::task_context context, server& s,
                                         std::string statement) {
  std::chrono::milliseconds left = 0ms;  // no limit
  if (auto const until = context.deadline()) {
    auto const now = std::chrono::steady_clock::now();
    left = std::chrono::floor<std::chrono::milliseconds>(*until - now) - 2s;  // for the answer's way
    if (left <= 0ms) throw std::runtime_error("too late to begin");
  }
  co_await s.reports.ask(s.blocking, "set statement_timeout = " + std::to_string(left.count()));
  co_return co_await load(s, std::move(statement));
}

net::awaitable<void> get_in_three_seconds(server& s, std::string statement) {
  auto const patience = cacheflight::run_options().wait_timeout(3s);
  try {
    (void)co_await s.flights.run("report in time", patience, load_in_time, std::ref(s), std::move(statement));
  } catch (std::exception const& e) {
    std::cout << "a caller with three seconds: " << e.what();
  }
}

net::awaitable<std::string> running(server& s) {
  return s.control.ask(s.blocking,
                       "select count(*) from pg_stat_activity where query like '%pg_sleep%' and "
                       "state = 'active' and pid <> pg_backend_pid()");
}

net::awaitable<void> a_moment() {
  net::steady_timer timer(co_await net::this_coro::executor, 1ms);
  co_await timer.async_wait(net::use_awaitable);
}

net::awaitable<void> show(server& s) {
  auto const ex = co_await net::this_coro::executor;
  co_await s.control.ask(s.blocking, "create sequence executions");

  std::vector<std::string> answers;
  for (int i = 0; i < 100; ++i)
    net::co_spawn(ex, get(s, "select nextval('executions') from pg_sleep(0.1)", answers), net::detached);
  while (answers.size() != 100) co_await a_moment();
  std::cout << answers.size() << " callers, " << answers.back() << " statement\n";

  std::vector<net::cancellation_signal> callers(100);
  for (auto& caller : callers)
    net::co_spawn(ex, get(s, "select 1 from pg_sleep(3600)", answers),
                  net::bind_cancellation_slot(caller.slot(), net::detached));
  while (s.flights.stats().waiters != 100) co_await a_moment();
  std::string now;
  while (now != "1") now = co_await running(s);
  for (int i = 0; i < 99; ++i) callers[static_cast<std::size_t>(i)].emit(net::cancellation_type::terminal);
  while (s.flights.stats().waiters != 1) co_await a_moment();
  std::cout << "99 have left: " << co_await running(s) << " statement runs\n";

  callers.back().emit(net::cancellation_type::terminal);
  while (s.flights.stats().detached != 0 || s.how_it_ended.empty()) co_await a_moment();
  std::cout << "all have left: " << s.how_it_ended << co_await running(s) << " statements run\n";

  co_await get_in_three_seconds(s, "select 1 from pg_sleep(3600)");
}

int main(int count, char** arguments) {
  if (count != 2) {
    std::cerr << "usage: postgres CONNINFO   (see postgres_test)\n";
    return 2;
  }
  try {
    net::io_context io;
    net::thread_pool blocking(1);
    connection reports(io.get_executor(), arguments[1]), control(io.get_executor(), arguments[1]);
    server s{reports, control, blocking};
    std::exception_ptr failure;
    net::co_spawn(io, show(s), [&](std::exception_ptr e) { failure = e; });
    io.run();
    if (failure) std::rethrow_exception(failure);
  } catch (std::exception const& e) {
    std::cerr << e.what() << '\n';
    return 1;
  }
}
