// SPDX-License-Identifier: MIT
//
// All fronts share one group: a blocked thread, an Asio coroutine, a callback and a coroutine of no library
// at all wait for one flight. Each brings its task in its own style; the one that comes first has its task
// run, the others get the object.
//
// Prints:
//     a thread, an Asio coroutine, a callback and a plain coroutine: 1 execution(s), the same object: true
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <array>
#include <atomic>
#include <coroutine>
#include <exception>
#include <iostream>
#include <latch>
#include <memory>
#include <string>
#include <thread>

namespace net = boost::asio;
using value_ptr = std::shared_ptr<std::string const>;

std::atomic<int> executions = 0;
std::latch all_wait(1);  // holds the answer up until all four wait
std::latch all_done(4);

// The same work in three styles; what counts is that all yield a std::string.
std::string load() {
  ++executions;
  all_wait.wait();
  return "the answer";
}
net::awaitable<std::string> load_in_asio() { co_return load(); }

struct text_later {
  bool await_ready() { return true; }
  void await_suspend(std::coroutine_handle<>) {}
  std::string await_resume() { return load(); }
};
text_later load_in_coroutine() { return {}; }

struct fire_and_forget {
  struct promise_type {
    fire_and_forget get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

void done(value_ptr& mine, value_ptr got) {
  mine = std::move(got);
  all_done.count_down();
}

net::awaitable<void> ask_in_asio(cacheflight::group& flights, value_ptr& mine) {
  value_ptr got = co_await flights.run("key", load_in_asio);
  done(mine, got);
}

fire_and_forget ask_in_coroutine(cacheflight::group& flights, value_ptr& mine) {
  value_ptr got = co_await flights.run("key", load_in_coroutine);
  done(mine, got);
}

void await_waiters(cacheflight::group const& flights, std::size_t count) {
  while (flights.stats().waiters < count) std::this_thread::yield();
}

int main() {
  cacheflight::group flights;
  std::array<value_ptr, 4> got;

  std::jthread blocked([&] { done(got[0], flights.run("key", load)); });
  await_waiters(flights, 1);  // the thread leads, and runs `load`

  net::io_context io;
  net::co_spawn(io, ask_in_asio(flights, got[1]), net::detached);
  std::jthread asio([&io] { io.run(); });
  flights.start("key", load, [&](std::exception_ptr, value_ptr value) { done(got[2], value); });
  ask_in_coroutine(flights, got[3]);
  await_waiters(flights, got.size());

  all_wait.count_down();
  all_done.wait();
  bool same = got[0] && *got[0] == "the answer";
  for (value_ptr const& one : got) same = same && one == got[0];
  std::cout << "a thread, an Asio coroutine, a callback and a plain coroutine: " << executions
            << " execution(s), the same object: " << std::boolalpha << same << "\n";
  return same && executions == 1 ? 0 : 1;
}
