// SPDX-License-Identifier: MIT
#pragma once

// Every script with every front, failing at each allocation in turn until it completes without a failure.

#include "scripts.hpp"

#include <cstdio>

namespace faults {

/// The n-th allocation fails, or none. Returns whether one did, or would have but for a known limit.
template <class Front, class Script>
bool run_once(long nth, shortage how, bool events) {
  long const before = injection::live();
  {
    auto const s = std::make_unique<stage<Front>>(Script::group(), events);
    s->nth = nth;
    s->how = how;
    Script::prepare(*s);
    s->under_faults([&] { Script::act(*s); });
    s->finish();
  }
  if (nth > 0) {
    EXPECT_EQ(injection::live(), before) << "leaked, or freed twice";
  }
  EXPECT_EQ(answer::alive, 0);
  return injection::failed() + injection::spared() > 0;
}

struct tally {
  long allocations = 0;  // seen in a run without failures, events or not
  long points = 0;       // failures injected
  long spared = 0;
};

/// Returns how many places of failure there were.
template <class Front, class Script>
tally sweep() {
  tally sum;
  for (bool const events : {false, true}) {
    run_once<Front, Script>(0, shortage::once, events);
    sum.allocations += injection::seen();
    for (shortage const how : {shortage::once, shortage::lasting})
      for (long nth = 1;; ++nth) {
        SCOPED_TRACE(std::string(Front::name) + ", " + Script::name + (events ? ", events" : "") +
                     ", allocation " + std::to_string(nth) +
                     (how == shortage::once ? "" : " and all that follow"));
        bool const more = run_once<Front, Script>(nth, how, events);
        sum.points += injection::failed() > 0;
        sum.spared += injection::spared() > 0;
        if (testing::Test::HasFailure()) {
          ADD_FAILURE() << "first failure injected at" << injection::where();
          return sum;
        }
        if (!more) break;
      }
  }
  return sum;
}

template <class... Scripts>
struct scripts {};

using all_scripts =
    scripts<miss, miss_with_metadata_and_deadlines, at_once<told::answer, end::value>,
            at_once<told::fail, end::failed>, at_once<told::drop, end::abandoned>, five_misses, join,
            settle<told::answer, end::value>, settle<told::fail, end::failed>,
            settle<told::drop, end::abandoned>, from_miss_to_settle, leader_leaves, last_leaves, cancel,
            clear, flight_times_out, wait_times_out, not_before, superseded, group_destroyed, at_the_cap,
            already_stopped, call_again>;

template <class Front, class Script>
void report(tally& sum) {
  if (testing::Test::HasFailure() || (Script::drops && !Front::can_drop)) return;
  tally const t = sweep<Front, Script>();
  std::printf("  %-22s %-44s %4ld allocations, %4ld failures injected", Front::name, Script::name,
              t.allocations, t.points);
  if (t.spared > 0) std::printf(", %ld known limits", t.spared);
  std::printf("\n");
  EXPECT_GE(t.allocations, Script::leads ? 4 : 0) << Script::name << ": vacuous";
  EXPECT_GE(t.points + t.spared, t.allocations) << Script::name << ": places were missed";
  sum.allocations += t.allocations;
  sum.points += t.points;
  sum.spared += t.spared;
}

/// All scripts, with a table of what they met.
template <class Front, class... Scripts>
tally sweep_all(scripts<Scripts...>) {
  tally sum;
  (report<Front, Scripts>(sum), ...);
  std::printf("  %-22s %-44s %4ld allocations, %4ld failures injected, %ld known limits\n", Front::name,
              "TOTAL", sum.allocations, sum.points, sum.spared);
  return sum;
}

template <class Front>
class bad_alloc : public testing::Test {};

}  // namespace faults
