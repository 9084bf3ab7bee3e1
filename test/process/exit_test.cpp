// SPDX-License-Identifier: MIT

// The library at the ends of threads and of the program.

namespace {
/// Was there before all that the headers declare, and is destroyed after it.
struct last_static {
  bool asked = false;
  ~last_static();
} the_last;
}  // namespace

#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/detail/process.hpp>
#include <cacheflight/future.hpp>
#include <cacheflight/sender.hpp>

#include <gtest/gtest.h>

#include <support/coroutines.hpp>
#include <support/senders.hpp>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace {

using cacheflight::caller_stopped_error;
using cacheflight::completion;
using cacheflight::run_options;

struct stopped_receiver {
  using receiver_concept = cacheflight::execution::receiver_t;
  int* stops;
  std::stop_token token;
  [[nodiscard]] cacheflight_test::stop_environment get_env() const noexcept { return {token}; }
  void set_value(std::shared_ptr<int const>) noexcept {}
  void set_error(std::exception_ptr) noexcept {}
  void set_stopped() noexcept { ++*stops; }
};

struct answer_sender {
  using sender_concept = cacheflight::execution::sender_t;
  using completion_signatures =
      cacheflight::execution::completion_signatures<cacheflight::execution::set_value_t(int)>;
  template <class Receiver>
  struct operation {
    using operation_state_concept = cacheflight::execution::operation_state_t;
    Receiver receiver;
    void start() & noexcept { std::move(receiver).set_value(3); }
  };
  template <class Receiver>
  operation<Receiver> connect(Receiver receiver) && {
    return {std::move(receiver)};
  }
};

cacheflight_test::lazy<int> answer_lazily() { co_return 3; }

cacheflight_test::eager await_stopped(cacheflight::group& flights, run_options opts, int& stops) {
  try {
    (void)co_await flights.run("up", std::move(opts), answer_lazily);
  } catch (caller_stopped_error const& e) {
    stops += std::string_view(e.what()).empty() ? 0 : 1;
  }
}

/// Leads, joins, waits, leaves and is stopped, in every front of the standard library's. False: something
/// went wrong.
bool use_every_front() {
  bool right = true;
  int stops = 0, answers = 0;
  cacheflight::group flights{cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type != cacheflight::event_type::task_rejected && e.error) right = false;
    if (e.metadata.has_value()) right = false;
  })};
  if (*flights.run("other", [] { return 1; }) != 1) return false;
  if (*cacheflight::run_future(flights, "other", [] { return 2; }).get() != 2) return false;

  std::optional<completion<int>> up;
  auto const task = cacheflight::answering<int>([&up](completion<int> done) { up.emplace(std::move(done)); });
  auto const count = [&](std::exception_ptr error, std::shared_ptr<int const> value) {
    if (value) answers += *value;
    try {
      if (error) std::rethrow_exception(error);
    } catch (caller_stopped_error const&) {
      ++stops;
    } catch (...) {
      right = false;
    }
  };
  flights.start("up", task, count);

  std::stop_source stop;
  stop.request_stop();
  auto const stopped = [&] { return run_options().stop_token(stop.get_token()); };
  try {
    (void)flights.run("up", stopped(), [] { return 2; });
    right = false;
  } catch (caller_stopped_error const& e) {
    stops += std::string_view(e.what()).empty() ? 0 : 1;
  }
  flights.start("up", stopped(), task, count);
  await_stopped(flights, stopped(), stops);
  {
    auto operation =
        flights.run("up", [] { return answer_sender(); }).connect(stopped_receiver{&stops, stop.get_token()});
    operation.start();
  }

  std::thread sleeper([&] {
    if (*flights.run("up", [] { return 2; }) != 5) right = false;
  });
  while (flights.stats().waiters < 2) std::this_thread::yield();
  up->set_value(5);
  sleeper.join();
  return right && stops == 4 && answers == 5;
}

void report(char const* who) { std::fprintf(stderr, "%s: %s\n", who, use_every_front() ? "right" : "WRONG"); }

last_static::~last_static() {
  if (asked) report("the last static");
}

/// A service whose threads call until its destructor stops them.
struct service {
  cacheflight::group flights;
  std::optional<completion<int>> up;
  int stops = 0;
  std::jthread worker;

  service() {
    flights.start("config",
                  cacheflight::answering<int>([this](completion<int> done) { up.emplace(std::move(done)); }),
                  [](std::exception_ptr, std::shared_ptr<int const>) {});
    worker = std::jthread([this](std::stop_token stop) {
      try {
        (void)flights.run("config", run_options().stop_token(stop), [] { return 1; });
      } catch (caller_stopped_error const& e) {
        stops += std::string_view(e.what()).empty() ? 0 : 1;
      }
    });
    while (flights.stats().waiters < 2) std::this_thread::yield();
  }
  ~service() {
    worker.request_stop();
    worker.join();
    std::fprintf(stderr, "a service: %s\n", stops == 1 ? "right" : "WRONG");
  }
};

/// Programs that end are run anew, not forked from this one.
void run_anew() { testing::GTEST_FLAG(death_test_style) = "threadsafe"; }

TEST(R38, a_static_that_outlives_everything_of_ours_can_call) {
  run_anew();
  EXPECT_EXIT(
      {
        the_last.asked = true;
        (void)use_every_front();
        std::exit(0);
      },
      testing::ExitedWithCode(0), "^the last static: right\n$");
}

TEST(R38, the_first_use_of_all_can_be_that_of_a_static_that_goes) {
  run_anew();
  EXPECT_EXIT(
      {
        the_last.asked = true;
        std::exit(0);
      },
      testing::ExitedWithCode(0), "^the last static: right\n$");
}

TEST(R38, a_global_service_stops_its_threads_at_exit) {
  run_anew();
  EXPECT_EXIT(
      {
        static service global;
        (void)global;
        std::exit(0);
      },
      testing::ExitedWithCode(0), "^a service: right\n$");
}

/// Makes calls when its thread's thread-locals are destroyed.
struct last_of_thread {
  bool* right = nullptr;
  ~last_of_thread() {
    if (right) *right = use_every_front();
  }
};

TEST(R38, thread_locals_that_outlive_ours_can_call) {
  for (bool const used : {true, false}) {
    bool right = false, before = false;
    std::thread([&] {
      static thread_local last_of_thread local;
      local.right = &right;  // it is there first, and goes last
      if (used) before = use_every_front();
    }).join();
    EXPECT_TRUE(right);
    EXPECT_EQ(before, used);
  }
}

TEST(R38, an_error_made_in_advance_is_made_once_and_stays) {
  std::error_code const code = std::make_error_code(std::errc::operation_canceled);
  struct counted {
    counted() { ++made(); }
    static int& made() {
      static int count = 0;
      return count;
    }
  };
  counted const* const one = &cacheflight::detail::ready_made<counted>();
  EXPECT_EQ(&cacheflight::detail::ready_made<counted>(), one);
  EXPECT_EQ(counted::made(), 1);
  EXPECT_EQ(cacheflight::detail::ready_made<caller_stopped_error>().code(), code);
}

/// Asks for itself while it is being made: what a new-handler does that makes a call.
struct asks_again {
  static inline int depth = 0;
  static inline asks_again const* inner = nullptr;
  asks_again() {
    if (depth++ == 0) inner = &cacheflight::detail::ready_made<asks_again>();
  }
};

TEST(R41_made_in_advance, an_error_is_made_in_advance_under_no_lock) {
  asks_again const* const outer = &cacheflight::detail::ready_made<asks_again>();
  EXPECT_EQ(outer, asks_again::inner);
}

}  // namespace
