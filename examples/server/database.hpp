// SPDX-License-Identifier: MIT
#pragma once

#include "../demo/call_books.hpp"
#include "../demo/users.hpp"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <stop_token>

namespace demo {

/// The database as a coroutine server sees it. SQLite keeps it in a file and answers in this process; the
/// simulated latency makes up for the network that lies between most servers and their database.
class database {
 public:
  /// Queries run on a pool of that many threads, each with a connection.
  database(std::filesystem::path const& file, std::size_t threads, std::chrono::milliseconds latency,
           std::chrono::milliseconds busy_timeout)
      : latency_(latency), users_(file, threads, busy_timeout), pool_(threads) {}

  /// One call to the database: the simulated latency, which no thread waits for, then the query on the pool;
  /// empty if there is no such user. A stop request interrupts the query, or skips it if it has not begun;
  /// cancellation ends the latency at once.
  boost::asio::awaitable<std::optional<user>> find_user(std::stop_token stop, std::int64_t id);

  /// The calls of `find_user`.
  call_books const& calls() const noexcept { return calls_; }
  std::chrono::milliseconds latency() const noexcept { return latency_; }

  /// Waits until the pool has nothing left to do.
  void join() { pool_.join(); }

 private:
  boost::asio::awaitable<std::optional<user>> query_on_pool(std::stop_token stop, std::int64_t id);

  std::chrono::milliseconds latency_;
  call_books calls_;
  user_store users_;
  boost::asio::thread_pool pool_;
};

}  // namespace demo
