// SPDX-License-Identifier: MIT
#include "user_service.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

namespace demo {

namespace net = boost::asio;

namespace {

// The task. A flight belongs to all of its callers and may outlive the one that started it, so it takes its arguments
// by value, or by reference to what outlives the group.
net::awaitable<std::optional<user>> fetch_user(std::stop_token stop, database& db, std::int64_t id) {
  co_return co_await db.find_user(std::move(stop), id);
}

response user_response(std::optional<user> const& found) {
  if (!found) return problem(http::status::not_found, "no such user");
  return json_response(http::status::ok, user_body(*found));
}

response try_again(std::string_view what) {
  response answer = problem(http::status::service_unavailable, what);
  answer.set(http::field::retry_after, "1");
  return answer;
}

}  // namespace

user_service::user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events)
    : db_(db),
      log_(log_all_events),
      flights_(cacheflight::options().max_keys(max_keys).default_timeout(timeout).on_event(
          std::bind_front(&event_log::on_event, &log_))) {
  log_.attach("users", flights_);
}

net::awaitable<response> user_service::answer(request const& asked) {
  std::string_view const method(asked.method_string().data(), asked.method_string().size());
  std::string_view const target(asked.target().data(), asked.target().size());
  question const about = understand(method, target);
  if (about.what == question::about::user) co_return co_await get_user(about.user_id, about.coalesce);
  if (about.what == question::about::stats) {
    co_return json_response(http::status::ok, log_.stats_body(flights_.stats(), db_.calls(), db_.latency()));
  }
  if (about.what == question::about::metrics) {
    response metrics(http::status::ok, 11);
    metrics.set(http::field::content_type, metrics_type);
    metrics.body() = log_.metrics_body();
    co_return metrics;
  }
  response refusal = problem(static_cast<http::status>(about.refusal), about.explanation);
  if (refusal.result() == http::status::method_not_allowed) refusal.set(http::field::allow, "GET");
  co_return refusal;
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
  } catch (database_busy const&) {  // what the task threw reaches everybody who waited, as it was
    co_return try_again("the database is busy");
  } catch (std::exception const&) {
    co_return problem(http::status::internal_server_error, "the database failed");  // the details are in the log
  }
}

}  // namespace demo
