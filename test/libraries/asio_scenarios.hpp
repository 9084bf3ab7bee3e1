// SPDX-License-Identifier: MIT
#pragma once

// The scenarios of the Python original for tasks that ask a real server through operations of Asio. A task
// goes on when its scenario says so, after all callers have entered. `Client` has
// - asio::awaitable<void> open(), void close(): what comes before the first scenario, and after the last;
// - asio::awaitable<std::string> get(): asks it for "answer";
// - asio::awaitable<std::string> get_wrongly(): asks it for what it refuses, and throws;
// - asio::awaitable<long> asked(): how many `get`s it has seen.

#include <cacheflight/asio.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/system/system_error.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace libraries {

namespace asio = boost::asio;
using namespace std::chrono_literals;

/// The pace of asking again; orders nothing.
inline asio::awaitable<void> sleep(std::chrono::milliseconds takes) {
  asio::steady_timer timer(co_await asio::this_coro::executor, takes);
  co_await timer.async_wait(asio::use_awaitable);
}

template <class Client>
class asio_scenarios {
 public:
  explicit asio_scenarios(Client& client) : client_(client) {}

  /// Returns how many failed.
  asio::awaitable<int> run() {
    using cacheflight::run_options;
    {
      counts n;
      long const before = co_await client_.asked();
      for (int i = 0; i < 150; ++i) co_await spawn(n, "key", run_options());
      n.go = true;
      co_await answered(n, 150);
      long const asked = co_await client_.asked() - before;
      expect("150 callers, one execution, one statement, one object",
             n.executions == 1 && asked == 1 && n.values == 150 && n.objects.size() == 1);
    }
    {
      counts n;
      for (int i = 0; i < 9; ++i) co_await spawn(n, "key", run_options());
      co_await spawn(n, "key", run_options());
      n.callers.back()->emit(asio::cancellation_type::terminal);
      co_await answered(n, 1);
      n.go = true;
      co_await answered(n, 10);
      expect("one leaves, the others are answered",
             n.left == 1 && n.values == 9 && n.executions == 1 && n.stopped == 0);
    }
    {
      counts n;
      for (int i = 0; i < 10; ++i) co_await spawn(n, "key", run_options());
      for (auto& caller : n.callers) caller->emit(asio::cancellation_type::terminal);
      bool const at_once = flights_.stats().in_flight == 0;
      co_await answered(n, 10);
      co_await quiet();
      expect("all leave, and the task stops", n.left == 10 && at_once && n.executions == 1 && n.stopped == 1);
    }
    {
      counts n;
      n.fails = true;
      for (int i = 0; i < 150; ++i) co_await spawn(n, "key", run_options());
      n.go = true;
      co_await answered(n, 150);
      expect("an error goes to all", n.executions == 1 && n.refused == 150);
    }
    {
      counts n;
      for (auto const* key : {"first", "second", "third"}) co_await spawn(n, key, run_options());
      n.go = true;
      co_await answered(n, 3);
      expect("the cap on keys", n.executions == 2 && n.values == 2 && n.capped == 1);
    }
    {
      counts n;
      for (int i = 0; i < 10; ++i) co_await spawn(n, "key", run_options().timeout(500ms));
      co_await answered(n, 10);
      co_await quiet();
      expect("a timeout goes to all, and the task stops",
             n.timed_out == 10 && n.executions == 1 && n.stopped == 1);
    }
    std::printf("%d failed\n", failed_);
    co_return failed_;
  }

 private:
  struct counts {
    bool go = false, fails = false;
    int executions = 0, stopped = 0;
    int values = 0, refused = 0, timed_out = 0, left = 0, capped = 0;
    std::set<void const*> objects;
    std::vector<std::unique_ptr<asio::cancellation_signal>> callers;
    [[nodiscard]] int answers() const { return values + refused + timed_out + left + capped; }
  };

  static asio::awaitable<std::string> fetch(Client& client, counts& n) {
    ++n.executions;
    try {
      while (!n.go) co_await sleep(1ms);
    } catch (boost::system::system_error const&) {
      ++n.stopped;
      throw;
    }
    if (n.fails) co_return co_await client.get_wrongly();
    co_return co_await client.get();
  }

  asio::awaitable<void> call(std::string key, cacheflight::run_options opts, counts& n) {
    try {
      std::shared_ptr<std::string const> const answer =
          co_await flights_.run(key, std::move(opts), fetch, std::ref(client_), std::ref(n));
      if (*answer == "answer") n.objects.insert(answer.get());
      ++n.values;
    } catch (cacheflight::timeout_error const&) {
      ++n.timed_out;
    } catch (cacheflight::max_keys_error const&) {
      ++n.capped;
    } catch (boost::system::system_error const& e) {
      ++(e.code() == asio::error::operation_aborted ? n.left : n.refused);
    }
  }

  /// It has entered when this is over.
  asio::awaitable<void> spawn(counts& n, std::string key, cacheflight::run_options opts) {
    auto const& caller = n.callers.emplace_back(std::make_unique<asio::cancellation_signal>());
    auto const executor = co_await asio::this_coro::executor;
    auto token = asio::bind_cancellation_slot(caller->slot(), asio::detached);
    auto const before = calls();
    asio::co_spawn(executor, call(std::move(key), std::move(opts), n), std::move(token));
    while (calls() == before) co_await sleep(1ms);
  }
  [[nodiscard]] std::uint64_t calls() const {
    cacheflight::statistics const books = flights_.stats();
    return books.hits + books.misses;
  }
  asio::awaitable<void> answered(counts const& n, int callers) {
    while (n.answers() < callers) co_await sleep(1ms);
  }
  asio::awaitable<void> quiet() {
    while (flights_.stats().in_flight + flights_.stats().detached != 0) co_await sleep(1ms);
  }
  void expect(char const* what, bool is) {
    std::printf("%s: %s\n", is ? "  ok" : "FAIL", what);
    failed_ += !is;
  }

  Client& client_;
  cacheflight::group flights_{cacheflight::options().max_keys(2)};
  int failed_ = 0;
};

template <class Client>
asio::awaitable<void> open_run_close(Client& client, int& failed) {
  co_await client.open();
  failed = co_await asio_scenarios<Client>(client).run();
  client.close();
}

/// Returns how many failed.
template <class Client>
int run_all(asio::io_context& context, Client& client) {
  int failed = 1;
  asio::co_spawn(context, open_run_close(client, failed), asio::detached);
  context.run();
  return failed;
}

}  // namespace libraries
