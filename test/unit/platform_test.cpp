// SPDX-License-Identifier: MIT
#include "unit/memory.hpp"
#include <cacheflight/platform.hpp>

#include <gtest/gtest.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdlib>
#include <deque>
#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>

#include <csignal>
#endif

namespace {

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;
using time_point = clock_type::time_point;
using driver = cacheflight::thread_driver<clock_type>;

constexpr time_point nothing = time_point::max();

/// Plays the core: each round of the driver's thread calls the function that is up, with the number of the
/// round.
class script final : public cacheflight::deadline_work<clock_type> {
 public:
  explicit script(std::function<time_point(int)> round) : round_(std::move(round)) {}

  time_point run_due() noexcept override {
    int const number = rounds_.fetch_add(1) + 1;
    time_point const next = round_(number);
    std::scoped_lock const lock(mutex_);
    done_ = number;
    changed_.notify_all();
    return next;
  }
  /// Jobs: what is left to helpers, first come, first served.
  void leave_to_helpers(std::function<void()> job) {
    std::scoped_lock const lock(mutex_);
    if (jobs_.empty()) since_ = clock_type::now();
    jobs_.push_back(std::move(job));
  }
  bool run_job() noexcept override {
    std::function<void()> job;
    {
      std::scoped_lock const lock(mutex_);
      if (jobs_.empty()) return false;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      since_ = jobs_.empty() ? nothing : clock_type::now();
    }
    job();
    return true;
  }
  [[nodiscard]] time_point oldest_job() const noexcept override {
    std::scoped_lock const lock(mutex_);
    return since_;
  }
  [[nodiscard]] std::size_t most_helpers() const noexcept override { return most_; }
  void at_most(std::size_t helpers) { most_ = helpers; }

  void retain() noexcept override { references_.fetch_add(1); }
  void release() noexcept override {
    std::scoped_lock const lock(mutex_);  // held to the end: the waiting thread destroys this
    references_.fetch_sub(1);
    changed_.notify_all();
  }

  void wait_for_round(int number) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_ >= number; });
  }
  void wait_until_released(int left = 0) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return references_ == left; });
  }
  /// Whether the thread has gone; if not, makes it go, so that the test can end.
  bool released_or_wake(driver& timer) {
    if (references_ == 0) return true;
    timer.arm(clock_type::now());
    wait_until_released();
    return false;
  }
  [[nodiscard]] int rounds() const { return rounds_; }
  [[nodiscard]] int references() const { return references_; }

 private:
  std::function<time_point(int)> round_;
  std::deque<std::function<void()>> jobs_;
  time_point since_ = nothing;
  std::atomic<std::size_t> most_{64};
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int done_ = 0;
  std::atomic<int> rounds_{0};
  std::atomic<int> references_{0};
};

TEST(thread_driver, starts_one_thread_when_it_is_first_needed) {
  std::promise<std::thread::id> thread;
  script work([&](int number) {
    if (number == 1) thread.set_value(std::this_thread::get_id());
    return nothing;
  });
  driver timer;
  EXPECT_EQ(work.references(), 0);
  timer.ensure(work);
  {
    memory::shortage const now;
    EXPECT_NO_THROW(timer.ensure(work)) << "it tries to start another one";
  }
  EXPECT_EQ(work.references(), 1);  // the thread's
  EXPECT_NE(thread.get_future().get(), std::this_thread::get_id());
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, is_one_thread_also_when_two_start_it_at_once) {
  script work([](int) { return nothing; });
  driver timer;
  struct pair {
    driver& timer;
    script& work;
  } both{timer, work};
  memory::mine.with = &both;
  memory::mine.once = [](void* p) {  // while the first makes its thread
    auto const& [other_timer, other_work] = *static_cast<pair*>(p);
    other_timer.ensure(other_work);
  };
  timer.ensure(work);
  EXPECT_EQ(memory::mine.once, nullptr);
  EXPECT_EQ(work.references(), 1);
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, many_threads_start_one_thread) {
  script work([](int) { return nothing; });
  driver timer;
  std::latch together(4);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      together.arrive_and_wait();
      timer.ensure(work);
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(work.references(), 1);
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, works_again_when_the_next_thing_is_due) {
  std::promise<time_point> second;
  time_point due{};
  script work([&](int number) {
    if (number == 1) return due = clock_type::now() + 2ms;
    if (number == 2) second.set_value(clock_type::now());
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  time_point const woken = second.get_future().get();
  EXPECT_GE(woken, due);
  timer.close();
}

TEST(thread_driver, a_deadline_in_the_past_is_due_at_once) {
  script work([](int number) { return number == 1 ? clock_type::now() - 1h : nothing; });
  driver timer;
  timer.ensure(work);
  work.wait_for_round(2);
  timer.close();
}

TEST(thread_driver, arming_wakes_a_thread_that_waits_for_nothing) {
  script work([](int) { return nothing; });
  driver timer;
  timer.ensure(work);
  work.wait_for_round(1);
  timer.arm(clock_type::now());
  work.wait_for_round(2);
  timer.close();
}

TEST(thread_driver, an_earlier_deadline_wakes_a_later_one_does_not_hide_it) {
  time_point const distant = clock_type::now() + 1h;
  script work([&](int number) { return number < 3 ? distant : nothing; });
  driver timer;
  timer.ensure(work);
  work.wait_for_round(1);
  timer.arm(clock_type::now());
  work.wait_for_round(2);
  timer.arm(clock_type::now() + 1ms);
  timer.arm(distant + 1h);  // must not replace the earlier one
  work.wait_for_round(3);
  timer.close();
}

TEST(thread_driver, what_is_armed_while_it_works_is_not_lost) {
  std::latch working(1), armed(1);
  script work([&](int number) {
    if (number == 1) {
      working.count_down();
      armed.wait();
    }
    return nothing;  // it had looked before the deadline was there
  });
  driver timer;
  timer.ensure(work);
  working.wait();
  timer.arm(clock_type::now());
  armed.count_down();
  work.wait_for_round(2);
  timer.close();
}

TEST(thread_driver, what_is_armed_while_it_works_is_not_lost_among_later_ones) {
  time_point const distant = clock_type::now() + 1h;
  std::latch working(1), armed(1);
  script work([&](int number) {
    if (number == 1) {
      working.count_down();
      armed.wait();
      return distant;
    }
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  working.wait();
  timer.arm(clock_type::now());
  armed.count_down();
  work.wait_for_round(2);
  timer.close();
}

TEST(thread_driver, every_arming_is_seen) {  // as the core does it: publish the deadline, then arm
  constexpr int deadlines = 2'000;
  std::atomic<int> armed{0}, seen{0};
  script work([&](int) {
    seen = armed.load();
    seen.notify_all();
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  for (int i = 1; i <= deadlines; ++i) {
    armed = i;
    timer.arm(clock_type::now());
    for (int was = seen; was < i; was = seen) seen.wait(was);
  }
  timer.close();
  EXPECT_EQ(seen, deadlines);
}

TEST(thread_driver, closing_without_a_thread_does_nothing) {
  driver timer;
  timer.close();
  timer.close();
}

TEST(thread_driver,
     closing_does_not_linger_for_what_was_due_before) {  // the group has cleared its deadlines by then
  for (int repeat = 0; repeat < 50; ++repeat) {
    time_point const next = repeat % 2 ? nothing : clock_type::now() + 1h;
    std::latch working(1), closing(1);
    script work([&](int number) {
      if (number > 1) return nothing;
      working.count_down();
      closing.wait();
      for (int i = 0; i < 100; ++i) std::this_thread::yield();  // most likely closed by now
      return next;                                              // what it had seen before
    });
    driver timer;
    timer.ensure(work);
    working.wait();
    closing.count_down();
    timer.close();
    ASSERT_TRUE(work.released_or_wake(timer)) << "the thread stays for a deadline that is gone";
  }
}

TEST(thread_driver, closing_waits_for_the_work_under_way) {
  std::latch working(1), closing(1);
  bool finished = false;  // no atomic: `close` must order it
  script work([&](int number) {
    if (number > 1) return nothing;
    working.count_down();
    closing.wait();
    for (int i = 0; i < 1'000; ++i) std::this_thread::yield();
    finished = true;
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  working.wait();
  closing.count_down();
  timer.close();
  EXPECT_TRUE(finished);
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, R33_may_be_closed_and_destroyed_on_a_helper) {  // a callback that destroys the group
  std::promise<void> gone;
  struct owner final : cacheflight::deadline_work<clock_type> {
    driver timer;
    std::atomic<int> references{1};
    std::atomic<bool> waits{true};
    std::promise<void>* gone = nullptr;
    time_point run_due() noexcept override { return nothing; }
    bool run_job() noexcept override {
      if (!waits.exchange(false)) return false;
      timer.close();
      release();  // the group's; the threads' are left
      return true;
    }
    [[nodiscard]] time_point oldest_job() const noexcept override { return waits ? time_point() : nothing; }
    [[nodiscard]] std::size_t most_helpers() const noexcept override { return 1; }
    void retain() noexcept override { references.fetch_add(1); }
    void release() noexcept override {
      if (references.fetch_sub(1) != 1) return;
      std::promise<void>* const tell = gone;
      delete this;
      tell->set_value();
    }
  };
  auto* const core = new owner;
  core->gone = &gone;
  core->timer.ensure(*core);
  gone.get_future().wait();
}

TEST(thread_driver, R33_time_is_kept_while_helpers_are_held_up) {
  std::latch held_up(1), released(1);
  std::promise<void> in_time;
  int rounds_since = 0;
  script work([&](int number) {
    if (number == 1) {
      work.leave_to_helpers([&] {
        held_up.count_down();
        released.wait();
      });
      return clock_type::now() + 5ms;
    }
    if (held_up.try_wait() && ++rounds_since == 2) in_time.set_value();
    return rounds_since < 2 ? clock_type::now() + 1ms : nothing;
  });
  driver timer;
  timer.ensure(work);
  held_up.wait();
  in_time.get_future().wait();  // the rounds go on
  released.count_down();
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, R33_a_job_that_is_held_up_by_another_gets_a_helper_of_its_own) {
  constexpr int jobs = 5;
  std::latch all_at_once(jobs);
  script work([&](int number) {
    if (number == 1)
      for (int i = 0; i < jobs; ++i) work.leave_to_helpers([&] { all_at_once.arrive_and_wait(); });
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  all_at_once.wait();
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

/// A millisecond of this clock never ends: what waits for one waits for ever.
struct slow_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<slow_clock>;
  [[maybe_unused]] static constexpr bool is_steady = true;
  static time_point now() noexcept { return time_point(clock_type::now().time_since_epoch() / 1'000'000); }
};

/// One job, which the `looks`-th look of a helper finds.
struct slow_work final : cacheflight::deadline_work<slow_clock> {
  using time_point = slow_clock::time_point;
  explicit slow_work(int looks) : looks_(looks) {}
  time_point run_due() noexcept override {
    ++rounds;
    return due(rounds);
  }
  bool run_job() noexcept override {
    if (!waits || --looks_ > 0) return false;
    waits = false;
    done.count_down();
    may_return.wait();
    return true;
  }
  [[nodiscard]] time_point oldest_job() const noexcept override {
    return waits || another_waits ? slow_clock::now() : time_point::max();
  }
  [[nodiscard]] std::size_t most_helpers() const noexcept override { return 1; }
  void retain() noexcept override {}
  void release() noexcept override {}

  std::atomic<int> rounds{0};
  std::atomic<bool> waits{true}, another_waits{false};
  std::latch done{1}, may_return{1};
  std::function<time_point(int)> due = [](int) { return time_point::max(); };

 private:
  int looks_;
};

TEST(thread_driver, R33_the_first_helper_is_started_at_once_and_looks_until_nothing_is_left) {
  for (int const looks : {1, 2}) {
    slow_work work(looks);
    cacheflight::thread_driver<slow_clock> timer;
    timer.ensure(work);
    work.done.wait();
    work.may_return.count_down();
    timer.close();
  }
}

/// Two jobs, each of which lasts until the other has begun, and which have always waited for too long.
struct old_work final : cacheflight::deadline_work<clock_type> {
  clock_type::time_point run_due() noexcept override { return clock_type::time_point::max(); }
  bool run_job() noexcept override {
    if (left_.fetch_sub(1) <= 0) return false;
    begun.arrive_and_wait();
    return true;
  }
  [[nodiscard]] clock_type::time_point oldest_job() const noexcept override {
    return left_ > 0 ? clock_type::now() - 1h : clock_type::time_point::max();
  }
  [[nodiscard]] std::size_t most_helpers() const noexcept override { return 2; }
  void retain() noexcept override {}
  void release() noexcept override {}

  std::latch begun{2};

 private:
  std::atomic<int> left_{2};
};

TEST(thread_driver, R33_one_more_helper_is_started_for_a_job_that_has_waited_for_too_long) {
  old_work work;
  driver timer;
  timer.ensure(work);
  work.begun.wait();
  timer.close();
}

TEST(thread_driver, R33_while_a_job_waits_deadlines_are_kept_and_it_is_not_looked_for_all_the_time) {
  slow_work work(1);
  std::latch third(3);
  work.due = [&](int round) {
    if (round <= 3) third.count_down();
    return round < 3 ? slow_clock::now() + 10ns : slow_work::time_point::max();  // ten milliseconds
  };
  work.another_waits = true;  // all the time
  cacheflight::thread_driver<slow_clock> timer;
  timer.ensure(work);
  work.done.wait();
  third.wait();
  for (int i = 0; i < 1'000; ++i) std::this_thread::yield();
  EXPECT_EQ(work.rounds, 3);
  work.another_waits = false;
  work.may_return.count_down();
  timer.close();
}

TEST(thread_driver, R33_there_are_no_more_helpers_than_allowed) {
  std::atomic<int> begun{0}, at_once{0}, most{0};
  std::latch held_up(2), released(1), done(3);
  int rounds_since = 0;
  script work([&](int number) {
    if (number == 1)
      for (int i = 0; i < 3; ++i)
        work.leave_to_helpers([&] {
          int const now = ++at_once;
          for (int before = most; before < now && !most.compare_exchange_weak(before, now);) {
          }
          if (begun++ < 2) held_up.count_down();
          released.wait();
          --at_once;
          done.count_down();
        });
    // The third one waits; each of these rounds would start another helper.
    if (held_up.try_wait() && ++rounds_since == 10) released.count_down();
    return rounds_since < 10 ? clock_type::now() + 1ms : nothing;
  });
  work.at_most(2);
  driver timer;
  timer.ensure(work);
  done.wait();
  timer.close();
  EXPECT_EQ(most, 2);
}

TEST(thread_driver, R33_a_helper_that_cannot_be_started_is_tried_again) {
  std::latch done(1);
  std::atomic<int> refused{0};
  script work([&](int number) {
    if (number == 1) work.leave_to_helpers([&] { done.count_down(); });
    memory::mine.none = number <= 3;
    if (memory::mine.none) ++refused;
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  done.wait();
  timer.close();
  EXPECT_EQ(refused, 3);
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, R33_an_idle_helper_ends_and_another_is_started_when_there_is_something_to_do) {
  std::latch done(1), done_again(1);
  std::atomic<bool> again{false};
  script work([&](int number) {
    if (number == 1) work.leave_to_helpers([&] { done.count_down(); });
    if (again.exchange(false)) work.leave_to_helpers([&] { done_again.count_down(); });
    return nothing;
  });
  work.at_most(1);
  driver timer;
  timer.ensure(work);
  done.wait();
  work.wait_until_released(1);  // the thread that keeps time
  again = true;
  timer.arm(clock_type::now());
  done_again.wait();
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, R33_an_idle_helper_takes_the_next_job_and_one_that_is_held_up_none) {
  constexpr int jobs = 20;
  std::atomic<int> threads{0};
  std::atomic<bool> wanted{false};
  std::function<void()> job;
  script work([&](int) {
    if (wanted.exchange(false)) work.leave_to_helpers(job);
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  auto const leave = [&](std::function<void()> what) {
    job = std::move(what);
    wanted = true;
    timer.arm(clock_type::now());
  };
  auto const start = clock_type::now();
  for (int i = 0; i < jobs; ++i) {
    std::latch done(1);
    leave([&] {
      thread_local bool counted = false;
      if (!std::exchange(counted, true)) ++threads;
      done.count_down();
    });
    done.wait();
    for (int n = 0; n < 100; ++n) std::this_thread::yield();  // most likely idle by now
  }
  EXPECT_LT(threads, jobs / 2);
  EXPECT_LT(clock_type::now() - start, 10s) << "one that is idle is told at once, not in a second";
  std::latch held_up(1), released(1), done(1);
  leave([&] {
    held_up.count_down();
    released.wait();
  });
  held_up.wait();
  leave([&] { done.count_down(); });
  done.wait();
  released.count_down();
  timer.close();
}

TEST(thread_driver, R33_closing_waits_for_a_helper) {
  std::latch working(1), closing(1);
  bool finished = false;  // no atomic: `close` must order it
  script work([&](int number) {
    if (number != 1) return nothing;
    work.leave_to_helpers([&] {
      working.count_down();
      closing.wait();
      for (int i = 0; i < 1'000; ++i) std::this_thread::yield();
      finished = true;
    });
    return nothing;
  });
  driver timer;
  timer.ensure(work);
  working.wait();
  closing.count_down();
  timer.close();
  EXPECT_TRUE(finished);
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, R33_lingers_with_a_helper_that_is_held_up) {
  std::latch working(1), closed(1);
  std::atomic<bool> may_end{false};
  script work([&](int number) {
    if (number == 1)
      work.leave_to_helpers([&] {
        working.count_down();
        closed.wait();
      });
    return may_end ? nothing : clock_type::now() + 1h;
  });
  driver timer;
  timer.ensure(work);
  working.wait();
  timer.close();  // returns
  closed.count_down();
  work.wait_until_released(1);  // the helper has ended by itself
  may_end = true;
  timer.arm(clock_type::now());
  work.wait_until_released();
}

TEST(thread_driver, R40_waits_until_it_is_told) {
  driver timer;
  std::latch looked(1);
  std::atomic<bool> over{false}, first{true};
  std::thread teller([&] {
    looked.wait();
    over = true;
    timer.tell();
  });
  timer.await([&] {
    if (first.exchange(false)) looked.count_down();
    return over.load();
  });
  EXPECT_TRUE(over);
  if (first.exchange(false)) looked.count_down();
  teller.join();
}

TEST(thread_driver, R33_may_be_closed_while_a_helper_is_started) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    std::latch working(1), closing(1), may_end(1);
    script work([&](int number) {
      if (number > 1) return nothing;
      working.count_down();
      closing.wait();
      for (int i = 0; i < 100; ++i) std::this_thread::yield();  // most likely closed by now
      work.leave_to_helpers([&] { may_end.wait(); });
      work.leave_to_helpers([] {});  // there is only one helper: the thread lingers for this
      return nothing;
    });
    work.at_most(1);
    driver timer;
    timer.ensure(work);
    working.wait();
    closing.count_down();
    timer.close();
    may_end.count_down();
    work.wait_until_released();
  }
}

TEST(thread_driver, R33_what_is_left_to_helpers_after_close_is_done) {
  std::atomic<bool> wanted{false};
  std::function<void()> job;
  script work([&](int) {
    if (wanted.exchange(false)) work.leave_to_helpers(job);
    return nothing;
  });
  driver timer;
  timer.close();
  for (int i = 0; i < 2; ++i) {
    std::latch done(1);
    job = [&] { done.count_down(); };
    wanted = true;
    timer.rouse(work, clock_type::now());
    done.wait();
    work.wait_until_released();
  }
}

#if defined(__linux__)
TEST(thread_driver, R38_its_threads_take_no_signals_class_or_processor_from_who_starts_them) {
  struct seen {
    std::string name = std::string(16, '\0');
    int policy = -1;
    bool all_signals = true;
    int processors = 0;
    seen() {
      (void)pthread_getname_np(pthread_self(), name.data(), name.size());
      name.resize(name.find('\0'));
      policy = sched_getscheduler(0);
      sigset_t blocked;
      pthread_sigmask(SIG_BLOCK, nullptr, &blocked);
      for (int const signal : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGALRM, SIGCHLD})
        all_signals = all_signals && sigismember(&blocked, signal) == 1;
      cpu_set_t set;
      (void)sched_getaffinity(0, sizeof set, &set);
      processors = CPU_COUNT(&set);
    }
  };
  int const processors = seen().processors;
  std::promise<seen> keeper, helper;
  script work([&](int number) {
    if (number == 1) {
      keeper.set_value(seen());
      work.leave_to_helpers([&] { helper.set_value(seen()); });
    }
    return nothing;
  });
  driver timer;
  bool bound = false, batch = false;
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<std::size_t>(sched_getcpu()), &one);
    bound = sched_setaffinity(0, sizeof one, &one) == 0;
    sched_param const none{};
    batch = pthread_setschedparam(pthread_self(), SCHED_BATCH, &none) == 0;
    timer.ensure(work);
  }).join();
  EXPECT_TRUE(bound && batch);
  for (auto* const each : {&keeper, &helper}) {
    seen const its = each->get_future().get();
    EXPECT_EQ(its.name, "cacheflight");
    EXPECT_EQ(its.policy, SCHED_OTHER);
    EXPECT_TRUE(its.all_signals);
    EXPECT_EQ(its.processors, processors);
  }
  timer.close();
}
#endif

TEST(thread_driver,
     what_ends_with_the_thread_may_still_arm) {  // thread_local objects of the user's callbacks
  struct arms_at_last {
    driver* timer = nullptr;
    ~arms_at_last() { timer->arm(clock_type::now()); }
  };
  driver timer;
  script work([&](int) {
    thread_local arms_at_last last;
    last.timer = &timer;
    return nothing;
  });
  timer.ensure(work);
  work.wait_for_round(1);
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(thread_driver, lingers_for_what_is_still_due_when_closed) {
  std::atomic<bool> may_end{false};
  script work([&](int) { return may_end ? nothing : clock_type::now() + 1h; });
  auto timer = std::make_unique<driver>();
  timer->ensure(work);
  work.wait_for_round(1);
  timer->close();  // returns, though something is due in an hour
  EXPECT_EQ(work.references(), 1);
  int const before = work.rounds();
  may_end = true;
  timer->arm(clock_type::now());
  work.wait_until_released();
  EXPECT_GT(work.rounds(), before);
}

TEST(thread_driver, a_lingering_thread_works_until_nothing_is_due) {
  script work([&](int number) { return number < 10 ? clock_type::now() + 1ms : nothing; });
  driver timer;
  timer.ensure(work);
  work.wait_for_round(1);
  timer.close();
  work.wait_until_released();
  EXPECT_GE(work.rounds(), 10);
}

TEST(
    thread_driver,
    ensure_after_close_runs_and_ends_by_itself) {  // a hand-over that is refused after the group was destroyed
  script work([](int number) { return number < 3 ? clock_type::now() : nothing; });
  driver timer;
  timer.close();
  timer.ensure(work);
  work.wait_until_released();
  EXPECT_GE(work.rounds(), 3);
}

TEST(thread_driver, rousing_starts_the_thread_and_wakes_it) {
  time_point const distant = clock_type::now() + 1h;
  script work([&](int number) { return number < 4 ? distant : nothing; });
  driver timer;
  timer.rouse(work, distant);
  work.wait_for_round(1);
  timer.rouse(work, clock_type::now());
  work.wait_for_round(2);
  timer.rouse(work, clock_type::now() + 1ms);
  timer.rouse(work, distant + 1h);  // must not replace the earlier one
  work.wait_for_round(3);
  EXPECT_EQ(work.references(), 1);
  timer.rouse(work, clock_type::now());
  work.wait_for_round(4);
  timer.close();
}

TEST(thread_driver, rousing_after_close_always_leads_to_a_round) {  // though the thread may be about to end
  constexpr int times = 1'000;
  std::atomic<int> roused{0}, seen{0};
  script work([&](int) {
    seen = roused.load();
    seen.notify_all();
    return nothing;
  });
  driver timer;
  timer.close();
  for (int i = 1; i <= times; ++i) {
    roused = i;
    timer.rouse(work, clock_type::now());
    for (int was = seen; was < i; was = seen) seen.wait(was);
  }
  work.wait_until_released();
  EXPECT_EQ(seen, times);
}

TEST(thread_driver, a_thread_that_cannot_be_started_leaves_nothing_behind) {
  script work([](int) { return nothing; });
  driver timer;
  memory::mine.none = true;
  EXPECT_THROW(timer.ensure(work), std::bad_alloc);
  EXPECT_THROW(timer.rouse(work, clock_type::now()), std::bad_alloc);
  memory::mine.none = false;
  EXPECT_EQ(work.references(), 0);
  timer.ensure(work);
  EXPECT_EQ(work.references(), 1);
  timer.close();
  EXPECT_EQ(work.references(), 0);
}

TEST(short_mutex, lets_one_in_at_a_time_and_those_who_wait_in_afterwards) {
  cacheflight::detail::short_mutex mutex;
  std::atomic<bool> inside{false};
  int entered = 0, overlapped = 0;
  auto const enter = [&] {
    for (int i = 0; i < 1'000; ++i) {
      std::scoped_lock lock(mutex);
      if (inside.exchange(true, std::memory_order_relaxed)) ++overlapped;
      std::this_thread::yield();  // so that the other finds it taken
      ++entered;
      inside.store(false, std::memory_order_relaxed);
    }
  };
  {
    std::latch start(2);
    std::jthread const other([&] {
      start.arrive_and_wait();
      enter();
    });
    start.arrive_and_wait();
    enter();
  }
  EXPECT_EQ(entered, 2'000);
  EXPECT_EQ(overlapped, 0);
}

#if defined(__linux__)
TEST(short_mutex, R39_no_thread_is_cancelled_while_it_waits_for_a_lock) {
  bool went_on = false;
  int after = -1;
  std::thread([&] {
    pthread_cancel(pthread_self());
    cacheflight::detail::rest();
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &after);
    went_on = true;
  }).join();
  EXPECT_TRUE(went_on);
  EXPECT_EQ(after, PTHREAD_CANCEL_ENABLE) << "it can be afterwards";
}
#endif

TEST(std_platform, has_a_power_of_two_of_shards) {
  std::size_t const shards = cacheflight::std_platform::shards();
  EXPECT_TRUE(std::has_single_bit(shards));
  EXPECT_GE(shards, 8U);
  EXPECT_LE(shards, 256U);
  EXPECT_EQ(cacheflight::std_platform::shards(), shards);
}

}  // namespace
