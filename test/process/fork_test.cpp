// SPDX-License-Identifier: MIT

// Groups after fork() (rule 38). Each child says what it found by its exit code.

#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/future.hpp>

#include <gtest/gtest.h>

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <functional>
#include <latch>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#if defined(__SANITIZE_THREAD__)
#define CACHEFLIGHT_NO_FORKS  // its runtime does not start threads in a child
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CACHEFLIGHT_NO_FORKS
#endif
#endif

#if !defined(CACHEFLIGHT_NO_FORKS)
namespace {

using namespace std::chrono_literals;
using cacheflight::run_options;

/// What the first requirement that does not hold is called in the child's exit code.
class child {
 public:
  template <class F>
  explicit child(F&& what) {
    process_ = fork();
    if (process_ != 0) return;
    alarm(60);  // a child that hangs fails
    int failed = 0, number = 0;
    auto const require = [&](bool holds) {
      ++number;
      if (!holds && failed == 0) failed = number;
    };
    try {
      what(require);
    } catch (...) {
      failed = 99;
    }
    _exit(failed);
  }
  [[nodiscard]] int wait() const {
    int status = 0;
    EXPECT_EQ(waitpid(process_, &status, 0), process_);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t process_;
};

/// Tasks that wait for something that never happens in the child.
struct pool {
  std::vector<std::jthread> threads;
  auto executor() {
    return [this](cacheflight::work w) { threads.emplace_back([w = std::move(w)] { w(); }); };
  }
};

auto const detach = [](cacheflight::work w) { std::thread([w = std::move(w)] { w(); }).detach(); };
auto const obedient = [](std::stop_token stop) {
  std::atomic<bool> stopped{false};
  std::stop_callback const tell(stop, [&] {
    stopped = true;
    stopped.notify_all();
  });
  stopped.wait(false);
  return 1;
};

TEST(R38, a_child_process_keeps_time_and_can_destroy_the_group) {
  std::optional<cacheflight::group> flights;
  flights.emplace(cacheflight::options().default_timeout(20ms));
  // Time, and a helper, are under way in the parent.
  EXPECT_THROW((void)flights->run("warm up", cacheflight::on(detach, obedient)), cacheflight::timeout_error);
  child const one([&](auto require) {
    bool timed_out = false;
    try {
      (void)flights->run("k", cacheflight::on(detach, obedient));
    } catch (cacheflight::timeout_error const&) {
      timed_out = true;
    }
    require(timed_out);
    std::latch called(1);
    flights->start("k", cacheflight::on(detach, obedient),
                   [&](std::exception_ptr error, std::shared_ptr<int const>) {
                     require(error != nullptr);
                     called.count_down();
                   });
    called.wait();
    require(*flights->run("k", [] { return 7; }) == 7);
    flights.reset();
  });
  EXPECT_EQ(one.wait(), 0);
  EXPECT_THROW((void)flights->run("k", cacheflight::on(detach, obedient)), cacheflight::timeout_error);
}

TEST(R38, flights_of_the_parent_are_not_up_in_the_child) {
  pool threads;
  int events = 0;
  std::optional<cacheflight::group> flights;
  flights.emplace(cacheflight::options().max_keys(2).on_event([&](cacheflight::event const&) { ++events; }));
  std::latch running(2), may_end(1);
  std::atomic<int> called{0};
  auto const task = [&] {
    running.count_down();
    may_end.wait();
    return 1;
  };
  for (char const* const key : {"a", "b"})
    flights->start(key, run_options().wait_timeout(1h).timeout(1h), cacheflight::on(threads.executor(), task),
                   [&](std::exception_ptr, std::shared_ptr<int const>) { ++called; });
  std::thread blocked([&] { (void)flights->run("a", [] { return 2; }); });
  while (flights->stats().waiters != 3) std::this_thread::yield();
  running.wait();
  child const one([&](auto require) {
    int const before = events;
    require(flights->size() == 0);
    require(!flights->has("a"));
    auto const books = flights->stats();
    require(books.in_flight == 0 && books.waiters == 0 && books.detached == 0);
    require(books.started == books.cancelled);
    require(!flights->cancel("a"));
    require(*flights->run("a", [] { return 7; }) == 7);
    require(events == before + 3);
    flights->clear();
    flights.reset();
    require(called == 0);
    require(events == before + 3);
  });
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(flights->size(), 2u) << "the parent's are";
  may_end.count_down();
  blocked.join();
  threads.threads.clear();
  EXPECT_EQ(called, 2);
}

TEST(R38, a_drain_in_the_child_waits_for_what_is_up_there) {
  pool threads;
  cacheflight::group open;
  std::optional<cacheflight::group> flights(std::in_place);
  std::latch running(2), may_end(1);
  std::atomic<int> drained{0};
  auto const task = [&] {
    running.count_down();
    may_end.wait();
    return 1;
  };
  for (cacheflight::group* each : {&*flights, &open})
    each->start("k", cacheflight::on(threads.executor(), task),
                [](std::exception_ptr, std::shared_ptr<int const>) {});
  running.wait();
  cacheflight::when_drained(*flights, [&](bool quiet) { drained += quiet ? 1 : 100; });
  child const one([&](auto require) {
    require(flights->closed() && !open.closed());
    require(flights->drain(1h));
    require(*open.run("k", [] { return 7; }) == 7);
    std::atomic<int> here{0};
    std::latch begun(1), may_answer(1);
    std::thread answers([&] {
      try {
        (void)open.run("other", [&] {
          begun.count_down();
          may_answer.wait();
          return here = 1, 1;
        });
      } catch (cacheflight::cancelled_error const&) {
      }
    });
    begun.wait();
    require(!open.drain(1ms));
    may_answer.count_down();
    require(open.drain(1h));
    require(here == 1);
    answers.join();
    flights.reset();
    require(drained == 0);
  });
  EXPECT_EQ(one.wait(), 0);
  EXPECT_EQ(drained, 0);
  may_end.count_down();
  EXPECT_TRUE(flights->drain());
  EXPECT_TRUE(open.drain());
  threads.threads.clear();
  EXPECT_EQ(drained, 1);
}

TEST(R38, a_task_that_forks_ends_in_both) {
  cacheflight::group flights;
  std::optional<child> one;
  pid_t const parent = getpid();
  auto const value = flights.run("k", [&] {
    one.emplace([](auto) {});
    return 7;
  });
  EXPECT_EQ(*value, 7);
  EXPECT_EQ(one->wait(), 0);
  // And the child goes on from where it was: its flight has gone.
  pid_t process = -1;
  int outcome = 0;
  try {
    (void)flights.run("k", [&] { return process = fork(), 1; });
  } catch (cacheflight::cancelled_error const&) {
    outcome = 3;
  }
  if (getpid() != parent) {
    if (outcome == 3 && *flights.run("k", [] { return 7; }) != 7) outcome = 4;
    if (outcome == 3 && !flights.drain(1h)) outcome = 5;
    _exit(outcome);
  }
  EXPECT_EQ(outcome, 0);
  int status = 0;
  EXPECT_EQ(waitpid(process, &status, 0), process);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 3);
}

/// Ends a child process, when the thread that it is of has ended.
struct at_end_of_thread {
  int code = -1;
  ~at_end_of_thread() {
    if (code >= 0) _exit(code);
  }
};

TEST(R38, a_callback_that_forks_on_a_helper_goes_on_in_both) {
  for (bool const destroys : {false, true}) {
    auto flights = std::make_unique<cacheflight::group>();
    std::atomic<int> status{-1};
    auto const in_child = [&] {
      alarm(60);
      static thread_local at_end_of_thread end;
      end.code = 1;
      bool timed_out = false;
      int const five = *flights->run("x", [] { return 5; });
      try {
        (void)flights->run("y", run_options().timeout(20ms), cacheflight::on(detach, obedient));
      } catch (cacheflight::timeout_error const&) {
        timed_out = true;
      }
      if (destroys) flights.reset();
      if (five == 5 && timed_out) end.code = 0;
    };
    flights->start("k", run_options().timeout(20ms), cacheflight::on(detach, obedient),
                   [&](std::exception_ptr, std::shared_ptr<int const>) {
                     pid_t const process = fork();
                     if (process == 0) return in_child();
                     int ended = 0;
                     waitpid(process, &ended, 0);
                     status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
                     status.notify_all();
                   });
    status.wait(-1);
    EXPECT_EQ(status, 0);
  }
}

TEST(R38, a_fork_while_other_threads_are_in_the_middle_of_calls) {
  cacheflight::group flights;
  std::atomic<bool> stop{false};
  std::vector<std::thread> callers;
  for (int t = 0; t < 3; ++t)
    callers.emplace_back([&, t] {
      for (int i = 0; !stop; ++i) {
        (void)flights.run(std::to_string((i + t) % 5), run_options().timeout(1h), [] { return 1; });
        cacheflight::group own;  // made and destroyed
        (void)own.run("k", [] { return 1; });
      }
    });
  for (int i = 0; i < 20; ++i) {
    child const one([&](auto require) {
      for (int k = 0; k < 5; ++k)
        require(*flights.run(std::to_string(k), run_options().timeout(1h), [] { return 7; }) == 7);
      cacheflight::group own;
      require(*own.run("k", [] { return 7; }) == 7);
      require(flights.size() == 0);
    });
    EXPECT_EQ(one.wait(), 0);
  }
  stop = true;
  for (auto& caller : callers) caller.join();
}

}  // namespace
#endif
