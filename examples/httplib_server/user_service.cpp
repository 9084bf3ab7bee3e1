// SPDX-License-Identifier: MIT
#include "user_service.hpp"

#include <cacheflight/keys.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace demo {

namespace {

// The task. The first thread that asks runs it on its own stack, and the others sleep until it is done. It
// takes its arguments by value, or by reference to what outlives the group.
std::optional<user> load_user(std::stop_token stop, database& db, std::int64_t id) {
  return db.find_user(stop, id);
}

}  // namespace

user_service::user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout,
                           bool log_all_events)
    : db_(db),
      log_(log_all_events),
      flights_(cacheflight::options().max_keys(max_keys).default_timeout(timeout).on_event(
          std::bind_front(&event_log::on_event, &log_))) {
  log_.attach("users", flights_);
}

reply user_service::answer(std::string_view method, std::string_view target, std::stop_token const& gone) {
  question const asked = understand(method, target);
  switch (asked.what) {
    case question::about::page: return page();
    case question::about::live:
      return live(requests_, db_.calls(), db_.latency(), flights_.stats(), log_.flights(flights_));
    case question::about::burst: return fire(asked.number, asked.coalesce, gone);
    case question::about::user: return get_user(asked.number, asked.coalesce, gone);
    case question::about::stats:
      return json_reply(log_.stats_body(flights_.stats(), db_.calls(), db_.latency()));
    case question::about::metrics: return log_.metrics();
    case question::about::nothing: break;
  }
  return problem(asked.refusal, asked.explanation);
}

reply user_service::get_user(std::int64_t id, bool coalesce, std::stop_token const& gone) {
  ++requests_;
  try {
    if (!coalesce) return user_reply(load_user(quit_.get_token(), db_, id));
    // The key is made of the number, not of the text in the URL: /user/42 and /user/042 are the same work.
    std::string const key = cacheflight::make_key("user", id);
    std::shared_ptr<std::optional<user> const> const found =
        flights_.run(key, cacheflight::run_options().stop_token(gone), load_user, std::ref(db_), id);
    return user_reply(*found);
  } catch (cacheflight::caller_stopped_error const&) {
    // This client is gone, and nobody reads this. The others still wait; if there are none, the query is
    // stopped.
    return problem(503, "the connection was closed");
  } catch (...) {
    bool const stopped_by_us = !coalesce && quit_.stop_requested();
    return stopped_by_us ? problem(503, "the server is shutting down") : failure();
  }
}

reply user_service::fire(std::int64_t calls, bool coalesce, std::stop_token const& gone) {
  auto const shots = burst::begin(burst_under_way_, db_.calls(), calls);
  if (!shots) return problem(409, "another burst is under way");
  std::vector<std::jthread> threads;
  for (std::size_t call = 0; call < shots->size(); ++call)
    threads.emplace_back(
        [&, call] { shots->answered(call, get_user(burst::user_id, coalesce, gone).status); });
  threads.clear();  // joins
  return shots->report();
}

}  // namespace demo
