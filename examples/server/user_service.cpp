// SPDX-License-Identifier: MIT
#include "user_service.hpp"

#include <cacheflight/keys.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

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

// The task. A flight belongs to all of its callers and may outlive the one that started it, so it takes its
// arguments by value, or by reference to what outlives the group.
net::awaitable<std::optional<user>> fetch_user(std::stop_token stop, database& db, std::int64_t id) {
  co_return co_await db.find_user(std::move(stop), id);
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

net::awaitable<reply> user_service::answer(std::string_view method, std::string_view target) {
  question const asked = understand(method, target);
  switch (asked.what) {
    case question::about::page: co_return page();
    case question::about::live:
      co_return live(requests_, db_.calls(), db_.latency(), flights_.stats(), log_.flights(flights_));
    case question::about::burst: co_return co_await fire(asked.number, asked.coalesce);
    case question::about::user: co_return co_await get_user(asked.number, asked.coalesce);
    case question::about::stats:
      co_return json_reply(log_.stats_body(flights_.stats(), db_.calls(), db_.latency()));
    case question::about::metrics: co_return log_.metrics();
    case question::about::nothing: break;
  }
  co_return problem(asked.refusal, asked.explanation);
}

net::awaitable<bool> user_service::drain(std::chrono::milliseconds limit) {
  co_return co_await cacheflight::async_drain(flights_, co_await net::this_coro::executor, limit,
                                              net::use_awaitable);
}

net::awaitable<reply> user_service::get_user(std::int64_t id, bool coalesce) {
  ++requests_;
  try {
    if (!coalesce) {
      std::stop_token const never;
      std::optional<user> const found = co_await fetch_user(never, db_, id);
      co_return user_reply(found);
    }
    // The key is made of the number, not of the text in the URL: /user/42 and /user/042 are the same work.
    std::string const key = cacheflight::make_key("user", id);
    std::shared_ptr<std::optional<user> const> const found =
        co_await flights_.run(key, fetch_user, std::ref(db_), id);
    co_return user_reply(*found);
  } catch (cacheflight::caller_cancelled_error const&) {
    throw;  // This client is gone. The others still wait; if there are none, the query is stopped.
  } catch (...) {
    co_return failure();
  }
}

net::awaitable<void> user_service::fire_one(std::shared_ptr<burst> shots, std::size_t call, bool coalesce) {
  reply const answer = co_await get_user(burst::user_id, coalesce);
  shots->answered(call, answer.status);
}

// The calls share the connection's strand, so that a count and a timer that never fires will do to wait for
// all. They go on if the client leaves.
net::awaitable<reply> user_service::fire(std::int64_t calls, bool coalesce) {
  auto const shots = burst::begin(burst_under_way_, db_.calls(), calls);
  if (!shots) co_return problem(409, "another burst is under way");
  auto const strand = co_await net::this_coro::executor;
  auto const all_done = std::make_shared<net::steady_timer>(strand, net::steady_timer::time_point::max());
  auto const left = std::make_shared<std::size_t>(shots->size());
  auto const one_done = [all_done, left](std::exception_ptr) {
    if (--*left == 0) all_done->cancel();
  };
  for (std::size_t call = 0; call < shots->size(); ++call)
    net::co_spawn(strand, fire_one(shots, call, coalesce), one_done);
  if (*left > 0) {
    boost::system::error_code ignored;
    co_await all_done->async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
  co_return shots->report();
}

}  // namespace demo
