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
#include <cacheflight/prometheus.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

/// What a request asks for, or why it gets nothing:
///
///     GET /user/{id}               one database call, however many clients ask at once
///     GET /user/{id}?coalesce=0    one database call per request, for comparison
///     GET /stats                   the books
///     GET /metrics                 the same for Prometheus
struct question {
  enum class about { user, stats, metrics, nothing };
  about what = about::nothing;
  std::int64_t user_id = 0;
  bool coalesce = true;
  int refusal = 0;               // the status, if it is about nothing
  std::string_view explanation;  // the same
};
question understand(std::string_view method, std::string_view target);

/// The type of /metrics, and the JSON of the other answers.
inline constexpr std::string_view metrics_type = "text/plain; version=0.0.4; charset=utf-8";
std::string user_body(user const& found);
std::string problem_body(std::string_view what);

/// What a server tells of its group: counts CacheFlight's events, and logs them, the failures or all; has the answers to
/// /stats and /metrics. To be called from several threads at once.
class event_log {
 public:
  explicit event_log(bool log_all) : log_all_(log_all) {}

  void on_event(cacheflight::event const& event);

  void attach(std::string name, cacheflight::group const& flights) {
    metrics_.attach(std::move(name), flights, durations_);
  }
  std::string metrics_body() const;

  std::string stats_body(cacheflight::statistics const& books, call_books const& db_calls,
                         std::chrono::milliseconds db_latency) const;

 private:
  bool log_all_;
  cacheflight::keyed_string_hash redact_;
  std::array<std::atomic<std::uint64_t>, 8> counts_{};  // one per cacheflight::event_type
  cacheflight::task_durations durations_;
  cacheflight::prometheus_metrics metrics_;
};

}  // namespace demo
