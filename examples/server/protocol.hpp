// SPDX-License-Identifier: MIT
//
// What both servers serve, whatever carries it: which requests they understand, what their answers look like, and the
// books behind /stats.
#pragma once

#include "call_books.hpp"
#include "users.hpp"
#include <cacheflight/event.hpp>
#include <cacheflight/group.hpp>
#include <cacheflight/hash.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace demo {

/// What a request asks for, or why it gets nothing:
///
///     GET /user/{id}               one database call, however many clients ask at once
///     GET /user/{id}?coalesce=0    one database call per request, for comparison
///     GET /stats                   the books
struct question {
  enum class about { user, stats, nothing };
  about what = about::nothing;
  std::int64_t user_id = 0;
  bool coalesce = true;
  int refusal = 0;               // the status, if it is about nothing
  std::string_view explanation;  // the same
};
question understand(std::string_view method, std::string_view target);

/// The JSON of the answers.
std::string user_body(user const& found);
std::string problem_body(std::string_view what);

/// Counts CacheFlight's events, and logs them: the failures, or all. To be called from several threads at once.
class event_log {
 public:
  explicit event_log(bool log_all) : log_all_(log_all) {}

  void on_event(cacheflight::event const& event);

  std::string stats_body(cacheflight::statistics const& books, call_books const& db_calls,
                         std::chrono::milliseconds db_latency) const;

 private:
  bool log_all_;
  cacheflight::keyed_string_hash redact_;
  std::array<std::atomic<std::uint64_t>, 8> counts_{};  // one per cacheflight::event_type
};

}  // namespace demo
