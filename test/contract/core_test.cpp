// SPDX-License-Identifier: MIT

// Rules, or parts of rules, that only the core's own steps can show: between two steps of a front, or on two
// threads.

#include "hand_front.hpp"
#include <cacheflight/callback.hpp>

#include <boost/context/detail/exception.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <functional>
#include <latch>
#include <memory>
#include <mutex>
#include <new>
#include <set>
#include <thread>
#include <utility>

// What the core allocates its shards with. The leak sanitizer does not see them: they point at themselves.
namespace {
std::atomic<int> aligned_blocks{0};
#ifdef _WIN32
void* aligned_block(std::size_t to, std::size_t size) { return _aligned_malloc(size, to); }
void release(void* block) { _aligned_free(block); }
#else
void* aligned_block(std::size_t to, std::size_t size) {
  return std::aligned_alloc(to, (size + to - 1) / to * to);
}
void release(void* block) { std::free(block); }
#endif
}  // namespace
void* operator new(std::size_t size, std::align_val_t alignment) {
  void* const block = aligned_block(static_cast<std::size_t>(alignment), size);
  if (!block) throw std::bad_alloc();
  ++aligned_blocks;
  return block;
}
void operator delete(void* block, std::align_val_t) noexcept {
  --aligned_blocks;
  release(block);
}
void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept {
  operator delete(block, alignment);
}

namespace cacheflight_test {
namespace {

using namespace std::chrono_literals;
using cacheflight::event_type;
using cacheflight::options;
using cacheflight::run_options;
using core_type = hand_front::core_type;

TEST(R39_DeathTest, an_event_that_is_shut_down_ends_the_program) {
  EXPECT_DEATH(
      {
        manual_group flights{options().on_event(
            [](cacheflight::event const&) { throw boost::context::detail::forced_unwind(); })};
        hand_front().run(flights, "k", {}, make_task());
      },
      "terminat");
}

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
  (void)run_threads(core);  // as the lingering threads would
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

TEST(R35, a_leaver_gets_its_turn_from_who_made_it_leave_and_before_the_callbacks) {
  hand_front* watched = nullptr;
  std::optional<manual_group> flights;
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_cancelled) return;
    (void)run_threads(cd::access::core(*flights));
    EXPECT_EQ(watched->ready.size(), 1u);
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

// ---- rule 26 on two threads -------------------------------------------------------------------------------

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

// A flight that is closed while another thread delivers one of its events is that thread's: whoever closed it
// must not touch it again.
TEST(R35, who_is_cancelled_is_answered_while_another_thread_is_in_an_event_of_the_flight) {
  for (bool const by_clear : {false, true}) {
    std::latch in_hit(1), may_return(1);
    std::vector<event_type> after_hit;
    manual_group flights{options().on_event([&](cacheflight::event const& e) {
      if (e.type == event_type::task_cancelled) after_hit.push_back(e.type);
      if (e.type != event_type::hit) return;
      in_hit.count_down();
      may_return.wait();
    })};
    hand_front leading, joining;
    auto const task = make_task();
    call& leader = leading.run(flights, "k", {}, task);
    std::thread joiner([&] { joining.run(flights, "k", {}, make_task()); });
    in_hit.wait();
    if (by_clear) flights.clear();
    else EXPECT_TRUE(flights.cancel("k"));
    leading.pump();
    EXPECT_TRUE(leader.failed_with<cacheflight::cancelled_error>());
    EXPECT_TRUE(after_hit.empty());
    task->value = 1;
    task->open_gate(false);  // who is in the event keeps the flight
    may_return.count_down();
    joiner.join();
    EXPECT_EQ(after_hit.size(), 1u) << "delivered by who delivered the hit";
    joining.pump();
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
      checked_mutex::after_unlock() = interfere;
      return;
    }
    for (auto* f : {&f1, &f2})
      if (f->why() != cd::cause::open) told.insert(f), core_type::stoppable(*f);
  };
  checked_mutex::after_unlock() = interfere;
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
    EXPECT_EQ(run_threads(*core), manual_clock::time_point::max());
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
  // No optional: its reset may call the destructor again when it is called within it.
  std::unique_ptr<manual_group> flights;
  flights = std::make_unique<manual_group>(options().on_event([&](cacheflight::event const& e) {
    if (e.type == event_type::task_cancelled) flights.reset();
  }));
  hand_front front;
  std::vector<task_ptr> tasks;
  for (int i = 0; i < 10; ++i)
    front.run(*flights, "k" + std::to_string(i), {}, tasks.emplace_back(make_task()));
  flights->clear();
  front.pump();
  for (auto const& c : front.calls) EXPECT_TRUE(c->failed_with<cacheflight::cancelled_error>());
  for (auto const& t : tasks) {
    EXPECT_TRUE(t->stop_requested);
    t->value = 1;
    t->open_gate(false);
  }
}

// ---- rules 1 and 21 on several threads --------------------------------------------------------------------

/// A barrier of which the thread sanitizer sees everything: libc++'s is in its library, which is not
/// instrumented.
class rendezvous {
 public:
  explicit rendezvous(int threads) : threads_(threads) {}
  void arrive_and_wait() {
    std::unique_lock lock(mutex_);
    int const round = round_;
    if (++arrived_ == threads_) {
      arrived_ = 0;
      ++round_;
      changed_.notify_all();
    } else {
      changed_.wait(lock, [&] { return round_ != round; });
    }
  }

 private:
  int const threads_;
  std::mutex mutex_;
  std::condition_variable changed_;
  int arrived_ = 0, round_ = 0;
};

TEST(R01, many_threads_and_one_key_make_one_flight) {
  constexpr int threads = 4, rounds = 300;
  manual_group flights;
  rendezvous sync(threads);
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
  rendezvous sync(threads);
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

// ---- rule 31: what fails before a flight is visible fails alone -------------------------------------------

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
  explicit moody_flight(moody_key&& k) : keyed_flight(std::move(k), {}) {}
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(answer); }
  bool request_stop() noexcept override { return true; }
};
struct moody_call final : cd::waiter<manual_platform> {
  ~moody_call() {
    if (joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }
  bool hand_over(waiters&) noexcept override { return true; }
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
  EXPECT_FALSE(moody_key::copied_under_lock)
      << "keys that are not std::string are built outside of locks (rule 5)";
}

TEST(R23, who_settles_a_flight_in_which_it_is_alone_goes_on_after_the_last_event) {
  std::vector<cacheflight::event_type> seen;
  moody_call* joiner = nullptr;
  bool early = false;
  moody_group flights{options().on_event([&](cacheflight::event const& e) {
    EXPECT_FALSE(e.metadata.has_value());
    early |= joiner && e.type == cacheflight::event_type::task_resolved && core_type::released(*joiner);
    seen.push_back(e.type);
  })};
  for (bool const joined : {false, true}) {
    seen.clear();
    moody_call own, other;
    ASSERT_EQ(enter(flights, 1, own), cd::admission::leads);
    if (joined) {
      ASSERT_EQ(enter(flights, 1, other), cd::admission::joined);
      joiner = &other;
    }
    core_type::settle(*own.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr, &own);
    ASSERT_EQ(seen.size(), joined ? 4U : 3U);
    EXPECT_EQ(seen.back(), cacheflight::event_type::task_resolved);
    for (moody_call* const each : {&own, joiner})
      if (each) {
        EXPECT_TRUE(core_type::released(*each));
        EXPECT_NE(core_type::take_value<answer>(*each->joined()), nullptr);
      }
    joiner = nullptr;
  }
  EXPECT_FALSE(early) << "a joiner was released before the last event";
  EXPECT_EQ(flights.stats().resolved, 2U);
}

TEST(R10, an_outcome_that_was_there_before_its_caller_suspended_and_was_refused_is_not_lost) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  task->inline_value = 3;
  front.refuse = 1;
  call& a = front.run(flights, "k", {}, task);
  front.pump();
  EXPECT_FALSE(a.done());
  pass(flights, 1ms);
  front.pump();
  ASSERT_TRUE(a.value);
  EXPECT_EQ(a.value->number, 3);
}

// Callers that are ready to suspend need not arm.
struct ready_call final : cd::waiter<manual_platform> {
  ~ready_call() {
    if (joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }
  bool hand_over(waiters&) noexcept override { return ++turns, true; }
  [[nodiscard]] void const* place() const noexcept override { return &typeid(ready_call); }
  int turns = 0;
};
cd::entry enter_ready(moody_group& flights, ready_call& c, run_options opts = {}) {
  moody_key key = 1;
  return cd::access::enter_suspended(
      flights, key, c, opts, typeid(answer), [](moody_key& k) { return new moody_flight(std::move(k)); },
      true);
}

TEST(R29, callers_that_are_ready_to_suspend_are_armed_as_they_enter) {
  moody_group flights;
  ready_call leader, joiner;
  cd::entry const first = enter_ready(flights, leader), second = enter_ready(flights, joiner);
  EXPECT_TRUE(first.how == cd::admission::leads && first.suspended);
  EXPECT_TRUE(second.how == cd::admission::joined && second.suspended);
  core_type::settle(*leader.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  EXPECT_EQ(leader.turns, 1);
  EXPECT_EQ(joiner.turns, 1);
}

TEST(R29, any_number_of_callers_of_one_place_is_released) {
  for (bool const events : {false, true}) {
    cacheflight::options opts;
    if (events) opts.on_event([](cacheflight::event const&) {});
    moody_group flights(std::move(opts));
    std::deque<ready_call> calls(200);
    for (ready_call& c : calls) EXPECT_TRUE(enter_ready(flights, c).suspended);
    core_type::settle(*calls[0].joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
    for (ready_call const& c : calls) EXPECT_EQ(c.turns, 1);
  }
}

TEST(R29, a_caller_that_is_ready_to_suspend_and_released_by_its_own_event_is_not_armed) {
  moody_group* flights = nullptr;
  moody_group group(cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type == cacheflight::event_type::task_started) flights->clear();
  }));
  flights = &group;
  ready_call leader;
  cd::entry const in = enter_ready(group, leader);
  EXPECT_FALSE(in.suspended);
  EXPECT_FALSE(core_type::arm(leader)) << "it goes on by itself";
  EXPECT_EQ(leader.turns, 0);
  core_type::settle(*leader.joined(), cd::cause::abandoned, nullptr, nullptr);
}

TEST(R29, a_caller_that_is_ready_to_suspend_and_left_within_its_own_event_is_not_armed) {
  ready_call leader, joiner;
  moody_group flights(cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type == cacheflight::event_type::hit) core_type::leave(joiner);
  }));
  (void)enter_ready(flights, leader);
  EXPECT_FALSE(enter_ready(flights, joiner).suspended);
  EXPECT_EQ(joiner.turns, 0);
  EXPECT_EQ(joiner.how_left(), cd::departure::left);
  core_type::settle(*leader.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  EXPECT_EQ(leader.turns, 1);
}

TEST(
    R29,
    a_caller_that_is_ready_to_suspend_and_whose_flight_ends_within_its_own_event_is_armed_and_given_its_turn) {
  ready_call leader, joiner;
  moody_group flights(cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type != cacheflight::event_type::hit) return;
    core_type::settle(*leader.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
    EXPECT_EQ(leader.turns + joiner.turns, 0) << "not before the last event";
  }));
  (void)enter_ready(flights, leader);
  EXPECT_TRUE(enter_ready(flights, joiner).suspended) << "it may be gone";
  EXPECT_EQ(leader.turns, 1);
  EXPECT_EQ(joiner.turns, 1);
}

// Something happens where another thread could step in: before a lock is taken, or after a caller was
// released.
struct interrupted_mutex : checked_mutex {
  void lock() {
    if (before) std::exchange(before, nullptr)();
    checked_mutex::lock();
  }
  static inline std::function<void()> before;
};
struct interrupted_platform : manual_platform {
  using mutex = interrupted_mutex;
  static void point(cacheflight::core_step step) noexcept {
    if (step == cacheflight::core_step::release && released) released();
  }
  static inline std::function<void()> released;
};
using interrupted_group = cacheflight::basic_group<moody_key, moody_hash, moody_equal, interrupted_platform>;
using interrupted_core = cd::core<interrupted_platform>;
struct interrupted_flight final : cd::keyed_flight<interrupted_platform, moody_key> {
  explicit interrupted_flight(moody_key&& k) : keyed_flight(std::move(k), {}) {}
  [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(answer); }
  bool request_stop() noexcept override { return true; }
};
struct interrupted_call final : cd::waiter<interrupted_platform> {
  bool hand_over(waiters&) noexcept override { return ++turns, true; }
  [[nodiscard]] void const* place() const noexcept override { return &typeid(interrupted_call); }
  int turns = 0;
};
void enter(interrupted_group& flights, interrupted_call& c) {
  moody_key key = 1;
  (void)cd::access::enter(flights, key, c, run_options(), typeid(answer),
                          [](moody_key& k) { return new interrupted_flight(std::move(k)); });
}

TEST(R29, a_caller_that_is_released_between_its_look_and_the_lock_does_not_suspend) {
  interrupted_group flights;
  interrupted_call c;
  enter(flights, c);
  interrupted_mutex::before = [&] {
    interrupted_core::settle(*c.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  };
  EXPECT_FALSE(interrupted_core::arm(c));
  EXPECT_EQ(c.turns, 0);
  interrupted_core::finish(c);
}

TEST(R29, a_caller_that_has_not_suspended_may_be_gone_as_soon_as_it_is_released) {
  interrupted_group flights;
  auto first = std::make_unique<interrupted_call>(), last = std::make_unique<interrupted_call>();
  interrupted_call suspended;
  for (auto* const each : {first.get(), &suspended, last.get()}) enter(flights, *each);
  EXPECT_TRUE(interrupted_core::arm(suspended));
  auto const go_on = [](std::unique_ptr<interrupted_call>& c) {
    if (!c || !interrupted_core::released(*c)) return;
    interrupted_core::finish(*c);
    c.reset();
  };
  interrupted_platform::released = [&] { go_on(first), go_on(last); };
  interrupted_core::settle(*suspended.joined(), cd::cause::resolved, std::make_shared<answer const>(1),
                           nullptr);
  interrupted_platform::released = nullptr;
  EXPECT_FALSE(first || last);
  EXPECT_EQ(suspended.turns, 1);
  interrupted_core::finish(suspended);
}

TEST(R27, snapshot_of_a_flight_that_ends_between_its_look_and_the_lock_is_empty) {
  interrupted_group flights;
  interrupted_call c;
  enter(flights, c);
  interrupted_mutex::before = [&] {
    interrupted_core::settle(*c.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  };
  EXPECT_TRUE(flights.snapshot().empty());
  interrupted_core::finish(c);
}

TEST(R24, the_duration_of_a_call_with_a_limit_counts_from_the_call) {
  std::chrono::nanoseconds took{};
  moody_group flights(
      cacheflight::options().on_event([&](cacheflight::event const& e) { took = e.duration; }));
  ready_call c;
  moody_key key = 1;
  (void)cd::access::enter_suspended(
      flights, key, c, run_options().timeout(1h), typeid(answer),
      [](moody_key& k) {
        manual_clock::advance(5ms);
        return new moody_flight(std::move(k));
      },
      true);
  core_type::settle(*c.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
  EXPECT_EQ(took, 5ms);
}

TEST(R25, where_there_is_no_callback_none_fails) {
  manual_group flights;
  hand_front front;
  auto const task = make_task();
  front.run(flights, "k", {}, task);
  EXPECT_TRUE(flights.cancel("k"));
  EXPECT_EQ(flights.stats().callback_failures, 0u);
  task->open_gate(true);
  front.pump();
}

TEST(R18, the_wait_of_a_joiner_that_is_ready_to_suspend_is_bounded_and_armed_afterwards) {
  moody_group flights;
  auto const now = manual_clock::now();
  ready_call leader, joiner;
  (void)enter_ready(flights, leader);
  cd::entry const in = enter_ready(flights, joiner, run_options().wait_timeout(3s));
  EXPECT_FALSE(in.suspended) << "it could go on, and the group go, while its deadline is told to the driver";
  EXPECT_EQ(cd::access::core(flights).driver().wake, now + 3s);
  EXPECT_TRUE(core_type::arm(joiner));
  manual_clock::advance(3s);
  (void)run_threads(cd::access::core(flights));
  EXPECT_EQ(joiner.turns, 1);
  EXPECT_EQ(joiner.how_left(), cd::departure::wait_timed_out);
  core_type::settle(*leader.joined(), cd::cause::resolved, std::make_shared<answer const>(1), nullptr);
}

TEST(R31, a_flight_that_lost_the_race_to_be_first_joins_and_its_copy_is_destroyed_unseen) {
  // Another caller becomes the leader while this one builds.
  moody_group flights;
  moody_call first, second;
  run_options opts;
  moody_key key(1);
  auto const answer_of_second =
      cd::access::enter(flights, key, second, opts, typeid(answer), [&](moody_key& k) {
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
    carrying(moody_key&& k, std::any m) : keyed_flight(std::move(k), std::move(m)) {}
    [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(answer); }
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

// ---- between the steps: each of these fails on a mutant of the core that nothing else noticed -------------

TEST(
    R13,
    waiters_of_a_flight_whose_task_has_not_started_are_released_at_once_and_the_task_is_asked_when_it_can_be) {
  manual_group flights;
  half_entered leader;
  auto const task = make_task();
  ASSERT_EQ(leader.enter(flights, "k", task), cd::admission::leads);
  EXPECT_FALSE(core_type::released(leader.call));
  ASSERT_TRUE(core_type::arm(leader.call));
  EXPECT_TRUE(flights.cancel("k"));
  EXPECT_EQ(leader.front.ready.size(), 1u);
  EXPECT_FALSE(task->stop_requested) << "there is nothing to ask yet";
  auto& flight = *leader.call.joined();
  EXPECT_FALSE(core_type::may_start(flight));
  core_type::stoppable(flight);
  EXPECT_TRUE(task->stop_requested);
  core_type::settle(flight, cd::cause::abandoned, nullptr, nullptr);
  leader.front.pump();
  EXPECT_TRUE(leader.call.failed_with<cacheflight::cancelled_error>());
}

TEST(R16, a_task_that_has_unwound_is_not_asked_to_stop) {
  manual_group flights;
  half_entered leader;
  auto const task = make_task();
  ASSERT_EQ(leader.enter(flights, "k", task), cd::admission::leads);
  auto& flight = *leader.call.joined();
  core_type::retain(flight);  // as a front does that goes on after it has started the task
  EXPECT_TRUE(flights.cancel("k"));
  EXPECT_FALSE(core_type::arm(leader.call));
  leader.call.take_turn();
  core_type::settle(flight, cd::cause::abandoned, nullptr, nullptr);
  core_type::stoppable(flight);
  EXPECT_FALSE(task->stop_requested);
  core_type::release(flight);
}

TEST(R16, clear_asks_a_task_to_stop_even_while_an_event_of_its_flight_is_delivered) {
  std::optional<manual_group> flights;
  auto const task = make_task();
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::hit) return;
    flights->clear();
    EXPECT_TRUE(task->stop_requested);
  }));
  hand_front front;
  front.run(*flights, "k", {}, task);
  front.run(*flights, "k", {}, make_task());
  front.pump();
  for (auto const& c : front.calls) EXPECT_TRUE(c->failed_with<cacheflight::cancelled_error>());
  task->value = 1;
  task->open_gate(false);
}

TEST(R16, a_refused_stop_request_wakes_the_driver) {
  manual_group flights;
  hand_front front;
  auto& core = cd::access::core(flights);
  auto const task = make_task();
  front.run(flights, "k", {}, task);
  hand_front::hand_flight::refuse_stops = 2;
  flights.cancel("k");
  EXPECT_EQ(core.driver().wake, manual_clock::now() + 1ms);
  EXPECT_EQ(run_threads(core), manual_clock::now() + 1ms) << "it was refused again";
  EXPECT_EQ(run_threads(core), manual_clock::time_point::max());
  EXPECT_TRUE(task->stop_requested);
  front.pump();
  task->value = 1;
  task->open_gate(false);
}

TEST(R10, a_refused_hand_over_wakes_the_driver_until_it_is_taken) {
  manual_group flights;
  hand_front front;
  auto& core = cd::access::core(flights);
  auto const task = make_task();
  call& a = front.run(flights, "k", {}, task);
  front.refuse = 2;
  task->value = 7;
  task->open_gate(false);
  EXPECT_EQ(core.driver().wake, manual_clock::now() + 1ms);
  EXPECT_EQ(run_threads(core), manual_clock::now() + 1ms);
  EXPECT_EQ(run_threads(core), manual_clock::time_point::max());
  EXPECT_FALSE(core_type::withdraw(static_cast<hand_front::hand_call&>(a))) << "its turn is on its way";
  front.pump();
  EXPECT_EQ(a.value->number, 7);
}

TEST(R10, what_could_not_be_scheduled_is_scheduled_by_the_next_task_that_unwinds_and_only_once) {
  manual_group flights;
  hand_front front;
  auto& driver = cd::access::core(flights).driver();
  auto const first = make_task(), second = make_task();
  call& a = front.run(flights, "a", {}, first);
  front.run(flights, "b", {}, second);
  front.refuse = 1;
  manual_driver::refuse = true;
  first->value = 7;
  first->open_gate(false);
  manual_driver::refuse = false;
  EXPECT_EQ(driver.wake, manual_clock::time_point::max());
  second->value = 8;
  second->open_gate(false);
  EXPECT_EQ(driver.wake, manual_clock::now() + 1ms);
  int const roused = manual_driver::ensured;
  auto const third = make_task();
  front.run(flights, "c", {}, third);
  EXPECT_EQ(manual_driver::ensured, roused);
  pass(flights, 1ms);
  front.pump();
  EXPECT_EQ(a.value->number, 7);
  third->value = 1;
  third->open_gate(false);
  front.pump();
}

TEST(R23, no_waiter_is_handed_over_before_the_last_event_has_been_delivered) {
  hand_front front;
  bool seen = false;
  std::optional<manual_group> flights;
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_resolved) return;
    seen = true;
    EXPECT_TRUE(front.ready.empty());
    EXPECT_EQ(e.error, nullptr);
  }));
  auto const task = make_task();
  front.run(*flights, "k", {}, task);
  front.run(*flights, "k", {}, make_task());
  task->value = 7;
  task->open_gate(false);
  EXPECT_TRUE(seen);
  EXPECT_EQ(front.ready.size(), 2u);
  front.pump();
  for (auto const& c : front.calls) EXPECT_EQ(c->value->number, 7);
}

TEST(R35, who_leaves_or_times_out_while_the_last_event_is_delivered_is_answered_then) {
  hand_front front;
  std::optional<manual_group> flights;
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_resolved) return;
    EXPECT_EQ(e.waiters, 3u);
    front.leave(*front.calls[1]);
    EXPECT_EQ(front.ready.size(), 1u);
    pass(*flights, 1s);
    EXPECT_EQ(front.ready.size(), 2u);
    front.pump();
    EXPECT_TRUE(front.calls[1]->left);
    EXPECT_TRUE(front.calls[2]->failed_with<cacheflight::timeout_error>());
    EXPECT_FALSE(front.calls[0]->done());
  }));
  auto const task = make_task();
  front.run(*flights, "k", {}, task);
  front.run(*flights, "k", {}, make_task());
  front.run(*flights, "k", run_options().wait_timeout(1s), make_task());
  task->value = 7;
  task->open_gate(false);
  front.pump();
  EXPECT_EQ(front.calls[0]->value->number, 7);
  EXPECT_EQ(flights->stats().cancelled, 0u);
}

/// Its turn runs nobody's code. It joins, and suspends.
struct prompt_call final : cd::waiter<manual_platform> {
  prompt_call() : waiter(true) {}
  ~prompt_call() override {
    if (!core_type::withdraw(*this)) core_type::finish(*this);
  }
  bool hand_over(waiters&) noexcept override {
    if (refuse > 0) return --refuse, false;
    ++turns;
    if (meanwhile) std::exchange(meanwhile, nullptr)();
    return true;
  }
  void join(manual_group& flights, std::string key, run_options opts = {}) {
    auto const build = [](std::string&) -> hand_front::hand_flight* { return nullptr; };
    EXPECT_EQ(cd::access::enter(flights, key, *this, opts, typeid(answer), build), cd::admission::joined);
    EXPECT_TRUE(core_type::arm(*this));
  }
  cd::flight<manual_platform>& lead(manual_group& flights, std::string key, run_options opts) {
    auto const build = [](std::string& k) {
      return new hand_front::hand_flight(std::move(k), typeid(answer), {}, make_task());
    };
    EXPECT_EQ(cd::access::enter(flights, key, *this, opts, typeid(answer), build), cd::admission::leads);
    EXPECT_TRUE(core_type::arm(*this));
    return *this->joined();
  }
  int turns = 0;
  int refuse = 0;                   // how many hand-overs are refused
  std::function<void()> meanwhile;  // what other threads do during the hand-over
};

/// Options that note the types of a group's events, in their order.
options noting(std::vector<event_type>& events) {
  return options().on_event([&](cacheflight::event const& e) {
    expect_unlocked("an event");
    events.push_back(e.type);
  });
}

TEST(R33, what_is_due_is_decided_and_posted_by_the_thread_that_keeps_time_and_the_rest_is_left_to_helpers) {
  std::vector<event_type> events;
  manual_group flights{noting(events)};
  auto& core = cd::access::core(flights);
  hand_front front;
  auto const task = make_task();
  call& other = front.run(flights, "k", run_options().timeout(1s), task);
  prompt_call prompt, impatient;
  prompt.join(flights, "k");
  impatient.join(flights, "k", run_options().wait_timeout(500ms));
  auto const before = events.size();
  manual_clock::advance(500ms);
  (void)keep_time(core);
  EXPECT_EQ(impatient.turns, 1);
  EXPECT_EQ(prompt.turns, 0);
  EXPECT_EQ(core.oldest_job(), manual_clock::time_point::max());
  manual_clock::advance(500ms);
  (void)keep_time(core);
  EXPECT_EQ(prompt.turns, 1);
  EXPECT_EQ(flights.stats().timed_out, 1u);
  EXPECT_TRUE(front.ready.empty()) << "a foreign executor";
  EXPECT_FALSE(task->stop_requested);
  EXPECT_EQ(events.size(), before);
  EXPECT_EQ(core.oldest_job(), manual_clock::now());
  // Two jobs: its callers and its event, in order; its stop request.
  EXPECT_TRUE(core.run_job());
  EXPECT_EQ(front.ready.size(), 1u);
  EXPECT_EQ(events.size(), before + 1);
  EXPECT_FALSE(task->stop_requested);
  EXPECT_TRUE(core.run_job());
  EXPECT_TRUE(task->stop_requested);
  EXPECT_FALSE(core.run_job());
  EXPECT_EQ(core.oldest_job(), manual_clock::time_point::max());
  task->value = 1;
  task->open_gate(false);
  front.pump();
  EXPECT_TRUE(other.failed_with<cacheflight::timeout_error>());
}

TEST(R33, a_refused_hand_over_that_runs_nobodys_code_is_tried_again_by_the_thread_that_keeps_time) {
  manual_group flights;
  auto& core = cd::access::core(flights);
  hand_front front;
  auto const task = make_task();
  call& other = front.run(flights, "k", {}, task);
  prompt_call prompt;
  prompt.join(flights, "k");
  prompt.refuse = 2, front.refuse = 1;
  task->value = 7;
  task->open_gate(false);
  auto const soon = make_task();
  front.run(flights, "soon", run_options().timeout(500us), soon);
  prompt.refuse += 1;
  EXPECT_EQ(keep_time(core), manual_clock::now() + 500us) << "what is due before counts";
  soon->value = 1;
  soon->open_gate(false);
  EXPECT_EQ(keep_time(core), manual_clock::now() + 1ms) << "refused once more";
  EXPECT_EQ(front.ready.size(), 1u) << "the other flight's";
  EXPECT_EQ(core.oldest_job(), manual_clock::now());
  EXPECT_TRUE(core.run_job()) << "the other one";
  EXPECT_FALSE(core.run_job());
  manual_clock::advance(1ms);
  EXPECT_EQ(prompt.turns, 0);
  EXPECT_EQ(keep_time(core), manual_clock::time_point::max());
  EXPECT_EQ(prompt.turns, 1);
  front.pump();
  EXPECT_EQ(other.value->number, 7);
}

TEST(R33, a_flight_whose_callers_need_no_turns_leaves_nothing_to_helpers) {
  manual_group flights;
  auto& core = cd::access::core(flights);
  prompt_call leader;
  auto& flight = leader.lead(flights, "k", run_options().timeout(1s));
  manual_clock::advance(1s);
  (void)keep_time(core);
  EXPECT_EQ(leader.turns, 1);
  EXPECT_EQ(core.oldest_job(), manual_clock::time_point::max());
  EXPECT_FALSE(core.run_job());
  core_type::settle(flight, cd::cause::abandoned, nullptr, nullptr);
}

TEST(R33, the_last_event_of_a_flight_whose_callers_need_no_turns_is_left_to_helpers) {
  std::vector<event_type> events;
  manual_group flights{noting(events)};
  auto& core = cd::access::core(flights);
  hand_front front;
  prompt_call leader;
  auto& flight = leader.lead(flights, "k", run_options().timeout(1s));
  manual_clock::advance(1s);
  (void)keep_time(core);
  EXPECT_EQ(leader.turns, 1);
  EXPECT_EQ(events.back(), event_type::task_started);
  EXPECT_TRUE(core.run_job());
  EXPECT_EQ(events.back(), event_type::task_timed_out);
  EXPECT_FALSE(core.run_job());
  core_type::settle(flight, cd::cause::abandoned, nullptr, nullptr);
}

TEST(R33, jobs_are_counted_from_when_the_first_was_left) {
  manual_group flights;
  auto& core = cd::access::core(flights);
  hand_front front;
  auto const task = make_task();
  front.run(flights, "k", run_options().wait_timeout(2s), task);
  front.run(flights, "k", run_options().wait_timeout(1s), make_task());
  manual_clock::advance(1s);
  (void)keep_time(core);
  auto const first = manual_clock::now();
  EXPECT_EQ(core.oldest_job(), first);
  manual_clock::advance(1s);
  (void)keep_time(core);
  EXPECT_EQ(core.oldest_job(), first);
  // Two turns, and the stop request: who left last has ended the flight, and nobody else waits for that.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(core.run_job());
  EXPECT_FALSE(core.run_job());
  EXPECT_EQ(front.ready.size(), 2u);
  EXPECT_TRUE(task->stop_requested);
  front.pump();
  task->value = 1;
  task->open_gate(false);
}

TEST(R33, a_stop_request_that_was_refused_is_left_to_helpers) {
  manual_group flights;
  auto& core = cd::access::core(flights);
  hand_front front;
  auto const task = make_task();
  front.run(flights, "k", {}, task);
  hand_front::hand_flight::refuse_stops = 1;
  flights.cancel("k");
  EXPECT_EQ(keep_time(core), manual_clock::time_point::max());
  EXPECT_FALSE(task->stop_requested);
  EXPECT_EQ(core.oldest_job(), manual_clock::now());
  EXPECT_TRUE(core.run_job());
  EXPECT_TRUE(task->stop_requested);
  front.pump();
  task->value = 1;
  task->open_gate(false);
}

TEST(R40, what_was_left_to_helpers_is_done_when_the_group_goes) {
  int events = 0;
  std::optional<manual_group> flights;
  flights.emplace(options().on_event(
      [&](cacheflight::event const& e) { events += e.type == event_type::task_timed_out; }));
  hand_front front;
  auto const task = make_task();
  front.run(*flights, "k", run_options().timeout(1s), task);
  manual_clock::advance(1s);
  (void)keep_time(cd::access::core(*flights));
  EXPECT_EQ(events, 0);
  flights.reset();
  EXPECT_EQ(events, 1);
  EXPECT_EQ(front.ready.size(), 1u);
  EXPECT_TRUE(task->stop_requested);
  front.pump();
  task->value = 1;
  task->open_gate(false);
}

TEST(R33, clear_releases_all_who_need_no_turn_then_tells_the_others_and_then_asks_to_stop) {
  hand_front front;
  std::vector<task_ptr> const tasks{make_task(), make_task(), make_task()};
  std::vector<prompt_call> prompt(3);
  int events = 0, hand_overs = 0;
  auto const expect_in_order = [&] {
    for (prompt_call const& one : prompt) EXPECT_EQ(one.turns, 1);
    for (task_ptr const& task : tasks) EXPECT_FALSE(task->stop_requested);
  };
  manual_group flights{options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_cancelled) return;
    expect_in_order();
    EXPECT_EQ(front.ready.size(), std::size_t(++events)) << "the flight's own callers come before its event";
  })};
  for (std::size_t i = 0; i < 3; ++i) {
    front.run(flights, std::to_string(i), {}, tasks[i]);
    prompt[i].join(flights, std::to_string(i));
  }
  front.on_hand_over = [&] { ++hand_overs, expect_in_order(); };
  flights.clear();
  EXPECT_EQ(hand_overs, 1);
  EXPECT_EQ(events, 3);
  front.pump();
  for (task_ptr const& task : tasks) {
    EXPECT_TRUE(task->stop_requested);
    task->value = 1;
    task->open_gate(false);
  }
}

TEST(R33, a_flight_whose_last_reference_is_the_timekeepers_is_destroyed_by_a_helper) {
  manual_group flights;
  auto& core = cd::access::core(flights);
  hand_front front;
  auto const task = make_task();
  front.run(flights, "k", {}, task);
  prompt_call impatient;
  impatient.join(flights, "k", run_options().wait_timeout(1s));
  impatient.meanwhile = [&] {
    on_time_thread = false;  // it is another one that has the task unwind and the callers go on
    task->value = 1;
    task->open_gate(false);
    front.pump();
    core_type::finish(impatient);
    on_time_thread = true;
  };
  manual_clock::advance(1s);
  (void)keep_time(core);
  EXPECT_EQ(impatient.turns, 1);
  EXPECT_EQ(task.use_count(), 2) << "the flight has one";
  EXPECT_EQ(core.oldest_job(), manual_clock::now());
  // A turn of another flight in the same part of the table comes first, and it is not forgotten meanwhile.
  auto const later = make_task();
  front.run(flights, "k", {}, later);
  call& brief = front.run(flights, "k", run_options().wait_timeout(1s), make_task());
  manual_clock::advance(1s);
  (void)keep_time(core);
  EXPECT_TRUE(core.run_job());
  front.pump();
  EXPECT_TRUE(brief.failed_with<cacheflight::timeout_error>());
  EXPECT_EQ(task.use_count(), 2);
  EXPECT_TRUE(core.run_job());
  EXPECT_EQ(task.use_count(), 1);
  EXPECT_FALSE(core.run_job());
  later->value = 1;
  later->open_gate(false);
  front.pump();
}

TEST(R40, no_event_is_delivered_after_the_group_has_gone) {
  // By who destroys it from inside an event, whose flight's last event is due afterwards.
  for (bool const settled : {false, true}) {
    std::vector<event_type> events;
    std::optional<manual_group> flights;
    hand_front front;
    auto const task = make_task();
    flights.emplace(options().on_event([&](cacheflight::event const& e) {
      events.push_back(e.type);
      if (e.type != event_type::hit) return;
      if (settled) task->value = 7, task->open_gate(false);
      flights.reset();
    }));
    call& leader = front.run(*flights, "k", {}, task);
    call& joiner = front.run(*flights, "k", {}, make_task());
    EXPECT_FALSE(flights);
    front.pump();
    EXPECT_EQ(events, (std::vector{event_type::miss, event_type::task_started, event_type::hit}));
    for (call* const c : {&leader, &joiner}) {
      if (settled) EXPECT_EQ(c->value->number, 7);
      else EXPECT_TRUE(c->failed_with<cacheflight::cancelled_error>());
    }
    if (!settled) task->value = 1, task->open_gate(false);
  }
}

TEST(R40, the_groups_destructor_waits_for_events_under_way_elsewhere) {
  for (int repeat = 0; repeat < 10; ++repeat) {  // in either part of the table, by chance
    std::latch in_event(1), may_return(1);
    std::atomic<bool> returned{false};
    std::optional<manual_group> flights;
    hand_front front;
    auto const task = make_task();
    flights.emplace(options().on_event([&](cacheflight::event const& e) {
      if (e.type != event_type::task_resolved) return;
      in_event.count_down();
      may_return.wait();
      returned = true;
    }));
    front.run(*flights, "k", {}, task);
    task->value = 7;
    std::thread settling([&] { task->open_gate(false); });
    in_event.wait();
    // The lock under which the destructor looks for what is under way is free again: let the event end.
    checked_mutex::after_unlock() = [&] { may_return.count_down(); };
    flights.reset();
    EXPECT_TRUE(returned);
    settling.join();
    front.pump();
  }
}

TEST(R40, the_destructor_in_an_event_waits_for_another_threads_event_of_the_same_flight) {
  std::latch in_event(1), may_return(1);
  std::atomic<bool> returned{false};
  std::optional<manual_group> flights;
  hand_front front;
  auto const task = make_task();
  flights.emplace(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::hit) return;
    if (e.waiters == 2) {
      in_event.count_down();
      may_return.wait();
      returned = true;
    } else {
      // Free again is the lock under which the destructor looks for what is under way.
      front.on_hand_over = [&] { checked_mutex::after_unlock() = [&] { may_return.count_down(); }; };
      flights.reset();
      EXPECT_TRUE(returned);
    }
  }));
  front.run(*flights, "k", {}, task);
  hand_front elsewhere;
  std::thread joining([&] { elsewhere.run(*flights, "k", {}, make_task()); });
  in_event.wait();
  front.run(*flights, "k", {}, make_task());
  joining.join();
  EXPECT_FALSE(flights);
  task->value = 1;
  task->open_gate(false);
  front.pump();
  elsewhere.pump();
}

TEST(R40, a_cancel_whose_caller_destroys_the_group_delivers_no_event_afterwards) {
  std::vector<event_type> events;
  hand_front front;
  std::optional<manual_group> flights;
  flights.emplace(noting(events));
  auto const task = make_task();
  call& leader = front.run(*flights, "k", {}, task);
  front.on_hand_over = [&] { flights.reset(); };
  EXPECT_TRUE(flights->cancel("k"));
  EXPECT_FALSE(flights);
  EXPECT_EQ(events, (std::vector{event_type::miss, event_type::task_started}));
  EXPECT_TRUE(task->stop_requested);
  task->value = 1;
  task->open_gate(false);
  front.pump();
  EXPECT_TRUE(leader.failed_with<cacheflight::cancelled_error>());
}

TEST(R40, calls_made_while_the_group_goes_are_cancelled) {
  manual_group* flights = nullptr;
  hand_front front;
  auto const task = make_task();
  auto owner = std::make_unique<manual_group>(options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::task_cancelled) return;
    for (char const* const key : {"k", "another"}) {
      cacheflight::call_report report;
      call& late = front.run(*flights, key, run_options().report(report), make_task());
      EXPECT_TRUE(late.failed_with<cacheflight::cancelled_error>());
      EXPECT_EQ(report.role, cacheflight::call_role::refused);
    }
    int const started = manual_driver::ensured;
    cacheflight::call_report report;
    call& late = front.run(*flights, "k", run_options().timeout(1s).report(report), make_task());
    EXPECT_EQ(report.role, cacheflight::call_role::refused);
    EXPECT_EQ(manual_driver::ensured, started);
    EXPECT_TRUE(late.failed_with<cacheflight::cancelled_error>());
    EXPECT_FALSE(flights->has("k"));
    EXPECT_EQ(flights->stats().misses, 1u);
  }));
  flights = owner.get();
  front.run(*flights, "k", {}, task);
  owner.reset();
  task->value = 1;
  task->open_gate(false);
  front.pump();
  EXPECT_EQ(front.calls.size(), 4u);
}

TEST(R24, the_error_of_the_last_event_is_the_tasks_own_or_that_it_was_abandoned) {
  std::exception_ptr last;
  std::vector<std::size_t> waiters;
  manual_group flights{options().on_event([&](cacheflight::event const& e) {
    last = e.error;
    waiters.push_back(e.waiters);
  })};
  hand_front front;
  auto const failing = make_task(), abandoned = make_task();
  front.run(flights, "k", {}, failing);
  EXPECT_EQ(waiters, (std::vector<std::size_t>{1, 1}));
  failing->error = std::make_exception_ptr(std::runtime_error("x"));
  failing->open_gate(false);
  EXPECT_TRUE(last == failing->error);
  front.run(flights, "k", {}, abandoned);
  EXPECT_FALSE(last);
  abandoned->open_gate(true);
  EXPECT_THROW(std::rethrow_exception(last), cacheflight::abandoned_error);
  front.pump();
}

TEST(R24, flight_ids_are_never_zero_and_never_used_twice) {
  std::set<std::uint64_t> ids;
  manual_group flights{options().on_event([&](cacheflight::event const& e) {
    if (e.type != event_type::miss) return;
    EXPECT_TRUE(e.flight_id != 0 && ids.insert(e.flight_id).second);
    EXPECT_LE(e.flight_id, 2U * 33U) << "a number, not a hash: two parts of the table";
  })};
  hand_front front;
  for (int i = 0; i < 32; ++i) {  // enough for several in each part of the table
    auto const task = make_task();
    task->inline_value = i;
    front.run(flights, "k" + std::to_string(i), {}, task);
  }
  EXPECT_EQ(ids.size(), 32u);
  front.pump();
}

TEST(R22, a_refused_miss_has_no_flight_and_no_waiters_and_costs_nothing_without_a_callback) {
  std::vector<event_type> seen;
  manual_group quiet{options().max_keys(1)};
  manual_group flights{options().max_keys(1).on_event([&](cacheflight::event const& e) {
    seen.push_back(e.type);
    if (e.key != "refused") return;
    EXPECT_EQ(e.flight_id, 0u);
    EXPECT_EQ(e.waiters, 0u);
  })};
  hand_front front;
  for (auto* group : {&flights, &quiet}) {
    auto const task = make_task();
    front.run(*group, "k", {}, task);
    EXPECT_EQ(group->stats().in_flight, 1u);
    EXPECT_TRUE(front.run(*group, "refused", {}, make_task()).failed_with<cacheflight::max_keys_error>());
    task->value = 1;
    task->open_gate(false);
  }
  front.pump();
  EXPECT_EQ(seen, (std::vector{event_type::miss, event_type::task_started, event_type::miss,
                               event_type::max_keys_rejected, event_type::task_resolved}));
  EXPECT_EQ(quiet.stats().callback_failures, 0u);
}

TEST(R20, the_driver_is_told_of_the_earliest_deadline_and_only_then) {
  manual_group flights;
  hand_front front;
  auto& core = cd::access::core(flights);
  auto const now = manual_clock::now();
  int const ensured = manual_driver::ensured;
  auto const task = make_task(), other = make_task(), third = make_task();
  front.run(flights, "k", run_options().wait_timeout(9s), task);
  EXPECT_EQ(manual_driver::ensured, ensured + 1);
  EXPECT_EQ(core.driver().wake, now + 9s);
  front.run(flights, "k", run_options().wait_timeout(8s), make_task());
  EXPECT_EQ(core.driver().wake, now + 8s);
  front.run(flights, "other", run_options().timeout(6s).wait_timeout(7s), other);
  EXPECT_EQ(core.driver().wake, now + 6s);
  front.run(flights, "third", run_options().timeout(6s).wait_timeout(5s), third);
  EXPECT_EQ(core.driver().wake, now + 5s);
  // And each round says when the next is.
  EXPECT_EQ(run_threads(core), now + 5s);
  manual_clock::advance(5s);
  EXPECT_EQ(run_threads(core), now + 6s);
  manual_clock::advance(1s);
  EXPECT_EQ(run_threads(core), now + 7s) << "its caller's own limit stands until a helper has released it";
  EXPECT_EQ(run_threads(core), now + 8s);
  manual_clock::advance(2s);
  EXPECT_EQ(run_threads(core), now + 9s);
  manual_clock::advance(1s);
  EXPECT_EQ(run_threads(core), manual_clock::time_point::max());
  front.pump();
  for (auto const& t : {task, other, third}) {
    EXPECT_TRUE(t->stop_requested);
    t->value = 1;
    t->open_gate(false);
  }
}

TEST(R20, the_earliest_deadline_counts_whichever_part_of_the_table_has_it) {
  for (bool const ascending : {true, false}) {
    manual_group flights;
    hand_front front;
    auto const now = manual_clock::now();
    std::vector<task_ptr> tasks;
    for (int i = 0; i < 8; ++i)  // some in each of the two parts
      front.run(flights, "k" + std::to_string(i), run_options().timeout((ascending ? 1 + i : 8 - i) * 1s),
                tasks.emplace_back(make_task()));
    for (int i = 1; i <= 8; ++i) {
      EXPECT_EQ(cd::access::core(flights).run_due(), now + i * 1s);
      manual_clock::advance(1s);
    }
    EXPECT_EQ(cd::access::core(flights).run_due(), manual_clock::time_point::max());
    EXPECT_EQ(flights.stats().timed_out, 8u);
    front.pump();
    for (auto const& t : tasks) t->value = 1, t->open_gate(false);
  }
}

TEST(R20, there_may_be_any_number_of_deadlines) {
  constexpr int many = 50;
  for (bool const events : {false, true}) {
    manual_group flights{events ? options().on_event([](cacheflight::event const&) {}) : options()};
    auto& driver = cd::access::core(flights).driver();
    hand_front front;
    std::vector<task_ptr> tasks;
    auto const start = manual_clock::now();
    for (int i = 0; i < many; ++i)
      front.run(flights, "k" + std::to_string(i), run_options().timeout((many + i + 1) * 1s),
                tasks.emplace_back(make_task()));
    EXPECT_EQ(driver.wake, start + (many + 1) * 1s);
    for (int i = many; i > 0; --i) {
      front.run(flights, "k0", run_options().wait_timeout(i * 1s), make_task());
      EXPECT_EQ(driver.wake, start + i * 1s);
    }
    for (int i = 1; i <= many; ++i) {
      pass(flights, 1s);
      EXPECT_EQ(front.ready.size(), static_cast<std::size_t>(i));
    }
    EXPECT_EQ(flights.stats().timed_out, 0u);
    for (int i = 1; i <= many; ++i) {
      pass(flights, 1s);
      EXPECT_EQ(flights.stats().timed_out, static_cast<std::uint64_t>(i));
    }
    front.pump();
    for (auto const& t : tasks) t->value = 1, t->open_gate(false);
  }
}

TEST(R20, a_deadline_before_the_next_attempt_at_a_refused_hand_over_counts) {
  for (int repeat = 0; repeat < 10; ++repeat) {  // the refused one is in either part of the table, by chance
    manual_group flights;
    hand_front front;
    auto const now = manual_clock::now();
    std::vector<task_ptr> tasks{make_task()};
    front.run(flights, "refused", {}, tasks[0]);
    for (char const* key : {"a", "b", "c", "d"})
      front.run(flights, key, run_options().timeout(500us), tasks.emplace_back(make_task()));
    front.refuse = 2;
    tasks[0]->value = 1;
    tasks[0]->open_gate(false);
    EXPECT_EQ(run_threads(cd::access::core(flights)), now + 500us);
    pass(flights, 1ms);
    front.pump();
    for (auto const& c : front.calls) EXPECT_EQ(c->completions, 1);
    for (std::size_t i = 1; i < tasks.size(); ++i) tasks[i]->value = 1, tasks[i]->open_gate(false);
  }
}

TEST(R31, a_key_that_has_moved_into_a_flight_is_compared_and_named_from_there) {
  manual_group flights{options().max_keys(2)};
  hand_front other;
  auto const task = make_task(), filler = make_task();
  half_entered late;
  run_options opts;
  auto const enter = [&](std::string key, auto meanwhile) {
    return cd::access::enter(flights, key, late.call, opts, typeid(answer), [&](std::string& k) {
      auto* const built = new hand_front::hand_flight(std::move(k), typeid(answer), {}, make_task());
      k = "moved from";
      meanwhile();
      return built;
    });
  };
  EXPECT_EQ(enter("k", [&] { other.run(flights, "k", {}, task); }), cd::admission::joined);
  EXPECT_EQ(flights.size(), 1u);
  core_type::leave(late.call);
  late.call.take_turn();
  try {
    (void)enter("refused", [&] { other.run(flights, "filler", {}, filler); });
    ADD_FAILURE();
  } catch (cacheflight::max_keys_error const& e) {
    EXPECT_EQ(e.key(), "refused");
  }
  for (auto const& t : {task, filler}) t->value = 1, t->open_gate(false);
  other.pump();
}

TEST(R31, a_null_pointer_is_not_a_key) {
  manual_group flights;
  EXPECT_THROW((void)flights.has(static_cast<char const*>(nullptr)), std::invalid_argument);
  EXPECT_FALSE(flights.has(static_cast<char const*>("k")));
}

TEST(R21, nothing_is_built_for_a_call_that_is_refused_at_the_cap) {
  moody_group flights{options().max_keys(1)};
  moody_call leader, refused;
  ASSERT_EQ(enter(flights, 1, leader), cd::admission::leads);
  run_options opts;
  moody_key key(2);
  EXPECT_THROW((void)cd::access::enter(flights, key, refused, opts, typeid(answer),
                                       [&](moody_key& k) {
                                         ADD_FAILURE();
                                         return new moody_flight(std::move(k));
                                       }),
               cacheflight::max_keys_error);
  core_type::settle(*leader.joined(), cd::cause::abandoned, nullptr, nullptr);
}

TEST(R21, a_place_is_taken_when_the_flight_is_admitted_neither_before_nor_twice) {
  moody_group flights{options().max_keys(1)};
  run_options opts;
  {
    moody_call first, second;
    moody_key key(1);
    // Another leader takes the last place, while this one builds.
    EXPECT_THROW((void)cd::access::enter(flights, key, first, opts, typeid(answer),
                                         [&](moody_key& k) {
                                           EXPECT_EQ(enter(flights, 2, second), cd::admission::leads);
                                           return new moody_flight(std::move(k));
                                         }),
                 cacheflight::max_keys_error);
    EXPECT_EQ(flights.size(), 1u);
    core_type::settle(*second.joined(), cd::cause::abandoned, nullptr, nullptr);
  }
  {
    moody_call first, second;
    moody_key key(1);
    EXPECT_EQ(cd::access::enter(flights, key, first, opts, typeid(answer),
                                [&](moody_key& k) {
                                  EXPECT_EQ(enter(flights, 1, second), cd::admission::leads);
                                  return new moody_flight(std::move(k));
                                }),
              cd::admission::joined);
    core_type::settle(*second.joined(), cd::cause::abandoned, nullptr, nullptr);
  }
  moody_call third, last;
  EXPECT_THROW(enter(flights, 1, third, true), std::bad_alloc);
  ASSERT_EQ(enter(flights, 1, last), cd::admission::leads);
  core_type::settle(*last.joined(), cd::cause::abandoned, nullptr, nullptr);
}

TEST(R29, a_waiter_may_be_used_again_when_its_turn_is_over) {
  manual_group flights;
  half_entered caller;
  EXPECT_TRUE(core_type::withdraw(caller.call)) << "it has joined nothing yet";
  // It leaves.
  ASSERT_EQ(caller.enter(flights, "k", make_task()), cd::admission::leads);
  auto* flight = caller.call.joined();
  core_type::leave(caller.call);
  caller.call.take_turn();
  EXPECT_TRUE(caller.call.left);
  core_type::settle(*flight, cd::cause::abandoned, nullptr, nullptr);
  // It is stranded, and vanishes.
  ASSERT_EQ(caller.enter(flights, "k", make_task()), cd::admission::leads);
  EXPECT_EQ(caller.call.how_left(), cd::departure::none);
  ASSERT_TRUE(core_type::arm(caller.call));
  caller.front.refuse = 1;
  core_type::settle(*caller.call.joined(), cd::cause::abandoned, nullptr, nullptr);
  EXPECT_TRUE(core_type::withdraw(caller.call));
  // It is handed over.
  ASSERT_EQ(caller.enter(flights, "k", make_task()), cd::admission::leads);
  ASSERT_TRUE(core_type::arm(caller.call));
  core_type::settle(*caller.call.joined(), cd::cause::abandoned, nullptr, nullptr);
  EXPECT_EQ(caller.front.ready.size(), 1u);
  EXPECT_FALSE(core_type::withdraw(caller.call)) << "its turn is on its way";
  caller.front.pump();
  EXPECT_TRUE(caller.call.failed_with<cacheflight::abandoned_error>());
}

TEST(R20, a_call_that_is_refused_at_once_leaves_its_key_alone) {
  manual_group flights;
  std::function<int()> const none;
  std::string const text = "longer than any string that is stored in place";
  std::string key = text;
  auto const nothing = [](std::exception_ptr, std::shared_ptr<int const>) {};
  EXPECT_THROW(flights.start(static_cast<std::string&&>(key), none, nothing), std::invalid_argument);
  EXPECT_EQ(key, text);
}

TEST(R30, a_group_takes_its_memory_along) {
  int const before = aligned_blocks;
  {
    manual_group const flights;
    EXPECT_EQ(aligned_blocks, before + 1);
  }
  EXPECT_EQ(aligned_blocks, before);
}

TEST(R30, the_driver_is_closed_when_the_group_goes) {
  std::optional<manual_group> flights{std::in_place};
  auto& core = cd::access::core(*flights);
  core.retain();
  flights.reset();
  EXPECT_TRUE(core.driver().closed);
  core.release();
}

// A front whose callers others can destroy: their contexts pin them while they are handed over.
struct pinning_call final : cd::waiter<manual_platform>, cd::pinned {
  ~pinning_call() {
    if (joined() && !core_type::withdraw(*this)) core_type::finish(*this);
  }
  bool hand_over(waiters&) noexcept override {
    expect_unlocked("an executor");
    EXPECT_EQ(pins, 1);
    EXPECT_FALSE(going);
    ++turns;
    return true;
  }
  bool pin(cd::pin_guard& guard) noexcept override {
    EXPECT_TRUE(checked_mutex::held_here());
    if (going) return false;
    ++pins;
    guard.reset(this);
    return true;
  }
  void unpin() noexcept override {
    EXPECT_FALSE(checked_mutex::held_here());
    --pins;
  }
  int pins = 0, turns = 0;
  bool going = false;  // about to be destroyed
};

TEST(R29, a_waiter_is_pinned_while_it_is_handed_over_and_not_touched_if_it_cannot_be) {
  for (bool const leaves : {false, true}) {
    manual_group flights;
    hand_front leading;
    auto const task = make_task();
    leading.run(flights, "k", {}, task);
    std::string key = "k";
    run_options opts;
    auto const enter = [&](pinning_call& c) {
      ASSERT_EQ(cd::access::enter(flights, key, c, opts, typeid(answer),
                                  [](std::string&) -> hand_front::hand_flight* { return nullptr; }),
                cd::admission::joined);
      EXPECT_TRUE(core_type::arm(c));
    };
    pinning_call stays;
    auto goes = std::make_unique<pinning_call>(), recovers = std::make_unique<pinning_call>();
    for (auto* c : {goes.get(), &stays, recovers.get()}) enter(*c);
    goes->going = recovers->going = true;
    if (leaves)
      for (auto* c : {goes.get(), &stays, recovers.get()}) core_type::leave(*c);
    task->value = 7;
    task->open_gate(false);
    EXPECT_EQ(stays.turns, 1);
    EXPECT_EQ(stays.pins, 0);
    EXPECT_EQ(goes->turns + recovers->turns, 0);
    goes.reset();  // it is in the list of those to be tried again
    recovers->going = false;
    pass(flights, 1ms);
    EXPECT_EQ(recovers->turns, 1);
    EXPECT_EQ(recovers->pins, 0);
    leading.pump();
  }
}

TEST(R33, a_helper_goes_on_with_others_if_a_waiter_cannot_be_pinned) {
  manual_group flights;
  auto& core = cd::access::core(flights);
  hand_front leading;
  auto const task = make_task();
  leading.run(flights, "k", {}, task);
  {
    pinning_call goes, stays;
    for (auto* c : {&goes, &stays}) {
      std::string key = "k";
      run_options opts;
      opts.wait_timeout(1s);
      ASSERT_EQ(cd::access::enter(flights, key, *c, opts, typeid(answer),
                                  [](std::string&) -> hand_front::hand_flight* { return nullptr; }),
                cd::admission::joined);
      EXPECT_TRUE(core_type::arm(*c));
    }
    goes.going = true;
    manual_clock::advance(1s);
    (void)keep_time(core);
    while (core.run_job()) {
    }
    EXPECT_EQ(goes.turns, 0);
    EXPECT_EQ(stays.turns, 1);
  }
  task->value = 7;
  task->open_gate(false);
  leading.pump();
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
