// SPDX-License-Identifier: MIT
#pragma once

#include "../demo/live.hpp"
#include "../demo/protocol.hpp"
#include "database.hpp"
#include <cacheflight/blocking.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stop_token>
#include <string_view>

namespace demo {

/// Answers the requests of protocol.hpp, each on its own thread; the part that shows CacheFlight.
class user_service {
 public:
  user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events);

  /// `gone` is asked to stop when the client hangs up.
  reply answer(std::string_view method, std::string_view target, std::stop_token const& gone);

  /// Starts no more flights, and waits until none is up. After `limit` those who still wait get 503, and the
  /// queries are asked to stop.
  void drain(std::chrono::milliseconds limit) { flights_.drain(limit); }

  /// Stops the queries that are not coalesced: no drain waits for those.
  void quit() { quit_.request_stop(); }

 private:
  reply get_user(std::int64_t id, bool coalesce, std::stop_token const& gone);
  reply fire(std::int64_t calls, bool coalesce, std::stop_token const& gone);

  database& db_;
  event_log log_;
  std::atomic<std::uint64_t> requests_ = 0;
  std::atomic<bool> burst_under_way_ = false;
  std::stop_source quit_;  // for the calls that are not coalesced
  cacheflight::group flights_;
};

}  // namespace demo
