// SPDX-License-Identifier: MIT
#pragma once

#include "database.hpp"
#include "http.hpp"
#include "protocol.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio/awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

namespace demo {

/// Answers the requests of protocol.hpp; the part that shows CacheFlight.
class user_service {
 public:
  user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events);

  boost::asio::awaitable<response> answer(request const& asked);

  /// Lets go of everybody who waits, who then get 503.
  void cancel_all() { flights_.clear(); }

 private:
  boost::asio::awaitable<response> get_user(std::int64_t id, bool coalesce);

  database& db_;
  event_log log_;
  cacheflight::group flights_;
};

}  // namespace demo
