// SPDX-License-Identifier: MIT
#include "live.hpp"

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <chrono>

namespace demo {

namespace json = boost::json;
using namespace std::chrono_literals;

namespace {

// Of the list; `in_flight` counts all.
constexpr std::size_t most_flights = 20;

double milliseconds(std::chrono::nanoseconds time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

}  // namespace

reply live(std::uint64_t requests, call_books const& db_calls, std::chrono::milliseconds db_latency,
           cacheflight::statistics const& books, std::vector<flight_view> const& flights) {
  json::array list;
  for (flight_view const& one : flights) {
    if (list.size() == most_flights) break;
    list.push_back(json::object{{"key", one.key},
                                {"waiters", one.waiters},
                                {"age_ms", milliseconds(one.age.value_or(0ns))},
                                {"left_ms", std::max(0.0, milliseconds(one.time_left.value_or(0ns)))}});
  }
  // What is not with it is without it. The three were not read at the same moment.
  auto const rest = [](std::uint64_t all, std::uint64_t part) { return all - std::min(all, part); };
  std::uint64_t const shared = books.hits + books.misses;
  json::object const with{{"requests", shared}, {"executions", books.started}};
  json::object const without{{"requests", rest(requests, shared)},
                             {"executions", rest(db_calls.begun, books.started)}};
  json::object const body{
      {"latency_ms", db_latency.count()}, {"without", without},           {"with", with},
      {"waiters", books.waiters},         {"in_flight", books.in_flight}, {"flights", std::move(list)}};
  return json_reply(json::serialize(body) + '\n');
}

std::shared_ptr<burst> burst::begin(std::atomic<bool>& under_way, call_books const& db_calls,
                                    std::int64_t calls) {
  if (under_way.exchange(true)) return nullptr;
  try {
    return std::make_shared<burst>(under_way, db_calls, static_cast<std::size_t>(calls));
  } catch (...) {
    under_way = false;
    throw;
  }
}

burst::burst(std::atomic<bool>& under_way, call_books const& db_calls, std::size_t calls)
    : under_way_(under_way),
      db_calls_(db_calls),
      executions_before_(db_calls.begun),
      begun_(std::chrono::steady_clock::now()),
      shots_(calls) {}

void burst::answered(std::size_t call, int status) {
  shots_[call] = {milliseconds(std::chrono::steady_clock::now() - begun_), status != 200};
}

reply burst::report() const {
  std::vector<double> latencies;
  std::size_t failed = 0;
  for (shot const& one : shots_) {
    latencies.push_back(one.milliseconds);
    failed += one.failed ? 1 : 0;
  }
  std::sort(latencies.begin(), latencies.end());
  auto const percentile = [&](std::size_t percent) {
    return latencies[(latencies.size() * percent + 99) / 100 - 1];
  };
  json::object const body{{"requests", shots_.size()}, {"executions", db_calls_.begun - executions_before_},
                          {"failed", failed},          {"p50_ms", percentile(50)},
                          {"p95_ms", percentile(95)},  {"wall_ms", latencies.back()}};
  return json_reply(json::serialize(body) + '\n');
}

}  // namespace demo
