// SPDX-License-Identifier: MIT

// Rules, or parts of rules, that only the core's own steps can show: between two steps of a front, or on two threads.

#include "hand_front.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <latch>
#include <mutex>
#include <new>
#include <set>
#include <thread>

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::event_type;
using cacheflight::options;
using cacheflight::run_options;
using core_type = hand_front::core_type;

TEST(R10, a_refused_hand_over_is_tried_again_and_the_outcome_is_not_lost) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  call& a = front.run(flights, "k", {}, task);
  call& b = front.run(flights, "k", {}, make_task());
  front.refuse = 3;
  task->value = 7;
  task->open_gate(false);  // refused twice: both are stranded
  front.pump();
  EXPECT_FALSE(a.done() || b.done());
  pass(flights, 1ms);  // refused once more, then taken
  front.pump();
  EXPECT_NE(a.done(), b.done());
  pass(flights, 1ms);
  front.pump();
  EXPECT_EQ(a.value->number, 7);
  EXPECT_EQ(b.value->number, 7);
  EXPECT_EQ(a.completions + b.completions, 2);
}

TEST(R10, hand_overs_that_cannot_even_be_scheduled_for_later_are_found_by_the_next_call) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  call& a = front.run(flights, "k", {}, task);
  front.refuse = 1;
  manual_driver::refuse = true;
  task->value = 7;
  task->open_gate(false);
  manual_driver::refuse = false;
  auto& driver = cd::access::core(flights).driver();
  EXPECT_EQ(driver.wake, manual_clock::time_point::max());
  auto const other = make_task();
  front.run(flights, "other", {}, other);
  EXPECT_NE(driver.wake, manual_clock::time_point::max());
  pass(flights, 1ms);
  front.pump();
  EXPECT_EQ(a.value->number, 7);
  other->value = 1;
  other->open_gate(false);
  front.pump();
}

TEST(R10, a_stranded_waiter_may_vanish_and_may_outlive_the_group) {
  hand_front front;
  auto const task = make_task();
  std::optional<manual_group> flights{std::in_place};
  call& a = front.run(*flights, "k", {}, task);
  call& b = front.run(*flights, "k", {}, make_task());
  front.refuse = 2;
  task->value = 7;
  task->open_gate(false);
  EXPECT_TRUE(front.vanish(a));
  auto& core = cd::access::core(*flights);
  core.retain();
  flights.reset();
  manual_clock::advance(1ms);
  (void)core.run_due();  // as the lingering deadline thread would
  core.release();
  front.pump();
  EXPECT_EQ(b.value->number, 7);
}

TEST(R16, a_refused_stop_request_is_repeated) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  front.run(flights, "k", {}, task);
  hand_front::hand_flight::refuse_stops = 2;
  flights.cancel("k");
  EXPECT_FALSE(task->stop_requested);
  pass(flights, 1ms);
  EXPECT_FALSE(task->stop_requested);
  pass(flights, 1ms);
  EXPECT_TRUE(task->stop_requested);
  task->value = 1;
  task->open_gate(false);
  front.pump();
}

// What a front does between becoming a waiter and suspending; see hand_front::enter.
struct half_entered {
  hand_front front;
  hand_front::hand_call call{&front};

  cd::admission enter(manual_group& flights, std::string key, task_ptr task) {
    run_options opts;
    return cd::access::enter(flights, key, call, opts, typeid(answer), [&](std::string& k) {
      return new hand_front::hand_flight(std::move(k), typeid(answer), {}, task);
    });
  }
};

TEST(R29, a_waiter_released_before_it_suspends_is_told_so_and_not_handed_over) {
  manual_group flights;
  hand_front leading;
  auto const task = make_task();
  leading.run(flights, "k", {}, task);
  half_entered joiner;
  ASSERT_EQ(joiner.enter(flights, "k", make_task()), cd::admission::joined);
  task->value = 7;
  task->open_gate(false);
  EXPECT_TRUE(joiner.front.ready.empty());
  EXPECT_TRUE(core_type::released(joiner.call));
  EXPECT_FALSE(core_type::arm(joiner.call));
  joiner.call.take_turn();
  EXPECT_EQ(joiner.call.value->number, 7);
  leading.pump();
}

TEST(R29, a_waiter_cancelled_before_it_suspends_leaves) {
  manual_group flights;
  hand_front leading;
  auto const task = make_task();
  call& leader = leading.run(flights, "k", {}, task);
  half_entered joiner;
  ASSERT_EQ(joiner.enter(flights, "k", make_task()), cd::admission::joined);
  core_type::leave(joiner.call);
  core_type::leave(joiner.call);  // gone already
  EXPECT_TRUE(joiner.front.ready.empty()) << "not suspended: nobody but its caller may resume it";
  EXPECT_EQ(flights.stats().waiters, 1u);
  EXPECT_FALSE(core_type::arm(joiner.call));
  joiner.call.take_turn();
  EXPECT_TRUE(joiner.call.left);
  task->value = 7;
  task->open_gate(false);
  leading.pump();
  EXPECT_EQ(leader.value->number, 7);
}

TEST(R26, a_leaver_gets_its_turn_from_who_made_it_leave_and_after_the_callbacks) {
  // Whoever else comes by while the event of its flight's end is delivered must not resume it.
  hand_front* watched = nullptr;
  std::optional<manual_group> flights;
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_cancelled) return;
    (void)cd::access::core(*flights).run_due();
    EXPECT_TRUE(watched->ready.empty());
  }));
  hand_front front;
  watched = &front;
  auto const task = make_task();
  call& only = front.run(*flights, "k", {}, task);
  front.leave(only);
  EXPECT_EQ(front.ready.size(), 1u);
  front.pump();
  EXPECT_TRUE(only.left);
  task->value = 1;
  task->open_gate(false);
}

TEST(R29, a_cancel_that_comes_after_the_outcome_changes_nothing) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  call& a = front.run(flights, "k", {}, task);
  task->value = 7;
  task->open_gate(false);
  front.leave(a);  // released, its turn not taken yet
  front.pump();
  EXPECT_FALSE(a.left);
  EXPECT_EQ(a.value->number, 7);
  EXPECT_EQ(a.completions, 1);
}

TEST(R11, a_destroyed_waiter_has_left_and_the_last_one_dooms_the_flight) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  call& a = front.run(flights, "k", {}, task);
  call& b = front.run(flights, "k", run_options().wait_timeout(1s), make_task());
  front.vanish(a);
  EXPECT_EQ(flights.stats().waiters, 1u);
  EXPECT_FALSE(task->stop_requested);
  front.vanish(b);
  EXPECT_TRUE(task->stop_requested);
  EXPECT_FALSE(flights.has("k"));
  pass(flights, 1s);  // its deadline went with it
  task->value = 1;
  task->open_gate(false);
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R29, a_resumed_waiter_may_destroy_others_that_are_settled_and_not_resumed_yet) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  call& a = front.run(flights, "k", {}, task);
  call& b = front.run(flights, "k", {}, make_task());
  front.on_hand_over = [&] { front.vanish(b); };  // b is settled, and still queued
  task->value = 7;
  task->open_gate(false);
  front.pump();
  EXPECT_EQ(a.value->number, 7);
  EXPECT_EQ(front.calls.size(), 1u);
}

// ---- rule 26 on two threads ---------------------------------------------------------------------------------------

TEST(R26, nobody_blocks_for_a_callback_and_its_thread_delivers_the_last_event_and_releases_the_waiters) {
  std::latch in_hit(1), may_return(1);
  std::mutex guard;
  std::vector<std::pair<event_type, std::thread::id>> seen;
  manual_group flights{options().on_event([&](cacheflight::event const& e) {
    {
      std::scoped_lock lock(guard);
      seen.emplace_back(e.type, std::this_thread::get_id());
    }
    if (e.type == event_type::hit) {
      in_hit.count_down();
      may_return.wait();
    }
  })};
  hand_front leading, joining;
  auto const task = make_task();
  call& a = leading.run(flights, "k", {}, task);
  std::thread::id joiner_id;
  std::thread joiner([&] {
    joiner_id = std::this_thread::get_id();
    joining.run(flights, "k", {}, make_task());
  });
  in_hit.wait();
  task->value = 7;
  task->open_gate(false);  // returns although the callback blocks
  EXPECT_FALSE(flights.has("k"));
  EXPECT_TRUE(leading.ready.empty()) << "no waiter resumes before the last event";
  {
    std::scoped_lock lock(guard);
    EXPECT_EQ(seen.back().first, event_type::hit);
  }
  may_return.count_down();
  joiner.join();
  leading.pump();
  joining.pump();
  EXPECT_EQ(a.value->number, 7);
  EXPECT_EQ(joining.calls[0]->value->number, 7);
  EXPECT_EQ(seen.back(), std::pair(event_type::task_resolved, joiner_id));
}

TEST(R26, a_task_is_asked_to_stop_at_once_even_while_an_event_is_being_delivered) {
  std::latch in_hit(1), may_return(1);
  manual_group flights{options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::hit) return;
    in_hit.count_down();
    may_return.wait();
  })};
  hand_front leading, joining;
  auto const task = make_task();
  leading.run(flights, "k", {}, task);
  std::thread joiner([&] { joining.run(flights, "k", {}, make_task()); });
  in_hit.wait();
  EXPECT_TRUE(flights.cancel("k"));
  EXPECT_TRUE(task->stop_requested);
  may_return.count_down();
  joiner.join();
  leading.pump();
  joining.pump();
  task->value = 1;
  task->open_gate(false);
  EXPECT_TRUE(joining.calls[0]->failed_with<cacheflight::cancelled_error>());
}

// A flight that is closed while another thread delivers one of its events is that thread's: whoever closed it must not
// touch it again.
TEST(R26, who_closes_a_flight_whose_end_another_thread_announces_does_not_touch_it_afterwards) {
  for (bool const by_clear : {false, true}) {
    std::latch in_hit(1), may_return(1);
    manual_group flights{options().on_event([&](cacheflight::event const& e) {
      if (e.type != event_type::hit) return;
      in_hit.count_down();
      may_return.wait();
    })};
    hand_front leading, joining;
    half_entered leader;  // its task cannot be asked to stop yet: nothing but the callback holds the flight
    ASSERT_EQ(leader.enter(flights, "k", make_task()), cd::admission::leads);
    std::thread joiner([&] { joining.run(flights, "k", {}, make_task()); });
    in_hit.wait();
    std::function<void()> const interfere = [&] {
      if (leader.call.joined()->why() == cd::cause::open) {  // clear() begins with another shard
        checked_mutex::after_unlock = interfere;
        return;
      }
      may_return.count_down();
      joiner.join();
      joining.pump();
      auto& flight = *leader.call.joined();
      EXPECT_FALSE(core_type::arm(leader.call));
      leader.call.take_turn();
      core_type::settle(flight, cd::cause::abandoned, nullptr, nullptr);  // the last reference
    };
    checked_mutex::after_unlock = interfere;
    if (by_clear) flights.clear();
    else EXPECT_TRUE(flights.cancel("k"));
    EXPECT_TRUE(leader.call.failed_with<cacheflight::cancelled_error>());
    EXPECT_TRUE(joining.calls[0]->failed_with<cacheflight::cancelled_error>());
  }
}

TEST(R13, clear_and_a_refused_stop_request_of_the_same_flight_do_not_mix_up_their_lists) {
  manual_group flights;
  half_entered one, two;
  auto const first = make_task(), second = make_task();
  ASSERT_EQ(one.enter(flights, "k1", first), cd::admission::leads);
  ASSERT_EQ(two.enter(flights, "k1x", second), cd::admission::leads);
  auto &f1 = *one.call.joined(), &f2 = *two.call.joined();
  hand_front::hand_flight::refuse_stops = 2;
  EXPECT_TRUE(core_type::arm(one.call) && core_type::arm(two.call));
  std::set<cd::flight<manual_platform>*> told;
  std::function<void()> const interfere = [&] {
    if (f1.why() == cd::cause::open && f2.why() == cd::cause::open) {
      checked_mutex::after_unlock = interfere;
      return;
    }
    for (auto* f : {&f1, &f2})
      if (f->why() != cd::cause::open) told.insert(f), core_type::stoppable(*f);
  };
  checked_mutex::after_unlock = interfere;
  flights.clear();
  for (auto* f : {&f1, &f2})
    if (!told.contains(f)) core_type::stoppable(*f);
  pass(flights, 1ms);
  EXPECT_TRUE(first->stop_requested || second->stop_requested);
  pass(flights, 1ms);
  EXPECT_TRUE(first->stop_requested && second->stop_requested);
  EXPECT_EQ(flights.stats().cancelled, 2u);
  one.front.pump();
  two.front.pump();
  EXPECT_EQ(one.call.completions, 1);
  EXPECT_EQ(two.call.completions, 1);
  for (auto* f : {&f1, &f2}) core_type::settle(*f, cd::cause::abandoned, nullptr, nullptr);
}

TEST(R30, without_a_group_no_deadline_keeps_the_core) {
  std::optional<manual_group> flights;
  auto* core = static_cast<core_type*>(nullptr);
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_resolved) return;
    core = &cd::access::core(*flights);
    core->retain();
    flights.reset();  // in the last event of a flight whose waiter has a deadline
    EXPECT_EQ(core->run_due(), manual_clock::time_point::max());
    core->release();
  }));
  hand_front front;
  auto const task = make_task();
  call& a = front.run(*flights, "k", run_options().wait_timeout(1h), task);
  task->value = 7;
  task->open_gate(false);
  front.pump();
  EXPECT_EQ(a.value->number, 7);
}

TEST(R30, a_callback_may_destroy_the_group_that_clears) {
  std::optional<manual_group> flights;
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type == event_type::task_cancelled) flights.reset();
  }));
  hand_front front;
  std::vector<task_ptr> tasks;
  for (int i = 0; i < 10; ++i) front.run(*flights, "k" + std::to_string(i), {}, tasks.emplace_back(make_task()));
  flights->clear();
  front.pump();
  for (auto const& c : front.calls) EXPECT_TRUE(c->failed_with<cacheflight::cancelled_error>());
  for (auto const& t : tasks) {
    EXPECT_TRUE(t->stop_requested);
    t->value = 1;
    t->open_gate(false);
  }
}

// ---- rules 1 and 21 on several threads ----------------------------------------------------------------------------

TEST(R01, many_threads_and_one_key_make_one_flight) {
  constexpr int threads = 4, rounds = 300;
  manual_group flights;
  std::barrier sync(threads);
  std::atomic<int> leaders{0};
  std::vector<std::thread> pool;
  std::array<hand_front, threads> fronts;
  std::array<task_ptr, threads> tasks;
  for (int t = 0; t < threads; ++t)
    pool.emplace_back([&, t] {
      auto& front = fronts[static_cast<std::size_t>(t)];
      for (int r = 0; r < rounds; ++r) {
        auto const task = tasks[static_cast<std::size_t>(t)] = make_task();
        sync.arrive_and_wait();
        front.run(flights, "k", {}, task);
        leaders += task->invoked;
        sync.arrive_and_wait();
        if (t == 0) {
          EXPECT_EQ(leaders, 1);
          EXPECT_EQ(flights.size(), 1u);
          EXPECT_EQ(flights.stats().waiters, static_cast<std::size_t>(threads));
          for (auto const& each : tasks)
            if (each->open_gate) each->value = r, each->open_gate(false);
          leaders = 0;
        }
        sync.arrive_and_wait();
        front.pump();
        EXPECT_EQ(front.calls.back()->value->number, r);
        front.calls.clear();
        sync.arrive_and_wait();
      }
    });
  for (auto& thread : pool) thread.join();
  EXPECT_EQ(flights.stats().started, static_cast<std::uint64_t>(rounds));
  EXPECT_EQ(flights.stats().hits, static_cast<std::uint64_t>(rounds * (threads - 1)));
}

TEST(R21, the_cap_is_exact_whatever_the_threads_do) {
  constexpr int threads = 4, rounds = 300;
  constexpr std::size_t cap = 3;
  manual_group flights{options().max_keys(cap)};
  std::barrier sync(threads);
  std::vector<std::thread> pool;
  std::array<hand_front, threads> fronts;
  std::atomic<std::size_t> admitted{0};
  for (int t = 0; t < threads; ++t)
    pool.emplace_back([&, t] {
      auto& front = fronts[static_cast<std::size_t>(t)];
      for (int r = 0; r < rounds; ++r) {
        sync.arrive_and_wait();
        auto const one = make_task(), two = make_task();
        for (auto const& [task, suffix] : {std::pair(one, "a"), std::pair(two, "b")}) {
          front.run(flights, std::to_string(t) + suffix, {}, task);
          admitted += static_cast<std::size_t>(task->invoked);
        }
        sync.arrive_and_wait();
        // More misses than places, nothing settled meanwhile: all places are taken, no place twice.
        if (t == 0) {
          EXPECT_EQ(admitted, cap);
          EXPECT_EQ(flights.size(), cap);
          admitted = 0;
        }
        sync.arrive_and_wait();
        for (auto const& task : {one, two})
          if (task->open_gate) task->value = 1, task->open_gate(false);
        front.pump();
        front.calls.clear();
      }
    });
  for (auto& thread : pool) thread.join();
  auto const s = flights.stats();
  EXPECT_EQ(s.started, cap * rounds);
  EXPECT_EQ(s.misses, s.started + s.max_keys_rejected);
  EXPECT_EQ(flights.size(), 0u);
}

TEST(R21, a_place_is_free_for_the_next_as_soon_as_a_flight_is_decided) {
  manual_group flights{options().max_keys(1)};
  hand_front front;
  for (int i = 0; i < 3; ++i) {
    auto const task = make_task();
    call& a = front.run(flights, "k" + std::to_string(i), {}, task);
    EXPECT_FALSE(a.done());
    flights.clear();
    task->value = 1;
    task->open_gate(false);
  }
  EXPECT_EQ(flights.stats().max_keys_rejected, 0u);
  front.pump();
}

// ---- rule 31: what fails before a flight is visible fails alone ---------------------------------------------------

struct moody_key {
  int id = 0;
  static inline int throw_on_hash = 0, throw_on_equal = 0;
  static inline bool copied_under_lock = false;
  moody_key(int i) : id(i) {}  // NOLINT(google-explicit-constructor): as a caller's key type may be
  moody_key(moody_key const& other) : id(other.id) { copied_under_lock |= checked_mutex::held_here(); }
  moody_key(moody_key&& other) noexcept : id(other.id) { copied_under_lock |= checked_mutex::held_here(); }
  ~moody_key() { expect_unlocked("destructor of a key"); }
};
struct moody_hash {
  std::size_t operator()(moody_key const& k) const {
    if (moody_key::throw_on_hash > 0 && --moody_key::throw_on_hash == 0) throw std::runtime_error("hash");
    return static_cast<std::size_t>(k.id);
  }
};
struct moody_equal {
  bool operator()(moody_key const& a, moody_key const& b) const {
    if (moody_key::throw_on_equal > 0 && --moody_key::throw_on_equal == 0) throw std::runtime_error("equal");
    return a.id == b.id;
  }
};
using moody_group = cacheflight::basic_group<moody_key, moody_hash, moody_equal, manual_platform>;

struct moody_flight final : cd::keyed_flight<manual_platform, moody_key> {
  explicit moody_flight(moody_key&& k) : keyed_flight(std::move(k), typeid(answer), {}) {}
  bool request_stop() noexcept override { return true; }
};
struct moody_call final : cd::waiter<manual_platform> {
  ~moody_call() {
    if (joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }
  bool hand_over() noexcept override { return true; }
};

cd::admission enter(moody_group& flights, moody_key key, moody_call& c, bool throw_in_build = false) {
  run_options opts;
  return cd::access::enter(flights, key, c, opts, typeid(answer), [&](moody_key& k) -> moody_flight* {
    expect_unlocked("building a flight");
    if (throw_in_build) throw std::bad_alloc();
    return new moody_flight(std::move(k));
  });
}

TEST(R31, hash_equality_and_building_fail_the_call_alone_and_the_books_balance) {
  moody_group flights;
  moody_call leader, other;
  ASSERT_EQ(enter(flights, 1, leader), cd::admission::leads);
  auto* const flight = leader.joined();

  moody_key::throw_on_hash = 1;
  EXPECT_THROW(enter(flights, 1, other), std::runtime_error);
  moody_key::throw_on_equal = 1;
  EXPECT_THROW(enter(flights, 1, other), std::runtime_error);
  EXPECT_THROW(enter(flights, 2, other, true), std::bad_alloc);
  moody_key::throw_on_equal = 1;
  EXPECT_THROW(flights.cancel(moody_key(1)), std::runtime_error);
  moody_key::throw_on_equal = 1;
  EXPECT_THROW((void)flights.has(moody_key(1)), std::runtime_error);

  auto s = flights.stats();
  EXPECT_EQ(s.misses, 1u);
  EXPECT_EQ(s.started, 1u);
  EXPECT_EQ(s.hits, 0u);
  EXPECT_EQ(flights.size(), 1u);
  ASSERT_EQ(enter(flights, 1, other), cd::admission::joined);
  core_type::settle(*flight, cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  EXPECT_EQ(flights.stats().resolved, 1u);
  EXPECT_FALSE(moody_key::copied_under_lock) << "keys that are not std::string are built outside of locks (rule 5)";
}

TEST(R31, a_flight_that_lost_the_race_to_be_first_joins_and_its_copy_is_destroyed_unseen) {
  // Another caller becomes the leader while this one builds.
  moody_group flights;
  moody_call first, second;
  run_options opts;
  moody_key key(1);
  auto const answer_of_second = cd::access::enter(flights, key, second, opts, typeid(answer), [&](moody_key& k) {
    EXPECT_EQ(enter(flights, 1, first), cd::admission::leads);
    return new moody_flight(std::move(k));
  });
  EXPECT_EQ(answer_of_second, cd::admission::joined);
  EXPECT_EQ(first.joined(), second.joined());
  auto* const flight = first.joined();
  core_type::settle(*flight, cd::cause::resolved, nullptr, nullptr);
  EXPECT_EQ(flights.stats().hits, 1u);
  EXPECT_EQ(flights.stats().started, 1u);
}

TEST(R24, the_metadata_of_a_call_that_lost_the_race_is_on_its_hit) {
  std::string metadata;
  moody_group flights{options().on_event([&](cacheflight::event const& e) {
    if (e.type == event_type::hit) metadata = std::any_cast<std::string>(e.metadata);
    EXPECT_NE(e.key_as<moody_key>(), nullptr);
    EXPECT_EQ(e.key, "");
  })};
  struct carrying final : cd::keyed_flight<manual_platform, moody_key> {
    carrying(moody_key&& k, std::any m) : keyed_flight(std::move(k), typeid(answer), std::move(m)) {}
    bool request_stop() noexcept override { return true; }
  };
  moody_call first, second;
  run_options opts = run_options().metadata(std::string("mine"));
  moody_key key(1);
  (void)cd::access::enter(flights, key, second, opts, typeid(answer), [&](moody_key& k) {
    EXPECT_EQ(enter(flights, 1, first), cd::admission::leads);
    return new carrying(std::move(k), opts.take_metadata());
  });
  EXPECT_EQ(metadata, "mine");
  core_type::settle(*first.joined(), cd::cause::abandoned, nullptr, nullptr);
}

TEST(R05, deadlines_join_leave_and_settle_run_no_user_code_under_the_lock) {
  moody_group flights;
  moody_call a, b;
  ASSERT_EQ(enter(flights, 1, a), cd::admission::leads);
  ASSERT_EQ(enter(flights, 1, b), cd::admission::joined);
  auto* const flight = a.joined();
  // From here on neither hash nor equality may be asked (settling, leaving and expiring go by address).
  moody_key::throw_on_hash = moody_key::throw_on_equal = 1;
  core_type::leave(b);
  EXPECT_FALSE(core_type::arm(b));
  core_type::settle(*flight, cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  flights.clear();
  EXPECT_EQ(moody_key::throw_on_hash + moody_key::throw_on_equal, 2);
  moody_key::throw_on_hash = moody_key::throw_on_equal = 0;
}

TEST(R32, the_default_hash_of_text_is_keyed_per_group_and_a_group_may_be_given_its_own) {
  cacheflight::keyed_string_hash const one, two;
  EXPECT_NE(one("user:42"), two("user:42"));
  EXPECT_EQ(one("user:42"), one(std::string("user:42")));
  manual_group fixed{options(), cacheflight::keyed_string_hash(1, 2)};
  EXPECT_FALSE(fixed.has("user:42"));
}

}  // namespace
}  // namespace cacheflight_test
