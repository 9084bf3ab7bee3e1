// SPDX-License-Identifier: MIT
#include "user_service.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace demo {

namespace {

// The task. The first thread that asks runs it on its own stack, and the others sleep until it is done. It takes its
// arguments by value, or by reference to what outlives the group.
std::optional<user> load_user(std::stop_token stop, database& db, std::int64_t id) { return db.find_user(stop, id); }

void reply(httplib::Response& response, int status, std::string const& body) {
  response.status = status;
  response.set_content(body, "application/json");
}

void reply_with_user(httplib::Response& response, std::optional<user> const& found) {
  if (found) reply(response, 200, user_body(*found));
  else reply(response, 404, problem_body("no such user"));
}

void try_again(httplib::Response& response, std::string_view what) {
  reply(response, 503, problem_body(what));
  response.set_header("Retry-After", "1");
}

// Counts one more while it lives.
class counted {
 public:
  explicit counted(std::atomic<int>& count) : count_(count) { ++count_; }
  ~counted() { --count_; }
  counted(counted const&) = delete;
  counted& operator=(counted const&) = delete;

 private:
  std::atomic<int>& count_;
};

}  // namespace

user_service::user_service(database& db, std::size_t max_keys, std::chrono::milliseconds timeout, bool log_all_events)
    : db_(db),
      log_(log_all_events),
      flights_(cacheflight::options().max_keys(max_keys).default_timeout(timeout).on_event(
          std::bind_front(&event_log::on_event, &log_))) {
  log_.attach("users", flights_);
}

void user_service::answer(httplib::Request const& asked, httplib::Response& response, std::stop_token const& gone) {
  auto const arrived = std::chrono::steady_clock::now().time_since_epoch();
  counted const one_more(busy_);
  response.set_header("X-Arrived-Us",
                      std::to_string(std::chrono::duration_cast<std::chrono::microseconds>(arrived).count()));
  question const about = understand(asked.method, asked.target);
  switch (about.what) {
    case question::about::user: return get_user(about.user_id, about.coalesce, response, gone);
    case question::about::stats:
      return reply(response, 200, log_.stats_body(flights_.stats(), db_.calls(), db_.latency()));
    case question::about::metrics:
      response.status = 200;
      return response.set_content(log_.metrics_body(), std::string(metrics_type));
    case question::about::nothing: break;
  }
  reply(response, about.refusal, problem_body(about.explanation));
  if (about.refusal == 405) response.set_header("Allow", "GET");
}

void user_service::get_user(std::int64_t id, bool coalesce, httplib::Response& response, std::stop_token const& gone) {
  try {
    if (!coalesce) return reply_with_user(response, load_user(quit_.get_token(), db_, id));
    // The key is made of the number, not of the text in the URL: /user/42 and /user/042 are the same work.
    std::string const key = "user:" + std::to_string(id);
    std::shared_ptr<std::optional<user> const> const found =
        flights_.run(key, cacheflight::run_options().stop_token(gone), load_user, std::ref(db_), id);
    reply_with_user(response, *found);
  } catch (cacheflight::caller_stopped_error const&) {
    // This client is gone, and nobody reads this. The others still wait; if there are none, the query is stopped.
    try_again(response, "the connection was closed");
  } catch (cacheflight::timeout_error const&) {
    reply(response, 504, problem_body("the database took too long"));
  } catch (cacheflight::max_keys_error const&) {
    try_again(response, "too many different users are being fetched");
  } catch (cacheflight::cancelled_error const&) {
    // Not this client's doing, and not the database's failure: somebody here took the flight down. A new request starts
    // a new one.
    try_again(response, "the request was called off");
  } catch (database_busy const&) {  // what the task threw reaches everybody who waited, as it was
    try_again(response, "the database is busy");
  } catch (std::exception const&) {
    if (quit_.stop_requested()) try_again(response, "the server is shutting down");
    else reply(response, 500, problem_body("the database failed"));  // the details are in the log
  }
}

}  // namespace demo
