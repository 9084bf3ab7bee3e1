// SPDX-License-Identifier: MIT
#include <cacheflight/detail/launch.hpp>

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace {

using cacheflight::detail::launch;

TEST(launch, a_task_that_is_handed_over_runs_once_and_answers_once) {
  launch task;
  EXPECT_FALSE(task.handed_over(false));
  EXPECT_TRUE(task.begin());
  EXPECT_FALSE(task.begin()) << "an executor that runs what it was given twice";
  EXPECT_TRUE(task.answered());
  EXPECT_FALSE(task.answered());
  EXPECT_FALSE(task.dropped());
  EXPECT_FALSE(task.begin());
}

TEST(launch, a_task_may_run_and_answer_before_handing_it_over_returns) {
  for (bool const refused : {false, true}) {  // a strand keeps what it has refused, and runs it
    launch task;
    EXPECT_TRUE(task.begin());
    EXPECT_FALSE(task.begin());
    EXPECT_FALSE(task.handed_over(refused));
    EXPECT_TRUE(task.answered());
    EXPECT_FALSE(task.handed_over(refused));
    EXPECT_FALSE(task.dropped());
  }
}

TEST(launch, a_refused_task_is_settled_by_who_handed_it_over) {
  launch task;
  EXPECT_TRUE(task.handed_over(true));
  EXPECT_FALSE(task.begin()) << "it may have been kept";
  EXPECT_FALSE(task.dropped());
  EXPECT_FALSE(task.answered());
}

TEST(launch, a_task_that_is_dropped_while_it_is_handed_over_is_settled_by_who_hands_it_over) {
  for (bool const refused : {false, true}) {
    launch task;
    EXPECT_FALSE(task.dropped());
    EXPECT_FALSE(task.begin());
    EXPECT_TRUE(task.handed_over(refused));
  }
}

TEST(launch, a_task_that_is_dropped_afterwards_is_abandoned_once) {
  for (bool const runs : {false, true}) {
    launch task;
    EXPECT_FALSE(task.handed_over(false));
    if (runs) {
      EXPECT_TRUE(task.begin());
    }
    EXPECT_TRUE(task.dropped());
    EXPECT_FALSE(task.dropped());
    EXPECT_FALSE(task.answered());
    EXPECT_FALSE(task.begin());
  }
  launch running;
  EXPECT_TRUE(running.begin());
  EXPECT_TRUE(running.dropped());
  EXPECT_FALSE(running.handed_over(false)) << "settled already";
}

/// Writes down what its references do.
struct flight {
  std::string log;
  void retain() { log += "retain "; }
  void dropped() { log += "dropped "; }
  void answer() { log += "answer "; }
  struct core_type {
    static void release(flight& f) { f.log += "release "; }
  };
};

TEST(task_reference, retains_once_and_tells_when_it_is_destroyed) {
  flight f;
  {
    cacheflight::detail::task_reference<flight> one(&f);
    cacheflight::detail::task_reference<flight> two(std::move(one));
    EXPECT_EQ(f.log, "retain ");
    two->answer();
  }
  EXPECT_EQ(f.log, "retain answer dropped release ");
}

}  // namespace
