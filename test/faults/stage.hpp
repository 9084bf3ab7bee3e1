// SPDX-License-Identifier: MIT
#pragma once

// A group, its callers and their tasks, whose own bookkeeping allocates nothing while faults are injected.
//
//   struct some_front {
//     void run(group, slot&, key, run_options const&, task&);  // a call; the library copies the options
//     void leave(slot&);                                       // the caller is cancelled by its own means
//     void pump();                                             // lets all that is ready run; throws nothing
//     void forget(span<slot>);                                 // these have completed, and go
//     void close();                                            // nothing more is done
//   };

#include "../contract/front.hpp"
#include "injection.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <new>
#include <stop_token>
#include <string>
#include <string_view>
#include <typeinfo>

namespace faults {

namespace cf = cacheflight;
namespace cd = cacheflight::detail;
using cacheflight_test::answer;
using cacheflight_test::manual_driver;
using cacheflight_test::manual_group;
using cacheflight_test::manual_platform;
using core_type = cd::core<manual_platform>;
using namespace std::chrono_literals;

inline constexpr char const* here = "a key that is too long for the small string optimization";
inline constexpr char const* elsewhere = "another key that is too long for the small string optimization";

struct task_failed : std::exception {
  char const* what() const noexcept override { return "the task failed"; }
};

/// What a task does: at once, or when it is told to.
enum class told { wait, answer, fail, drop };

/// A task in the script's hands.
struct task {
  told at_once = told::wait;
  int number = 7;
  int invoked = 0;
  bool asked_to_stop = false;
  void (*open)(task&, told) = nullptr;  // set while it waits
  void* at = nullptr;                   // the front's

  void tell(told what) {
    if (auto* const go = std::exchange(open, nullptr)) go(*this, what);
  }
  [[nodiscard]] answer now() const {
    if (at_once == told::fail) throw task_failed();
    return answer(number);
  }
};

/// How a call ended.
enum class end {
  open,
  value,
  failed,
  abandoned,
  cancelled,
  timed_out,
  wait_timed_out,
  left,
  max_keys,
  mismatch,
  memory,
  refused,
  other
};

/// One call and what became of it.
struct slot {
  int completions = 0;
  int number = 0;
  std::exception_ptr error;
  std::exception_ptr thrown;  // by the starting call itself
  bool left = false;
  bool unable_to_leave = false;  // the caller's own way to cancel it could not be gone
  std::stop_source stop;
  void* at = nullptr;                 // the front's
  std::function<void()> on_complete;  // set before faults are injected

  bool used = false;
  end expected = end::value;
  enum class may { not_fail, fail_with_flight, fail } memory = may::not_fail;

  void complete(std::shared_ptr<answer const> const& value, std::exception_ptr e) {
    ++completions;
    if (value) number = value->number;
    error = std::move(e);
    if (on_complete) on_complete();
  }

  [[nodiscard]] end how() const {
    if (left) return end::left;
    std::exception_ptr const e = thrown ? thrown : error;
    if (!e) return completions == 0 ? end::open : number == 7 ? end::value : end::other;
    try {
      std::rethrow_exception(e);
    } catch (task_failed const&) {
      return end::failed;
    } catch (cf::abandoned_error const&) {
      return end::abandoned;
    } catch (cf::cancelled_error const&) {
      return end::cancelled;
    } catch (cf::timeout_error const& t) {
      return t.scope() == cf::timeout_scope::flight ? end::timed_out : end::wait_timed_out;
    } catch (cf::caller_stopped_error const&) {
      return end::left;
    } catch (cf::max_keys_error const&) {
      return end::max_keys;
    } catch (cf::type_mismatch_error const&) {
      return end::mismatch;
    } catch (std::bad_alloc const&) {
      return end::memory;
    } catch (std::system_error const& s) {
      return s.code() == std::errc::resource_unavailable_try_again ? end::refused
             : s.code() == std::errc::operation_canceled           ? end::left
                                                                   : end::other;
    } catch (...) {
      return end::other;
    }
  }
};

/// How GoogleTest names a front's tests.
struct front_names {
  template <class Front>
  static std::string GetName(int) {
    std::string name = Front::name;
    std::erase(name, ',');
    std::replace(name.begin(), name.end(), ' ', '_');
    return name;
  }
};

inline char const* to_string(end e) {
  constexpr std::array names{"open",      "value",          "failed", "abandoned", "cancelled",
                             "timed_out", "wait_timed_out", "left",   "max_keys",  "mismatch",
                             "memory",    "refused",        "other"};
  return names.at(static_cast<std::size_t>(e));
}

/// The caller's options, made before it calls.
inline cf::run_options watched_by(slot& c, cf::run_options const& opts) {
  pause const own;
  return cf::run_options(opts).stop_token(c.stop.get_token());
}

/// One run of a script with one front, one place of failure.
template <class Front>
class stage {
 public:
  static constexpr std::size_t size = 8;

  explicit stage(cf::options group, bool events) {
    if (events) group.on_event([this](cf::event const& e) { ++seen[static_cast<std::size_t>(e.type)]; });
    with_events = events;
    flights.emplace(std::move(group));
    core = &cd::access::core(*flights);
    core->retain();  // time goes on when the group is gone
    // Bystanders on another key, there before anything fails and answered after.
    run(6, elsewhere);
    run(7, elsewhere);
    front.pump();
  }
  stage(stage const&) = delete;
  ~stage() { core->release(); }

  slot& run(std::size_t i, char const* key, cf::run_options const& options = {}) {
    slot& c = calls.at(i);
    c.used = true;
    try {
      front.run(*flights, c, key, options, tasks.at(i));
    } catch (...) {
      c.thrown = std::current_exception();
    }
    return c;
  }
  void leave(std::size_t i) {
    front.leave(calls.at(i));
    front.pump();
  }
  void tell(std::size_t i, told what) {
    tasks.at(i).tell(what);
    front.pump();
  }
  void pass(std::chrono::nanoseconds by) {
    cacheflight_test::manual_clock::advance(by);
    (void)cacheflight_test::run_threads(*core);
    front.pump();
  }
  void expect(std::size_t i, end outcome, slot::may memory = slot::may::not_fail) {
    calls.at(i).expected = outcome;
    calls.at(i).memory = memory;
  }

  /// The part where faults are injected.
  template <class F>
  void under_faults(F&& f) {
    ASSERT_EQ(injection::paused, 0);
    injection::watched = true;
    injection::arm(nth, how);
    f();
    injection::disarm();
    ASSERT_EQ(injection::paused, 0);
    injection::watched = false;
  }

  /// What was refused is tried again, and goes.
  void recover() {
    for (int i = 0; i < 4; ++i) pass(1ms);
  }

  /// The memory is back. Everybody ends as the contract says, and nothing is left.
  void finish() {
    recover();
    for (std::size_t i = 0; i < size; ++i) tell(i, told::answer);
    recover();
    check_calls();
    if (flights) check_rest();
    flights.reset();
    recover();
    front.close();
    for (slot& c : calls) c.error = c.thrown = nullptr;
  }

  [[nodiscard]] std::uint64_t events(cf::event_type type) const {
    return seen.at(static_cast<std::size_t>(type));
  }

  long nth = 0;
  shortage how = shortage::once;
  bool with_events = false;
  cf::run_options opts;  // made before faults are injected, for a call during them
  Front front;
  std::array<slot, size> calls;
  std::array<task, size> tasks;
  std::array<std::uint64_t, 9> seen{};
  std::optional<manual_group> flights;
  core_type* core = nullptr;

 private:
  void check_calls() {
    bool const failed = injection::failed() > 0;
    std::exception_ptr memory;
    for (std::size_t i = 0; i < size; ++i) {
      slot const& c = calls.at(i);
      if (!c.used) continue;
      SCOPED_TRACE("call " + std::to_string(i));
      EXPECT_EQ(c.completions, c.thrown ? 0 : 1);
      end const was = c.how();
      if (was == end::memory && failed && c.memory != slot::may::not_fail) {
        // One failure: one call alone, or a flight's outcome, which is one object for all.
        std::exception_ptr const mine = c.thrown ? c.thrown : c.error;
        if (how == shortage::once && memory) {
          EXPECT_TRUE(memory == mine) << "two victims of one failure";
        }
        memory = mine;
        if (c.memory == slot::may::fail_with_flight) {
          EXPECT_GE(core->stats().rejected, 1u);
        }
      } else if (!(c.unable_to_leave && c.expected == end::left && was == end::value)) {
        EXPECT_STREQ(to_string(was), to_string(c.expected));
      }
    }
  }

  void check_rest() {
    check_books();
    // The key is as usable as ever.
    std::array<slot, 2> more;
    task again, unused;
    front.run(*flights, more[0], here, {}, again);
    front.pump();
    front.run(*flights, more[1], here, {}, unused);
    front.pump();
    EXPECT_TRUE(flights->has(here));
    again.tell(told::answer);
    front.pump();
    recover();
    for (slot const& c : more) EXPECT_STREQ(to_string(c.how()), "value");
    EXPECT_EQ(again.invoked, 1);
    EXPECT_EQ(unused.invoked, 0);
    check_books();
    front.forget(more);
  }

  /// Rule 23.
  void check_books() {
    auto const s = flights->stats();
    EXPECT_EQ(s.in_flight, 0u);
    EXPECT_EQ(s.waiters, 0u);
    EXPECT_EQ(s.detached, 0u);
    EXPECT_EQ(flights->size(), 0u);
    EXPECT_EQ(s.misses, s.started + s.max_keys_rejected);
    EXPECT_EQ(s.started, s.resolved + s.rejected + s.timed_out + s.cancelled);
    EXPECT_EQ(s.callback_failures, 0u);
    if (!with_events) return;
    using type = cf::event_type;
    EXPECT_EQ(events(type::hit), s.hits);
    EXPECT_EQ(events(type::miss), s.misses);
    EXPECT_EQ(events(type::task_started), s.started);
    EXPECT_EQ(events(type::task_resolved), s.resolved);
    EXPECT_EQ(events(type::task_rejected), s.rejected);
    EXPECT_EQ(events(type::task_timed_out), s.timed_out);
    EXPECT_EQ(events(type::task_cancelled), s.cancelled);
    EXPECT_EQ(events(type::max_keys_rejected), s.max_keys_rejected);
  }
};

}  // namespace faults
