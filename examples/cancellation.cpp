// SPDX-License-Identifier: MIT
//
// Who leaves, and what ends: a caller that gives up leaves alone, `cancel(key)` ends the flight for
// everybody, and when the last caller has left nobody wants the result any more, so that the task is stopped.
//
// Prints:
//     three callers, 1 execution(s), 3 wait
//     caller 1, who came first, hangs up
//       caller 1: I have left
//     2 wait, 0 queries stopped
//     the report is withdrawn: cancel("report") is true
//       caller 2: called off, I may try again
//       caller 3: called off, I may try again
//     0 wait, 1 queries stopped
//     caller 4 asks again, 2 execution(s), and is the last to leave
//       caller 4: I have left
//     0 wait, 2 queries stopped
#include <cacheflight/asio.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>

#include <iostream>
#include <memory>
#include <string>

namespace net = boost::asio;

int executions = 0;  // One thread runs everything here, so that plain integers will do.
int stopped = 0;

// A query that takes for ever. It is told to stop by the means of Asio: its timer is cancelled. A task that
// computes would take a cacheflight::stop_flag as its first parameter, and look at it.
net::awaitable<std::string> query() {
  ++executions;
  net::steady_timer answer(co_await net::this_coro::executor, net::steady_timer::time_point::max());
  try {
    co_await answer.async_wait(net::use_awaitable);
  } catch (boost::system::system_error const&) {
    ++stopped;
    throw;
  }
  co_return "the report";
}

net::awaitable<void> caller(cacheflight::group& flights, int number) {
  try {
    std::shared_ptr<std::string const> const report = co_await flights.run("report", query);
    std::cout << "  caller " << number << ": " << *report << "\n";
  } catch (
      cacheflight::caller_cancelled_error const&) {  // this caller was cancelled; the others do not notice
    std::cout << "  caller " << number << ": I have left\n";
  } catch (cacheflight::cancelled_error const&) {  // the flight was, for all who waited
    std::cout << "  caller " << number << ": called off, I may try again\n";
  }
}

void go_on(net::io_context& io, cacheflight::group const& flights) {
  io.poll();  // until nobody can go on
  std::cout << flights.stats().waiters << " wait, " << stopped << " queries stopped\n";
}

int main() {
  net::io_context io;
  cacheflight::group flights;
  net::cancellation_signal hang_up;

  net::co_spawn(io, caller(flights, 1), net::bind_cancellation_slot(hang_up.slot(), net::detached));
  net::co_spawn(io, caller(flights, 2), net::detached);
  net::co_spawn(io, caller(flights, 3), net::detached);
  io.poll();
  std::cout << "three callers, " << executions << " execution(s), " << flights.stats().waiters << " wait\n";

  std::cout << "caller 1, who came first, hangs up\n";
  hang_up.emit(net::cancellation_type::terminal);
  go_on(io, flights);

  bool const cancelled = flights.cancel("report");
  std::cout << "the report is withdrawn: cancel(\"report\") is " << std::boolalpha << cancelled << "\n";
  bool const free = !flights.has("report");  // at once, whether or not the query obeys
  go_on(io, flights);

  io.restart();
  net::co_spawn(io, caller(flights, 4), net::bind_cancellation_slot(hang_up.slot(), net::detached));
  io.poll();
  std::cout << "caller 4 asks again, " << executions << " execution(s), and is the last to leave\n";
  hang_up.emit(net::cancellation_type::terminal);
  go_on(io, flights);

  return free && stopped == 2 && flights.stats().cancelled == 2 && flights.stats().detached == 0 ? 0 : 1;
}
