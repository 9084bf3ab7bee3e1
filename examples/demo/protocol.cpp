// SPDX-License-Identifier: MIT
#include "protocol.hpp"

#include "live.hpp"
#include <cacheflight/error.hpp>

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <prometheus/text_serializer.h>

#include <algorithm>
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

std::optional<std::int64_t> parse_number(std::string_view digits) {
  std::int64_t number = 0;
  char const* const end = digits.data() + digits.size();
  auto const result = std::from_chars(digits.data(), end, number);
  if (result.ec != std::errc() || result.ptr != end || number < 0) return std::nullopt;
  return number;
}

}  // namespace

question understand(std::string_view method, std::string_view target) {
  constexpr std::string_view users = "/user/", bursts = "/burst/";
  std::string_view const path = target.substr(0, target.find('?'));
  std::string_view const query = target.substr(path.size());

  question asked;
  if (path == "/") asked.what = question::about::page;
  else if (path == "/live") asked.what = question::about::live;
  else if (path == "/stats") asked.what = question::about::stats;
  else if (path == "/metrics") asked.what = question::about::metrics;
  else if (path.starts_with(users)) asked.what = question::about::user;
  else if (path.starts_with(bursts)) asked.what = question::about::burst;
  else return refuse(404, "try /user/42, /stats or /metrics");
  if (method != "GET") return refuse(405, "only GET is served here");

  bool const of_user = asked.what == question::about::user;
  if (!of_user && asked.what != question::about::burst) return asked;
  std::optional<std::int64_t> const number =
      parse_number(path.substr(of_user ? users.size() : bursts.size()));
  if (of_user && !number) return refuse(400, "a user's id is a number");
  if (!of_user && (!number || *number < 1 || *number > burst::most_calls))
    return refuse(400, "a burst is 1 to 200 calls");
  if (!query.empty() && query != "?coalesce=0" && query != "?coalesce=1") {
    return refuse(400, "the only parameter is coalesce=0 or coalesce=1");
  }
  asked.number = *number;
  asked.coalesce = query != "?coalesce=0";
  return asked;
}

reply json_reply(std::string body) { return {200, std::move(body), {{"Content-Type", "application/json"}}}; }

reply user_reply(std::optional<user> const& found) {
  if (!found) return problem(404, "no such user");
  json::object body{{"id", found->id},
                    {"name", found->name},
                    {"email", found->email},
                    {"city", found->city},
                    {"orders", found->orders},
                    {"spent_cents", found->spent_cents},
                    {"rank_in_city", found->rank_in_city},
                    {"favourite_product", found->favourite_product}};
  return json_reply(json::serialize(body) + '\n');
}

reply problem(int status, std::string_view what) {
  reply answer = json_reply(json::serialize(json::object{{"error", what}}) + '\n');
  answer.status = status;
  if (status == 405) answer.headers.emplace_back("Allow", "GET");
  if (status == 503) answer.headers.emplace_back("Retry-After", "1");
  return answer;
}

reply failure() {
  try {
    throw;
  } catch (cacheflight::timeout_error const&) {
    return problem(504, "the database took too long");
  } catch (cacheflight::max_keys_error const&) {
    return problem(503, "too many different users are being fetched");
  } catch (cacheflight::cancelled_error const&) {
    // Not this client's doing, and not the database's failure: somebody here took the flight down. A new
    // request starts a new one.
    return problem(503, "the request was called off");
  } catch (cacheflight::closed_error const&) {
    return problem(503, "the server is shutting down");
  } catch (cacheflight::abandoned_error const&) {
    return problem(503, "the server is shutting down");  // the only way for these servers to lose a task
  } catch (database_busy const&) {  // what the task threw reaches everybody who waited, as it was
    return problem(503, "the database is busy");
  } catch (...) {
    return problem(500, "the database failed");  // the details are in the log
  }
}

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
                    {"closed_rejected", books.closed_rejected},
                    {"type_mismatches", books.type_mismatches},
                    {"callback_failures", books.callback_failures},
                    {"waiters", books.waiters},
                    {"detached", books.detached},
                    {"simulated_db_latency_ms", db_latency.count()},
                    {"events", std::move(events)}};
  return json::serialize(body) + '\n';
}

reply event_log::metrics() const {
  return {200,
          prometheus::TextSerializer().Serialize(metrics_.Collect()),
          {{"Content-Type", "text/plain; version=0.0.4; charset=utf-8"}}};
}

std::vector<flight_view> event_log::flights(cacheflight::group const& of) const {
  auto views = of.snapshot(redact_);
  std::sort(views.begin(), views.end(),
            [](flight_view const& a, flight_view const& b) { return a.age > b.age; });
  return views;
}

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
  std::fprintf(stderr, "%-17s key %s  flight %llu  waiters %zu  %lld ms  %s\n",
               cacheflight::to_string(event.type), redact_(event.key).c_str(),
               static_cast<unsigned long long>(event.flight_id), event.waiters, static_cast<long long>(took),
               reason.c_str());
}

}  // namespace demo
