// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
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

/// Another program has had the database locked for longer than a query waits.
struct database_busy : std::runtime_error {
  using runtime_error::runtime_error;
};

/// 20,000 users and 100,000 orders in an SQLite file, and some connections to it. Knows nothing of how its
/// callers wait.
class user_store {
 public:
  /// Creates the file if it does not exist. Throws if the file is something else. A query waits for
  /// `busy_timeout` if the database is locked.
  user_store(std::filesystem::path const& file, std::size_t connections,
             std::chrono::milliseconds busy_timeout);
  ~user_store();

  /// Runs the query on the calling thread, when a connection is free; empty if there is no such user. A stop
  /// request ends the waits, interrupts the query, or skips it if it has not begun. May be called from any
  /// thread.
  std::optional<user> find(std::stop_token const& stop, std::int64_t id);

 private:
  class connection;
  class lease;

  std::mutex mutex_;
  std::condition_variable_any returned_;
  std::vector<std::unique_ptr<connection>> idle_;  // guarded by mutex_
};

}  // namespace demo
