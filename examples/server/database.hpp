// SPDX-License-Identifier: MIT
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/thread_pool.hpp>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

namespace demo {

/// What the query yields: a user, and what the user's orders add up to.
struct user {
  std::int64_t id;
  std::string name;
  std::string email;
  std::string city;
  std::int64_t orders;
  std::int64_t spent_cents;
  std::int64_t rank_in_city;
  std::string favourite_product;
};

/// A database of 20,000 users and 100,000 orders. SQLite keeps it in a file and answers in this process; the simulated
/// latency makes up for the network that lies between most servers and their database.
class database {
 public:
  /// Creates the file if it does not exist, and opens one connection per thread of the pool. Throws if the file is
  /// something else.
  database(std::filesystem::path const& file, std::size_t threads, std::chrono::milliseconds latency);
  ~database();

  /// One call to the database: the simulated latency, which no thread waits for, then the query on the pool; empty if
  /// there is no such user. A stop request interrupts the query, or skips it if it has not begun; cancellation ends the
  /// latency at once.
  boost::asio::awaitable<std::optional<user>> find_user(std::stop_token stop, std::int64_t id);

  /// How often `find_user` has been called.
  std::uint64_t calls() const noexcept { return calls_; }
  std::chrono::milliseconds latency() const noexcept { return latency_; }

  /// Waits until the pool has nothing left to do.
  void join() { pool_.join(); }

 private:
  class connection;
  class lease;

  boost::asio::awaitable<std::optional<user>> query_on_pool(std::stop_token stop, std::int64_t id);
  std::optional<user> query(std::stop_token const& stop, std::int64_t id);

  std::chrono::milliseconds latency_;
  std::atomic<std::uint64_t> calls_ = 0;
  std::mutex mutex_;
  std::vector<std::unique_ptr<connection>> idle_;  // guarded by mutex_
  boost::asio::thread_pool pool_;
};

}  // namespace demo
