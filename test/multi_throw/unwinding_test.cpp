// SPDX-License-Identifier: MIT

// Stacks that are unwound without an exception (rule 39): threads that exit or are cancelled, stackful
// coroutines that are shut down.

#include "../support/coroutines.hpp"
#include "../support/errors.hpp"
#include "../support/senders.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/sender.hpp>

#include <gtest/gtest.h>

#if __has_include(<boost/context/detail/exception.hpp>)
#include <boost/context/detail/exception.hpp>
#endif
#include <pthread.h>

#include <atomic>
#include <deque>
#include <exception>
#include <latch>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace cacheflight_test {
namespace {

using cacheflight::run_options;
namespace ex = cacheflight::execution;

void until(auto&& condition) {
  while (!condition()) std::this_thread::yield();
}

// ---- stackful coroutines: an object that derives from nothing ---------------------------------------------

#if __has_include(<boost/context/detail/exception.hpp>)
using boost::context::detail::forced_unwind;
#else
struct forced_unwind {};
#endif

template <class F>
bool unwinds(F&& f) {
  return throws<forced_unwind>(std::forward<F>(f));
}

[[noreturn]] int shut_down() { throw forced_unwind(); }

struct R39_stackful : testing::Test {
  ~R39_stackful() override {
    EXPECT_FALSE(flights.has("k"));
    auto const s = flights.stats();
    EXPECT_EQ(s.rejected, s.started);
    EXPECT_EQ(s.detached, 0u);
    EXPECT_EQ(s.waiters, 0u);
  }
  auto note() {
    return [this](std::exception_ptr e, std::shared_ptr<int const>) {
      abandoned += throws<cacheflight::abandoned_error>([&] { std::rethrow_exception(e); });
    };
  }
  cacheflight::group flights;
  int abandoned = 0;
};

namespace app {
struct forced_unwind : std::exception {};
}  // namespace app

TEST(R39, what_unwinds_a_stack_is_told_from_exceptions) {
  auto const caught = [](auto f) {
    try {
      f();
    } catch (...) {
      return cacheflight::detail::unwinding();
    }
    return false;
  };
  EXPECT_TRUE(caught(shut_down));
  EXPECT_FALSE(caught([] { throw 7; }));
  EXPECT_FALSE(caught([] { throw std::runtime_error("forced_unwind"); }));
  EXPECT_FALSE(caught([] { throw app::forced_unwind(); }));
  EXPECT_FALSE(caught([] { std::rethrow_exception(std::make_exception_ptr(std::logic_error("x"))); }));
}

TEST_F(R39_stackful, a_leader_that_is_shut_down_in_its_task_unwinds_and_its_callers_are_told) {
  EXPECT_TRUE(unwinds([&] {
    (void)flights.run("k", [&] {
      flights.start("k", [] { return 0; }, note());
      return shut_down();
    });
  }));
  EXPECT_EQ(abandoned, 1);
  EXPECT_TRUE(unwinds([&] { flights.run("k", [&] { (void)shut_down(); }); }));
}

TEST_F(R39_stackful, a_leader_with_a_stop_token_unwinds) {
  std::stop_source stop;
  EXPECT_TRUE(
      unwinds([&] { (void)flights.run("k", run_options().stop_token(stop.get_token()), shut_down); }));
  stop.request_stop();
}

TEST_F(R39_stackful, a_leader_with_events_unwinds) {
  int ends = 0;
  cacheflight::group watched(cacheflight::options().on_event(
      [&](cacheflight::event const& e) { ends += e.type == cacheflight::event_type::task_rejected; }));
  EXPECT_TRUE(unwinds([&] { (void)watched.run("k", shut_down); }));
  EXPECT_EQ(ends, 1);
  EXPECT_FALSE(watched.has("k"));
}

TEST_F(R39_stackful, start_unwinds_with_its_task) {
  EXPECT_TRUE(unwinds([&] { flights.start("k", shut_down, note()); }));
  EXPECT_TRUE(unwinds([&] {
    flights.start("k", cacheflight::answering<int>([](cacheflight::completion<int>) { (void)shut_down(); }),
                  note());
  }));
  EXPECT_EQ(abandoned, 2);
}

TEST_F(R39_stackful, a_callback_style_task_that_has_sent_its_completion_away_is_abandoned_all_the_same) {
  std::optional<cacheflight::completion<int>> done;
  EXPECT_TRUE(unwinds([&] {
    flights.start("k", cacheflight::answering<int>([&](cacheflight::completion<int> d) {
                    done.emplace(std::move(d));
                    (void)shut_down();
                  }),
                  note());
  }));
  EXPECT_EQ(abandoned, 1);
  EXPECT_FALSE(done->set_value(1));
}

TEST_F(R39_stackful, work_unwinds_with_its_task) {
  std::deque<cacheflight::work> queue;
  auto const submit = [&](cacheflight::work w) { queue.push_back(std::move(w)); };
  flights.start("k", cacheflight::on(submit, shut_down), note());
  EXPECT_TRUE(unwinds([&] { queue.front()(); }));
  EXPECT_EQ(abandoned, 1);
}

TEST_F(R39_stackful, an_executor_that_is_shut_down_unwinds) {
  auto const at_once = [](cacheflight::work const& w) { w(); };
  EXPECT_TRUE(unwinds([&] { flights.start("k", cacheflight::on(at_once, shut_down), note()); }));
  std::vector<cacheflight::work> kept;
  auto const keeps = [&](cacheflight::work w) {
    kept.push_back(std::move(w));
    (void)shut_down();
  };
  auto const never = [] {
    ADD_FAILURE() << "ran though its flight is settled";
    return 1;
  };
  EXPECT_TRUE(unwinds([&] { flights.start("k", cacheflight::on(keeps, never), note()); }));
  EXPECT_EQ(abandoned, 2);
  kept.front()();
}

TEST_F(R39_stackful, a_coroutine_ends_the_unwinding_and_passes_it_to_nobody) {
  auto const call = [&]() -> eager {
    auto const task = []() -> lazy<int> { co_return shut_down(); };
    try {
      auto operation = flights.run("k", task);
      (void)co_await std::move(operation);
    } catch (cacheflight::abandoned_error const&) {
      ++abandoned;
    }
  };
  call();
  EXPECT_EQ(abandoned, 1);
}

TEST(R39_stackful_DeathTest, a_callback_that_is_shut_down_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        cacheflight::group flights;
        flights.start(
            "k", [] { return 1; }, [](std::exception_ptr, std::shared_ptr<int const>) { (void)shut_down(); });
      },
      "");
}

TEST(R39_stackful_DeathTest, an_event_that_is_shut_down_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        cacheflight::group flights(
            cacheflight::options().on_event([](cacheflight::event const&) { (void)shut_down(); }));
        (void)flights.run("k", [] { return 1; });
      },
      "");
}

struct shut_down_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_value_t(int)>;
  struct state {
    void start() & noexcept {}
  };
  template <class Receiver>
  state connect(Receiver) && {
    (void)shut_down();
    return {};
  }
};
struct abandoned_receiver {
  using receiver_concept = ex::receiver_t;
  int* abandoned;
  void set_value(std::shared_ptr<int const>) && noexcept { ADD_FAILURE(); }
  void set_error(std::exception_ptr e) && noexcept {
    *abandoned += throws<cacheflight::abandoned_error>([&] { std::rethrow_exception(std::move(e)); });
  }
  void set_stopped() && noexcept { ADD_FAILURE(); }
};

TEST_F(R39_stackful, a_sender_ends_the_unwinding_and_passes_it_to_nobody) {
  auto operation =
      flights.run("k", [] { return shut_down_sender(); }).connect(abandoned_receiver{&abandoned});
  operation.start();
  EXPECT_EQ(abandoned, 1);
}

// ---- threads ----------------------------------------------------------------------------------------------

// libc++ cannot let a thread's unwinding through a handler, with this library or without.
#if defined(__GLIBCXX__) && defined(__linux__)

/// A thread, and whether its stack has been unwound.
struct observed {
  struct mark {
    std::atomic<bool>* unwound;
    ~mark() { *unwound = true; }
  };
  template <class F>
  explicit observed(F f)
      : thread([this, f] {
          mark const at_exit{&unwound};
          f();
          returned = true;
        }) {}
  ~observed() {
    if (thread.joinable()) thread.join();
  }
  /// Whether it ended by unwinding.
  bool ended_early() {
    thread.join();
    return unwound && !returned;
  }
  std::atomic<bool> unwound{false}, returned{false};
  std::thread thread;
};

TEST(R39, blocking_a_leader_whose_thread_exits_in_its_task_unwinds_and_its_joiner_is_told) {
  cacheflight::group flights;
  std::latch leading(1);
  observed leader([&] {
    (void)flights.run("k", [&]() -> int {
      leading.count_down();
      until([&] { return flights.stats().waiters == 2; });
      pthread_exit(nullptr);
    });
  });
  leading.wait();
  EXPECT_TRUE(throws<cacheflight::abandoned_error>([&] { (void)flights.run("k", [] { return 0; }); }));
  EXPECT_TRUE(leader.ended_early());
  EXPECT_EQ(flights.stats().rejected, 1u);
  EXPECT_EQ(*flights.run("k", [] { return 7; }), 7);
}

TEST(R39_DeathTest, blocking_a_thread_that_exits_in_an_event_ends_the_program) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        cacheflight::group flights(
            cacheflight::options().on_event([](cacheflight::event const&) { pthread_exit(nullptr); }));
        observed([&] { (void)flights.run("k", [] { return 1; }); });
      },
      "");
}

TEST(R39, blocking_a_leader_that_is_cancelled_in_its_task_unwinds) {
  cacheflight::group flights;
  std::latch leading(1);
  observed leader([&] {
    flights.run("k", [&] {
      leading.count_down();
      for (;;) pthread_testcancel(), std::this_thread::yield();
    });
  });
  leading.wait();
  std::thread::native_handle_type const handle = leader.thread.native_handle();
  pthread_cancel(handle);
  EXPECT_TRUE(leader.ended_early());
  EXPECT_FALSE(flights.has("k"));
  EXPECT_EQ(flights.stats().rejected, 1u);
}

TEST(R39, callback_a_thread_that_exits_in_its_task_unwinds) {
  cacheflight::group flights;
  std::atomic<int> abandoned{0};
  auto const note = [&](std::exception_ptr e, std::shared_ptr<int const>) {
    abandoned += throws<cacheflight::abandoned_error>([&] { std::rethrow_exception(e); });
  };
  observed plain([&] { flights.start("k", []() -> int { pthread_exit(nullptr); }, note); });
  EXPECT_TRUE(plain.ended_early());
  observed answering([&] {
    auto const task = [](cacheflight::completion<int>) { pthread_exit(nullptr); };
    flights.start("k", cacheflight::answering<int>(task), note);
  });
  EXPECT_TRUE(answering.ended_early());
  EXPECT_EQ(abandoned, 2);
  EXPECT_FALSE(flights.has("k"));
}

TEST(R39, blocking_a_worker_that_exits_in_a_task_unwinds_and_the_waiting_leader_is_told) {
  cacheflight::group flights;
  std::optional<observed> worker;
  auto const submit = [&](cacheflight::work w) { worker.emplace([w = std::move(w)] { w(); }); };
  EXPECT_TRUE(throws<cacheflight::abandoned_error>(
      [&] { (void)flights.run("k", cacheflight::on(submit, []() -> int { pthread_exit(nullptr); })); }));
  EXPECT_TRUE(worker->ended_early());
}

TEST(R39, blocking_a_joiner_that_is_cancelled_while_it_waits_has_left) {
  cacheflight::group flights;
  std::latch leading(1), may_return(1);
  std::shared_ptr<int const> got;
  observed leader([&] {
    got = flights.run("k", [&] {
      leading.count_down();
      may_return.wait();
      return 7;
    });
  });
  leading.wait();
  observed joiner([&] { (void)flights.run("k", [] { return 0; }); });
  until([&] { return flights.stats().waiters == 2; });
  pthread_cancel(joiner.thread.native_handle());
  EXPECT_TRUE(joiner.ended_early());
  EXPECT_EQ(flights.stats().waiters, 1u);
  EXPECT_TRUE(flights.has("k"));
  may_return.count_down();
  EXPECT_FALSE(leader.ended_early());
  EXPECT_EQ(*got, 7);
}

TEST(R39, blocking_the_last_caller_that_is_cancelled_while_it_waits_dooms_its_flight) {
  cacheflight::group flights;
  std::optional<cacheflight::work> queued;
  auto const submit = [&](cacheflight::work w) { queued.emplace(std::move(w)); };
  observed leader([&] {
    (void)flights.run("k", cacheflight::on(submit, [] {
                        ADD_FAILURE() << "nobody waits for it";
                        return 1;
                      }));
  });
  until([&] { return flights.stats().waiters == 1; });
  pthread_cancel(leader.thread.native_handle());
  EXPECT_TRUE(leader.ended_early());
  EXPECT_FALSE(flights.has("k"));
  EXPECT_EQ(flights.stats().cancelled, 1u);
  (*queued)();
  EXPECT_EQ(flights.stats().detached, 0u);
}

TEST(R39, blocking_a_thread_that_is_cancelled_is_not_unwound_while_it_waits_for_a_lock_of_ours) {
  std::atomic<bool> rested{false};
  observed waits([&] {
    pthread_cancel(pthread_self());
    cacheflight::detail::rest();  // as the lock does when it is held for long
    rested = true;
    pthread_testcancel();
  });
  EXPECT_TRUE(waits.ended_early());
  EXPECT_TRUE(rested);
}

// Who wakes a caller needs what it sleeps in: the sanitizers see it if that is gone.
TEST(R39, blocking_a_caller_that_is_cancelled_and_answered_at_once) {
  cacheflight::group flights;
  for (int i = 0; i < 200; ++i) {
    std::latch leading(1), both(2);
    observed leader([&] {
      (void)flights.run("k", [&] {
        leading.count_down();
        both.arrive_and_wait();
        return 7;
      });
    });
    leading.wait();
    observed joiner([&] { (void)flights.run("k", [] { return 0; }); });
    until([&] { return flights.stats().waiters == 2; });
    both.arrive_and_wait();
    pthread_cancel(joiner.thread.native_handle());
  }
  EXPECT_EQ(flights.stats().resolved, 200u);
  EXPECT_EQ(flights.stats().waiters, 0u);
}

#endif

}  // namespace
}  // namespace cacheflight_test
