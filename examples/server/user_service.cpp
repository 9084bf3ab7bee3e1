// SPDX-License-Identifier: MIT
#include "user_service.hpp"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <charconv>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

namespace demo {

namespace net = boost::asio;
namespace json = boost::json;
using cacheflight::event_type;

namespace {

// The task. A flight belongs to all of its callers and may outlive the one that started it, so it takes its arguments
// by value, or by reference to what outlives the group.
net::awaitable<std::optional<user>> fetch_user(std::stop_token stop, database& db, std::int64_t id) {
  co_return co_await db.find_user(std::move(stop), id);
}

response user_response(std::optional<user> const& found) {
  if (!found) return problem(http::status::not_found, "no such user");
  json::object body{{"id", found->id},
                    {"name", found->name},
                    {"email", found->email},
                    {"city", found->city},
                    {"orders", found->orders},
                    {"spent_cents", found->spent_cents},
                    {"rank_in_city", found->rank_in_city},
                    {"favourite_product", found->favourite_product}};
  return json_response(http::status::ok, json::serialize(body));
}

response try_again(std::string_view what) {
  response answer = problem(http::status::service_unavailable, what);
  answer.set(http::field::retry_after, "1");
  return answer;
}

std::optional<std::int64_t> parse_id(std::string_view digits) {
  std::int64_t id = 0;
  char const* const end = digits.data() + digits.size();
  auto const result = std::from_chars(digits.data(), end, id);
  if (result.ec != std::errc() || result.ptr != end || id < 0) return std::nullopt;
  return id;
}

}  // namespace

user_service::user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events)
    : db_(db),
      log_all_events_(log_all_events),
      flights_(cacheflight::options().max_keys(max_keys).default_timeout(timeout).on_event(
          [this](cacheflight::event const& event) { on_event(event); })) {}

net::awaitable<response> user_service::answer(request const& asked) {
  constexpr std::string_view users = "/user/";
  std::string_view const target(asked.target().data(), asked.target().size());
  std::string_view const path = target.substr(0, target.find('?'));
  std::string_view const query = target.substr(path.size());

  if (path != "/stats" && !path.starts_with(users))
    co_return problem(http::status::not_found, "try /user/42 or /stats");
  if (asked.method() != http::verb::get) {
    response refusal = problem(http::status::method_not_allowed, "only GET is served here");
    refusal.set(http::field::allow, "GET");
    co_return refusal;
  }
  if (path == "/stats") co_return get_stats();
  std::optional<std::int64_t> const id = parse_id(path.substr(users.size()));
  if (!id) co_return problem(http::status::bad_request, "a user's id is a number");
  if (!query.empty() && query != "?coalesce=0" && query != "?coalesce=1") {
    co_return problem(http::status::bad_request, "the only parameter is coalesce=0 or coalesce=1");
  }
  co_return co_await get_user(*id, query != "?coalesce=0");
}

net::awaitable<response> user_service::get_user(std::int64_t id, bool coalesce) {
  try {
    if (!coalesce) {
      std::stop_token const never;
      std::optional<user> const found = co_await fetch_user(never, db_, id);
      co_return user_response(found);
    }
    // The key is made of the number, not of the text in the URL: /user/42 and /user/042 are the same work.
    std::string const key = "user:" + std::to_string(id);
    std::shared_ptr<std::optional<user> const> const found = co_await flights_.run(key, fetch_user, std::ref(db_), id);
    co_return user_response(*found);
  } catch (cacheflight::timeout_error const&) {
    co_return problem(http::status::gateway_timeout, "the database took too long");
  } catch (cacheflight::max_keys_error const&) {
    co_return try_again("too many different users are being fetched");
  } catch (cacheflight::cancelled_error const&) {
    // Not this client's doing, and not the database's failure: somebody here took the flight down. A new request starts
    // a new one.
    co_return try_again("the request was called off");
  } catch (cacheflight::abandoned_error const&) {
    co_return try_again("the server is shutting down");  // the only way for this server to lose a task
  } catch (cacheflight::caller_cancelled_error const&) {
    throw;  // This client is gone: nobody to answer. The others still wait; if there are none, the query is stopped.
  } catch (std::exception const&) {
    co_return problem(http::status::internal_server_error, "the database failed");  // the details are in the log
  }
}

response user_service::get_stats() const {
  cacheflight::statistics const books = flights_.stats();
  json::object events;
  for (std::size_t type = 0; type < events_.size(); ++type) {
    events[cacheflight::to_string(static_cast<event_type>(type))] = events_[type].load();
  }
  json::object body{{"in_flight_keys", books.in_flight},
                    {"total_db_calls", db_.calls()},
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
                    {"simulated_db_latency_ms", db_.latency().count()},
                    {"events", std::move(events)}};
  return json_response(http::status::ok, json::serialize(body));
}

// Called from several threads at once. Keys may name people: the log gets a keyed hash, which tells them apart and
// nothing else.
void user_service::on_event(cacheflight::event const& event) {
  ++events_[static_cast<std::size_t>(event.type)];
  bool const routine = event.type <= event_type::task_resolved;
  if (routine && !log_all_events_) return;
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
