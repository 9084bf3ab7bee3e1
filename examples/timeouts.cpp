// SPDX-License-Identifier: MIT
//
// Two limits that are not the same: `timeout` is for the work, and when it runs out everybody is told;
// `wait_timeout` is for one caller's patience, and the others get their answer all the same. A time-out that
// the task itself reports is neither.
//
// Prints:
//     a server that never answers:
//       caller 1: the work took too long
//       caller 2: the work took too long
//     a slow server:
//       caller 3: I do not want to wait any longer
//       caller 4: an answer
//     a server that says that it timed out:
//       caller 5: the server failed: Connection timed out
//     1 timed out, 1 resolved, 1 rejected
#include <cacheflight/asio.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/error_code.hpp>

#include <chrono>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <system_error>

namespace net = boost::asio;
using namespace std::chrono_literals;

net::awaitable<std::string> never_answers() {
  net::steady_timer answer(co_await net::this_coro::executor, net::steady_timer::time_point::max());
  co_await answer.async_wait(
      net::use_awaitable);  // ends when the flight times out: the task is asked to stop
  co_return "";
}

net::awaitable<std::string> answers_at(net::steady_timer& moment) {
  boost::system::error_code reached;
  co_await moment.async_wait(net::redirect_error(net::use_awaitable, reached));
  co_return "an answer";
}

net::awaitable<std::string> says_timed_out() {
  throw std::system_error(std::make_error_code(std::errc::timed_out));
  co_return "";
}

template <class Task>
net::awaitable<void> caller(cacheflight::group& flights, int number, cacheflight::run_options limits,
                            Task task, net::steady_timer& left) {
  try {
    std::shared_ptr<std::string const> const answer = co_await flights.run("key", limits, task);
    std::cout << "  caller " << number << ": " << *answer << "\n";
  } catch (cacheflight::timeout_error const& error) {
    bool const work = error.scope() == cacheflight::timeout_scope::flight;
    std::cout << "  caller " << number << ": "
              << (work ? "the work took too long" : "I do not want to wait any longer") << "\n";
  } catch (std::system_error const& error) {
    std::cout << "  caller " << number << ": the server failed: " << error.code().message() << "\n";
  }
  left.cancel();
}

int main() {
  net::io_context io;  // One thread runs everything here.
  cacheflight::group flights(cacheflight::options().default_timeout(50ms));
  net::steady_timer somebody_left(io, net::steady_timer::time_point::max());
  cacheflight::run_options const defaults;
  // For this call the group's limit does not hold: the limit of a flight is that of the caller who starts it.
  cacheflight::run_options const patient = cacheflight::run_options().no_timeout();
  cacheflight::run_options const impatient = cacheflight::run_options().no_timeout().wait_timeout(20ms);

  std::cout << "a server that never answers:\n";
  for (int number : {1, 2})
    net::co_spawn(io, caller(flights, number, defaults, never_answers, somebody_left), net::detached);
  io.run();

  std::cout << "a slow server:\n";  // which answers when the impatient caller has left
  io.restart();
  auto const slow = std::bind_front(answers_at, std::ref(somebody_left));
  net::co_spawn(io, caller(flights, 3, impatient, slow, somebody_left), net::detached);
  net::co_spawn(io, caller(flights, 4, patient, slow, somebody_left), net::detached);
  io.run();

  std::cout << "a server that says that it timed out:\n";
  io.restart();
  net::co_spawn(io, caller(flights, 5, defaults, says_timed_out, somebody_left), net::detached);
  io.run();

  cacheflight::statistics const books = flights.stats();
  std::cout << books.timed_out << " timed out, " << books.resolved << " resolved, " << books.rejected
            << " rejected\n";
  return books.timed_out == 1 && books.resolved == 1 && books.rejected == 1 ? 0 : 1;
}
