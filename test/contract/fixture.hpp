// SPDX-License-Identifier: MIT
#pragma once

// The table of fronts, and what every scenario has at hand.

#include "asio_fronts.hpp"
#include "hand_front.hpp"
#include "std_fronts.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>

namespace cacheflight_test {

using namespace std::chrono_literals;
using cacheflight::event_type;
using cacheflight::options;
using cacheflight::run_options;

struct task_failed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

template <class Front>
class contract : public testing::Test {
 protected:
  using group_type = typename Front::group_type;

  void make_group(options opts = {}) { flights.emplace(std::move(opts)); }

  /// A group that writes down its events.
  void make_recording_group(options opts = {}) {
    flights.emplace(opts.on_event([this](cacheflight::event const& e) {
      expect_unlocked("an event callback");
      auto const* text = std::any_cast<char const*>(&e.metadata);
      seen.push_back({e.type, std::string(e.key), e.flight_id, e.waiters, e.duration, e.error != nullptr,
                      text ? *text : ""});
      if (on_event) on_event(e);
    }));
  }

  call& run(std::string key, task_ptr task, run_options opts = {}) {
    return front.run(*flights, std::move(key), std::move(opts), std::move(task));
  }
  void resolve(task_ptr const& task, int number) {
    task->value = number;
    task->open_gate(false);
    front.pump();
  }
  void reject(task_ptr const& task, std::exception_ptr error) {
    task->error = std::move(error);
    task->open_gate(false);
    front.pump();
  }
  void abandon(task_ptr const& task) {
    task->open_gate(true);
    front.pump();
  }
  void leave(call& c) {
    front.leave(c);
    front.pump();
  }
  call& drain(std::chrono::nanoseconds limit = for_ever) {
    call& c = front.drain(*flights, limit);
    front.pump();
    return c;
  }
  bool cancel(std::string_view key) {
    bool const was = flights->cancel(key);
    return was;
  }
  void pass_time(std::chrono::nanoseconds by) { pass(*flights, by); }

  [[nodiscard]] std::vector<event_type> types() const {
    std::vector<event_type> all;
    for (auto const& e : seen) all.push_back(e.type);
    return all;
  }

  void expect_at_rest() {
    auto const s = flights->stats();
    EXPECT_EQ(flights->size(), 0u);
    EXPECT_EQ(s.in_flight, 0u);
    EXPECT_EQ(s.waiters, 0u);
    EXPECT_EQ(s.detached, 0u);
    EXPECT_EQ(s.misses, s.started + s.max_keys_rejected + s.closed_rejected);
    EXPECT_EQ(s.started, s.resolved + s.rejected + s.timed_out + s.cancelled);
  }

  Front front;
  std::optional<group_type> flights{std::in_place};
  std::vector<seen_event> seen;
  std::function<void(cacheflight::event const&)> on_event;

  void TearDown() override {
    on_event = nullptr;
    flights.reset();
    front.pump();
    task_registry::drop_all();
    front.pump();
    for (auto const& c : front.calls) EXPECT_LE(c->completions, 1);
    front.calls.clear();
    EXPECT_EQ(answer::alive, 0);
  }
};

struct front_names {
  template <class Front>
  static std::string GetName(int) {
    std::string name = Front::name;
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
  }
};

}  // namespace cacheflight_test
