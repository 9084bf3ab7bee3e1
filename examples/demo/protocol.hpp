// SPDX-License-Identifier: MIT
//
// What both servers serve, whatever carries it: which requests they understand, what they answer, and the
// books behind /stats.
#pragma once

#include "call_books.hpp"
#include "users.hpp"
#include <cacheflight/event.hpp>
#include <cacheflight/group.hpp>
#include <cacheflight/prometheus.hpp>
#include <cacheflight/redact.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace demo {

/// What a request asks for, or why it gets nothing:
///
///     GET /                            the page
///     GET /live                        what the page shows: see live.hpp
///     GET /burst/{calls}               so many calls for one user at once, inside the server: see live.hpp
///     GET /user/{id}                   one database call, however many clients ask at once
///     GET /stats                       the books
///     GET /metrics                     the same for Prometheus
///
/// `?coalesce=0` after a user or a burst: one database call per call, for comparison.
struct question {
  enum class about { page, live, burst, user, stats, metrics, nothing };
  about what = about::nothing;
  std::int64_t number = 0;  // the user's id, or how many calls
  bool coalesce = true;
  int refusal = 0;               // the status, if it is about nothing
  std::string_view explanation;  // the same
};
question understand(std::string_view method, std::string_view target);

/// An answer.
struct reply {
  int status;
  std::string body;
  std::vector<std::pair<char const*, char const*>> headers;
};
reply json_reply(std::string body);
reply user_reply(std::optional<user> const& found);
reply problem(int status, std::string_view what);
/// What a client is told of the exception that is being handled: the status for each of CacheFlight's errors.
reply failure();

/// A flight in progress, as the page shows it: its key redacted.
using flight_view = cacheflight::flight_info<std::string>;

/// What a server tells of its group: counts CacheFlight's events, and logs them, the failures or all; has the
/// answers to /stats and /metrics. To be called from several threads at once.
class event_log {
 public:
  explicit event_log(bool log_all) : log_all_(log_all) {}

  void on_event(cacheflight::event const& event);

  std::string stats_body(cacheflight::statistics const& books, call_books const& db_calls,
                         std::chrono::milliseconds db_latency) const;

  void attach(std::string name, cacheflight::group const& flights) {
    metrics_.attach(std::move(name), flights, durations_);
  }
  reply metrics() const;

  /// The flights in progress, the oldest first.
  std::vector<flight_view> flights(cacheflight::group const& of) const;

 private:
  bool log_all_;
  cacheflight::redactor redact_;  // keys may name people: tokens tell them apart and nothing else
  std::array<std::atomic<std::uint64_t>, 9> counts_{};  // one per cacheflight::event_type
  cacheflight::task_durations durations_;
  cacheflight::prometheus_metrics metrics_;
};

}  // namespace demo
