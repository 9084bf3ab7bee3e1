// SPDX-License-Identifier: MIT
#pragma once

#include "database.hpp"
#include "http.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/hash.hpp>

#include <boost/asio/awaitable.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

namespace demo {

/// What the server serves, and the part that shows CacheFlight:
///
///     GET /user/{id}               one database call, however many clients ask at once
///     GET /user/{id}?coalesce=0    one database call per request, for comparison
///     GET /stats                   the books
class user_service {
 public:
  user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events);

  boost::asio::awaitable<response> answer(request const& asked);

  /// Lets go of everybody who waits, who then get 503.
  void cancel_all() { flights_.clear(); }

 private:
  boost::asio::awaitable<response> get_user(std::int64_t id, bool coalesce);
  response get_stats() const;
  void on_event(cacheflight::event const& event);

  database& db_;
  bool log_all_events_;
  cacheflight::keyed_string_hash redact_;
  std::array<std::atomic<std::uint64_t>, 8> events_{};  // one per cacheflight::event_type
  cacheflight::group flights_;
};

}  // namespace demo
