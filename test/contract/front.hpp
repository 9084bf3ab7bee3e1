// SPDX-License-Identifier: MIT
#pragma once

// What the contract suite needs of a front. Each scenario is written once, against this, and runs through
// every front:
//
//   struct some_front : front_traits {
//     call& run(group, key, run_options, task);             // starts a call; it waits
//     call& run_other_type(group, key, run_options, task);  // the same with another result type
//     void leave(call&);                                    // the caller is cancelled by its own means
//     call& drain(group, limit);                            // waits for the end of all: 1 if that is quiet, 0
//     bool vanish(call&);                                // destroyed while it waits; false: no such thing here
//     void pump();                                          // let everything that is ready run
//   };

#include "../support/errors.hpp"
#include "../support/manual_platform.hpp"

#include <any>
#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace cacheflight_test {

/// The value that tasks yield. Says where it was copied or destroyed under a lock.
struct answer {
  int number = 0;
  explicit answer(int n) : number(n) { ++alive; }
  answer(answer&& other) noexcept : number(other.number) { ++alive; }
  answer(answer const&) = delete;
  answer& operator=(answer const&) = delete;
  ~answer() {
    expect_unlocked("destructor of a value");
    --alive;
  }
  static inline std::atomic<int> alive = 0;
};

/// A task in the test's hands. What the task is told and what became of it can be read here; what it does is
/// decided here.
struct task_state {
  // What happened.
  int invoked = 0;
  bool stop_requested = false;
  std::atomic<bool> unwound{false};  // its function object and its coroutine are destroyed

  // What it does when invoked, instead of waiting.
  std::optional<int> inline_value;
  std::exception_ptr inline_error;
  bool obeys = false;                  // ends with an error of its own when it is asked to stop
  std::function<void()> when_invoked;  // runs first

  // What it waits for.
  std::optional<int> value;
  std::exception_ptr error;
  std::function<void(bool drop)> open_gate;  // set while it waits
};
using task_ptr = std::shared_ptr<task_state>;

/// Tasks that a test made and may have left waiting.
struct task_registry {
  static inline std::mutex mutex;
  static inline std::vector<std::weak_ptr<task_state>> tasks;

  static void drop_all() {
    for (auto const& each : std::exchange(tasks, {}))
      if (auto const task = each.lock(); task && task->open_gate) task->open_gate(true);
  }
};

inline task_ptr make_task() {
  auto task = std::make_shared<task_state>();
  std::scoped_lock lock(task_registry::mutex);
  task_registry::tasks.push_back(task);
  return task;
}

/// Bound into tasks: tells when the task's own things are destroyed, and that no lock is held then.
class sentinel {
 public:
  explicit sentinel(task_ptr task) : task_(std::move(task)) {}
  sentinel(sentinel&& other) noexcept = default;
  sentinel(sentinel const&) = delete;
  sentinel& operator=(sentinel&&) = delete;
  ~sentinel() {
    expect_unlocked("destructor of a task");
    if (task_) task_->unwound = true;
  }

 private:
  task_ptr task_;
};

struct stopped_as_asked : std::exception {
  char const* what() const noexcept override { return "stopped as asked"; }
};

/// One call and what became of it.
struct call {
  virtual ~call() = default;
  int completions = 0;
  std::shared_ptr<answer const> value;
  std::exception_ptr error;
  bool left = false;                  // completed with the front's own "you were cancelled"
  std::function<void()> on_complete;  // runs in the caller when it goes on

  [[nodiscard]] bool done() const { return completions > 0; }

  template <class E>
  [[nodiscard]] bool failed_with() const {
    return is<E>(error);
  }

  void complete(std::shared_ptr<answer const> v, std::exception_ptr e) {
    expect_unlocked("a caller that goes on");
    ++completions;
    value = std::move(v);
    error = std::move(e);
    if (on_complete) on_complete();
  }
};

/// What a front cannot do is said here, and the scenarios that need it are skipped with that reason.
struct front_traits {
  static constexpr bool can_drain = true;
  static constexpr char const* cannot_drain = "";
  static constexpr bool can_abandon = true;  // a task can vanish while it waits
  static constexpr char const* cannot_abandon = "";
  static constexpr bool pumped = true;  // callers go on when the test pumps, not before
  static constexpr char const* not_pumped = "";
};

/// No limit.
inline constexpr std::chrono::nanoseconds for_ever = std::chrono::nanoseconds::max();

/// What `on_event` saw.
struct seen_event {
  cacheflight::event_type type;
  std::string key;
  std::uint64_t flight_id;
  std::size_t waiters;
  std::chrono::nanoseconds duration;
  bool has_error;
  std::string metadata;

  friend bool operator==(seen_event const& e, cacheflight::event_type t) { return e.type == t; }
};

}  // namespace cacheflight_test
