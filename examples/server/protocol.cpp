// SPDX-License-Identifier: MIT
#include "protocol.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <prometheus/text_serializer.h>

#include <charconv>
#include <cstdio>
#include <exception>
#include <utility>

namespace demo {

namespace json = boost::json;
using cacheflight::event_type;

namespace {

question refuse(int status, std::string_view explanation) {
  question asked;
  asked.refusal = status;
  asked.explanation = explanation;
  return asked;
}

std::optional<std::int64_t> parse_id(std::string_view digits) {
  std::int64_t id = 0;
  char const* const end = digits.data() + digits.size();
  auto const result = std::from_chars(digits.data(), end, id);
  if (result.ec != std::errc() || result.ptr != end || id < 0) return std::nullopt;
  return id;
}

}  // namespace

question understand(std::string_view method, std::string_view target) {
  constexpr std::string_view users = "/user/";
  std::string_view const path = target.substr(0, target.find('?'));
  std::string_view const query = target.substr(path.size());

  if (path != "/stats" && path != "/metrics" && !path.starts_with(users))
    return refuse(404, "try /user/42, /stats or /metrics");
  if (method != "GET") return refuse(405, "only GET is served here");
  question asked;
  if (path == "/stats" || path == "/metrics") {
    asked.what = path == "/stats" ? question::about::stats : question::about::metrics;
    return asked;
  }
  std::optional<std::int64_t> const id = parse_id(path.substr(users.size()));
  if (!id) return refuse(400, "a user's id is a number");
  if (!query.empty() && query != "?coalesce=0" && query != "?coalesce=1") {
    return refuse(400, "the only parameter is coalesce=0 or coalesce=1");
  }
  asked.what = question::about::user;
  asked.user_id = *id;
  asked.coalesce = query != "?coalesce=0";
  return asked;
}

std::string user_body(user const& found) {
  json::object body{{"id", found.id},
                    {"name", found.name},
                    {"email", found.email},
                    {"city", found.city},
                    {"orders", found.orders},
                    {"spent_cents", found.spent_cents},
                    {"rank_in_city", found.rank_in_city},
                    {"favourite_product", found.favourite_product}};
  return json::serialize(body) + '\n';
}

std::string problem_body(std::string_view what) { return json::serialize(json::object{{"error", what}}) + '\n'; }

std::string event_log::stats_body(cacheflight::statistics const& books, call_books const& db_calls,
                                  std::chrono::milliseconds db_latency) const {
  json::object events;
  for (std::size_t type = 0; type < counts_.size(); ++type) {
    events[cacheflight::to_string(static_cast<event_type>(type))] = counts_[type].load();
  }
  std::uint64_t const answered = db_calls.answered, failed = db_calls.failed, stopped = db_calls.stopped;
  std::uint64_t const begun = db_calls.begun;  // read last: no fewer than those that have ended
  json::object body{{"in_flight_keys", books.in_flight},
                    {"total_db_calls", begun},
                    {"active_db_calls", begun - answered - failed - stopped},
                    {"answered_db_calls", answered},
                    {"failed_db_calls", failed},
                    {"stopped_db_calls", stopped},
                    {"hits", books.hits},
                    {"misses", books.misses},
                    {"started", books.started},
                    {"resolved", books.resolved},
                    {"rejected", books.rejected},
                    {"timed_out", books.timed_out},
                    {"cancelled", books.cancelled},
                    {"max_keys_rejected", books.max_keys_rejected},
                    {"type_mismatches", books.type_mismatches},
                    {"callback_failures", books.callback_failures},
                    {"waiters", books.waiters},
                    {"detached", books.detached},
                    {"simulated_db_latency_ms", db_latency.count()},
                    {"events", std::move(events)}};
  return json::serialize(body) + '\n';
}

std::string event_log::metrics_body() const { return prometheus::TextSerializer().Serialize(metrics_.Collect()); }

// Keys may name people: the log gets a keyed hash, which tells them apart and nothing else.
void event_log::on_event(cacheflight::event const& event) {
  ++counts_[static_cast<std::size_t>(event.type)];
  durations_(event);
  bool const routine = event.type <= event_type::task_resolved;
  if (routine && !log_all_) return;
  std::string reason;
  try {
    if (event.error) std::rethrow_exception(event.error);
  } catch (std::exception const& error) {
    reason = error.what();
  } catch (...) {
    reason = "unknown error";
  }
  auto const took = std::chrono::duration_cast<std::chrono::milliseconds>(event.duration).count();
  std::fprintf(stderr, "%-17s key #%016zx  flight %llu  waiters %zu  %lld ms  %s\n", cacheflight::to_string(event.type),
               redact_(event.key), static_cast<unsigned long long>(event.flight_id), event.waiters,
               static_cast<long long>(took), reason.c_str());
}

}  // namespace demo
