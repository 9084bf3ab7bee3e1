// SPDX-License-Identifier: MIT
#pragma once

#include "../demo/live.hpp"
#include "../demo/protocol.hpp"
#include "database.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio/awaitable.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace demo {

/// Answers the requests of protocol.hpp; the part that shows CacheFlight.
class user_service {
 public:
  user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events);

  /// `method` and `target` must stay until it is done. Cancelling it leaves the flight that it waits for.
  boost::asio::awaitable<reply> answer(std::string_view method, std::string_view target);

  /// Starts no more flights, and waits until none is up: true then. After `limit` those who still wait get
  /// 503, the queries are asked to stop, and it is false.
  boost::asio::awaitable<bool> drain(std::chrono::milliseconds limit);

 private:
  boost::asio::awaitable<reply> get_user(std::int64_t id, bool coalesce);
  boost::asio::awaitable<reply> fire(std::int64_t calls, bool coalesce);
  boost::asio::awaitable<void> fire_one(std::shared_ptr<burst> shots, std::size_t call, bool coalesce);

  database& db_;
  event_log log_;
  std::atomic<std::uint64_t> requests_ = 0;
  std::atomic<bool> burst_under_way_ = false;
  cacheflight::group flights_;
};

}  // namespace demo
