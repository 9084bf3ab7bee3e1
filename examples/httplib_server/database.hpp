// SPDX-License-Identifier: MIT
#pragma once

#include "../demo/call_books.hpp"
#include "../demo/users.hpp"

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <stop_token>

namespace demo {

/// The database as a threaded server sees it: a call blocks the thread that makes it. SQLite keeps the data
/// in a file and answers in this process; the simulated latency makes up for the network that lies between
/// most servers and their database.
class database {
 public:
  database(std::filesystem::path const& file, std::size_t connections, std::chrono::milliseconds latency,
           std::chrono::milliseconds busy_timeout)
      : latency_(latency), users_(file, connections, busy_timeout) {}

  /// One call to the database: the simulated latency, then the query; empty if there is no such user. A stop
  /// request ends either at once, with an exception.
  std::optional<user> find_user(std::stop_token const& stop, std::int64_t id) {
    booked_call call(calls_, stop);
    wait_for_network(stop);
    std::optional<user> found = users_.find(stop, id);
    call.answered();
    return found;
  }

  /// The calls of `find_user`.
  call_books const& calls() const noexcept { return calls_; }
  std::chrono::milliseconds latency() const noexcept { return latency_; }

 private:
  void wait_for_network(std::stop_token const& stop) const {
    std::mutex mutex;
    std::condition_variable_any never;
    std::unique_lock lock(mutex);
    never.wait_for(lock, stop, latency_, [] { return false; });
    if (stop.stop_requested()) throw std::runtime_error("database: the answer was not wanted any more");
  }

  std::chrono::milliseconds latency_;
  call_books calls_;
  user_store users_;
};

}  // namespace demo
