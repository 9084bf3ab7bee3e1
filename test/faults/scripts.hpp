// SPDX-License-Identifier: MIT
#pragma once

// What is done while memory is short: one short script for each way through the core, for every front.
// `prepare` runs before, `act` during; then the memory is back and everybody must end as said here.

#include "stage.hpp"

#include <string>

namespace faults {

using may = slot::may;

/// Metadata that is on the heap.
inline cf::run_options with_metadata() { return cf::run_options().metadata(std::string(40, 'm')); }

struct script_base {
  static constexpr bool leads =
      false;  // starts a flight while memory is short, so there are allocations for sure
  static constexpr bool drops = false;  // has a task dropped, which not every front can do
  static cf::options group() { return {}; }
  template <class S>
  static void prepare(S&) {}
};

struct miss : script_base {
  static constexpr bool leads = true;
  static constexpr char const* name = "miss";
  template <class S>
  static void act(S& s) {
    s.run(0, here);
    s.front.pump();
    s.tell(0, told::answer);
    s.expect(0, end::value, may::fail);
  }
};

struct miss_with_metadata_and_deadlines : script_base {
  static constexpr bool leads = true;
  static constexpr char const* name = "miss with metadata and deadlines";
  template <class S>
  static void prepare(S& s) {
    s.opts = with_metadata().timeout(10s).wait_timeout(9s);
  }
  template <class S>
  static void act(S& s) {
    s.run(0, here, s.opts);
    s.front.pump();
    s.tell(0, told::answer);
    s.expect(0, end::value, may::fail);
  }
};

template <told What, end How>
struct at_once : script_base {
  static constexpr bool leads = true;
  static constexpr bool drops = What == told::drop;
  static constexpr char const* name = What == told::answer ? "the task answers at once"
                                      : What == told::fail ? "the task throws at once"
                                                           : "the task is dropped at once";
  template <class S>
  static void act(S& s) {
    s.tasks[0].at_once = What;
    s.run(0, here);
    s.front.pump();
    s.tell(0, What);  // where a task cannot end so before it has waited
    s.expect(0, How, may::fail);
  }
};

struct five_misses : script_base {
  static constexpr bool leads = true;
  static constexpr char const* name = "five misses";
  template <class S>
  static void act(S& s) {
    // More flights at once than the table has buckets at first.
    for (std::size_t i = 0; i < 5; ++i) {
      static constexpr std::array keys{"a", "b", "c", "d", "e"};
      s.run(i, keys.at(i));
      s.front.pump();
      s.expect(i, end::value, may::fail);
    }
  }
};

struct join : script_base {
  static constexpr char const* name = "join";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here);
    s.front.pump();
    s.opts = with_metadata().wait_timeout(9s);
  }
  template <class S>
  static void act(S& s) {
    s.run(1, here, s.opts);
    s.front.pump();
    s.expect(1, end::value, may::fail);
  }
};

/// Three wait; the task ends in one of the ways a task can.
template <told What, end How>
struct settle : script_base {
  static constexpr bool drops = What == told::drop;
  static constexpr char const* name = What == told::answer ? "settle: value"
                                      : What == told::fail ? "settle: the task throws"
                                                           : "settle: the task is abandoned";
  template <class S>
  static void prepare(S& s) {
    for (std::size_t i = 0; i < 3; ++i) {
      s.run(i, here);
      s.front.pump();
    }
  }
  template <class S>
  static void act(S& s) {
    s.tell(0, What);
    for (std::size_t i = 0; i < 3; ++i) s.expect(i, How, may::fail_with_flight);
  }
};

struct from_miss_to_settle : script_base {
  static constexpr bool leads = true;
  static constexpr char const* name = "miss, join, settle";
  template <class S>
  static void act(S& s) {
    for (std::size_t i = 0; i < 2; ++i) {
      s.run(i, here);
      s.front.pump();
      s.expect(i, end::value, may::fail);
    }
    s.tell(0, told::answer);
  }
};

struct leader_leaves : script_base {
  static constexpr char const* name = "the leader leaves";
  template <class S>
  static void prepare(S& s) {
    settle<told::answer, end::value>::prepare(s);
  }
  template <class S>
  static void act(S& s) {
    s.leave(0);
    s.expect(0, end::left);
  }
};

struct last_leaves : script_base {
  static constexpr char const* name = "the last one leaves";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here, with_metadata());
    s.front.pump();
    s.run(1, here);
    s.front.pump();
  }
  template <class S>
  static void act(S& s) {
    s.leave(0);
    s.leave(1);
    s.tell(0, told::answer);  // too late
    s.expect(0, end::left);
    s.expect(1, end::left);
  }
};

struct cancel : script_base {
  static constexpr char const* name = "cancel";
  template <class S>
  static void prepare(S& s) {
    last_leaves::prepare(s);
  }
  template <class S>
  static void act(S& s) {
    EXPECT_TRUE(s.flights->cancel(here));
    EXPECT_FALSE(s.flights->has(here));
    s.front.pump();
    s.tell(0, told::answer);  // too late
    s.expect(0, end::cancelled);
    s.expect(1, end::cancelled);
  }
};

struct clear : script_base {
  static constexpr char const* name = "clear";
  template <class S>
  static void prepare(S& s) {
    last_leaves::prepare(s);
    s.run(2, "k");
    s.front.pump();
  }
  template <class S>
  static void act(S& s) {
    s.flights->clear();
    EXPECT_EQ(s.flights->size(), 0u);
    s.front.pump();
    for (std::size_t i : {0u, 1u, 2u, 6u, 7u}) s.expect(i, end::cancelled);
  }
};

struct flight_times_out : script_base {
  static constexpr char const* name = "the flight times out";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here, cf::run_options().timeout(1s));
    s.front.pump();
    s.run(1, here);
    s.front.pump();
  }
  template <class S>
  static void act(S& s) {
    s.pass(1s);
    s.tell(0, told::answer);  // too late
    s.expect(0, end::timed_out);
    s.expect(1, end::timed_out);
  }
};

struct wait_times_out : script_base {
  static constexpr char const* name = "a wait times out";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here);
    s.front.pump();
    s.run(1, here, cf::run_options().wait_timeout(1s));
    s.front.pump();
  }
  template <class S>
  static void act(S& s) {
    s.pass(1s);
    s.expect(1, end::wait_timed_out);
  }
};

/// Superseding has happened if and only if the call leads.
struct not_before : script_base {
  static constexpr bool leads = true;
  static constexpr char const* name = "a call that takes nothing older";
  static cf::options group() { return cf::options().max_keys(2); }
  template <class S>
  static void prepare(S& s) {
    s.run(0, here);
    s.front.pump();
    s.opts = with_metadata().not_before(cacheflight_test::manual_clock::now());
  }
  template <class S>
  static void act(S& s) {
    s.run(1, here, s.opts);
    s.front.pump();
    auto const books = s.flights->stats();
    EXPECT_EQ(books.superseded, books.misses - 2) << "a bystander's and the first one's";
    s.tell(0, told::answer);
    s.expect(0, end::value, may::fail_with_flight);
    s.tell(1, told::answer);
    s.expect(1, end::value, may::fail);
  }
};

struct superseded : script_base {
  static constexpr char const* name = "the flight is superseded";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here);
    s.front.pump();
  }
  template <class S>
  static void act(S& s) {
    s.flights->supersede(here);
    s.flights->supersede();
    s.tell(0, told::answer);
    s.expect(0, end::value, may::fail_with_flight);
  }
};

struct group_destroyed : script_base {
  static constexpr char const* name = "the group is destroyed";
  template <class S>
  static void prepare(S& s) {
    last_leaves::prepare(s);
  }
  template <class S>
  static void act(S& s) {
    s.flights.reset();
    s.front.pump();
    for (std::size_t i : {0u, 1u, 6u, 7u}) s.expect(i, end::cancelled);
  }
};

struct at_the_cap : script_base {
  static constexpr char const* name = "refused at the cap";
  static cf::options group() { return cf::options().max_keys(1); }
  template <class S>
  static void prepare(S& s) {
    s.opts = with_metadata();
  }
  template <class S>
  static void act(S& s) {
    s.run(0, here, s.opts);
    s.front.pump();
    s.expect(0, end::max_keys, may::fail);
  }
};

struct already_stopped : script_base {
  static constexpr char const* name = "a caller that was stopped before it called";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here);
    s.front.pump();
    s.calls[1].stop.request_stop();
  }
  template <class S>
  static void act(S& s) {
    s.run(1, here);
    s.front.pump();
    if (s.front.watches_stop) s.expect(1, end::left, may::fail);
    else s.expect(1, end::value, may::fail);
  }
};

/// A caller that goes on calls again.
struct call_again : script_base {
  static constexpr bool leads = true;
  static constexpr char const* name = "a resumed caller calls again";
  template <class S>
  static void prepare(S& s) {
    s.run(0, here);
    s.front.pump();
    s.tasks[1].at_once = told::answer;
    s.calls[0].on_complete = [&s] {
      int const was = std::exchange(injection::paused, 0);
      s.run(1, here);
      injection::paused = was;
    };
  }
  template <class S>
  static void act(S& s) {
    s.tell(0, told::answer);
    s.expect(0, end::value, may::fail_with_flight);
    s.expect(1, end::value, may::fail);
  }
};

}  // namespace faults
