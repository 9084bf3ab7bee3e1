// SPDX-License-Identifier: MIT
#pragma once

#include "../server/users.hpp"

#include <atomic>
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

/// The database as a threaded server sees it: a call blocks the thread that makes it. SQLite keeps the data in a file and
/// answers in this process; the simulated latency makes up for the network that lies between most servers and their
/// database.
class database {
 public:
  database(std::filesystem::path const& file, std::size_t connections, std::chrono::milliseconds latency)
      : latency_(latency), users_(file, connections) {}

  /// One call to the database: the simulated latency, then the query; empty if there is no such user. A stop request ends
  /// either at once, with an exception.
  std::optional<user> find_user(std::stop_token const& stop, std::int64_t id) {
    ++calls_;
    wait_for_network(stop);
    return users_.find(stop, id);
  }

  /// How often `find_user` has been called.
  std::uint64_t calls() const noexcept { return calls_; }
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
  std::atomic<std::uint64_t> calls_ = 0;
  user_store users_;
};

}  // namespace demo
