// SPDX-License-Identifier: MIT
// The group is destroyed while callers on several contexts wait: all of them are answered, and tasks that run
// on touch nothing that is gone (rule 30).
#include "support.hpp"

#include <boost/asio/co_spawn.hpp>

#include <atomic>
#include <memory>

namespace {

using namespace stress;

struct answers {
  std::atomic<std::uint64_t> values{0}, cancelled{0}, others{0};
  counter completed;
  auto handler() {
    return [this](std::exception_ptr failure, std::shared_ptr<int const> got) { add(failure, got); };
  }
  void add(std::exception_ptr const& failure, std::shared_ptr<int const> const&) {
    try {
      if (failure) std::rethrow_exception(failure);
      ++values;
    } catch (cacheflight::cancelled_error const&) {
      ++cancelled;
    } catch (...) {
      ++others;
    }
    completed.add();
  }
};

net::awaitable<int> deaf(gate* held, std::atomic<int>* unwound) {
  co_await held->wait();
  ++*unwound;
  co_return 1;  // nobody wants it any more
}

net::awaitable<int> obedient(std::atomic<int>* unwound) {
  try {
    co_return co_await never();
  } catch (...) {
    ++*unwound;
    throw;
  }
}

TEST(group_destruction, answers_everybody_on_every_context) {
  std::uint64_t const rounds = operations(4'000) / 40 + 1;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    gate held;
    std::atomic<int> deaf_tasks{0}, obedient_tasks{0}, ended{0}, hits{0};
    counter inside;
    answers all;
    server first(2), second(2);
    net::thread_pool pool(2);
    cacheflight::options opts;
    opts.on_event([&](cacheflight::event const& e) {
      if (e.type == cacheflight::event_type::task_cancelled) ++ended;
      if (e.type == cacheflight::event_type::hit) ++hits;
    });
    if (round % 2) opts.default_timeout(1h);  // with the deadline thread, and without
    auto flights = std::make_unique<cacheflight::group>(std::move(opts));
    constexpr int callers = 24;
    for (int i = 0; i < callers; ++i) {
      net::any_io_executor const where = i % 3 == 0   ? net::any_io_executor(net::make_strand(first.io))
                                         : i % 3 == 1 ? net::any_io_executor(net::make_strand(second.io))
                                                      : net::any_io_executor(net::make_strand(pool));
      if (i % 4 < 2)
        net::co_spawn(where, entered(flights->run("deaf", deaf, &held, &deaf_tasks), &inside), all.handler());
      else
        net::co_spawn(where, entered(flights->run("obedient", obedient, &obedient_tasks), &inside),
                      all.handler());
    }
    inside.wait_for(callers, "callers");
    EXPECT_EQ(hits, callers - 2);
    flights.reset();
    EXPECT_EQ(ended, 2);
    all.completed.wait_for(callers, "callers of a group that is gone");
    EXPECT_EQ(all.cancelled, static_cast<std::uint64_t>(callers));
    EXPECT_EQ(deaf_tasks, 0);
    held.open();
    first.join();
    second.join();
    pool.join();
    EXPECT_EQ(deaf_tasks, 1);
    EXPECT_EQ(obedient_tasks, 1);
  }
}

TEST(group_destruction, races_with_the_ends_of_its_flights) {
  std::uint64_t const chosen = seed(), rounds = operations(4'000) / 20 + 1;
  std::mt19937_64 random(chosen);
  server threads(3);
  answers all;
  counter inside;
  std::uint64_t calls = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    cacheflight::options opts;
    if (round % 3 == 0) opts.default_timeout(std::chrono::microseconds(50 + random() % 200));
    cacheflight::group flights(std::move(opts));
    for (int i = 0; i < 12; ++i, ++calls) {
      auto const n = static_cast<unsigned>(random() % 40);
      std::string const key = "key " + std::to_string(random() % 3);
      net::co_spawn(net::make_strand(threads.io), entered(flights.run(key, turns, n, 7), &inside),
                    all.handler());
    }
    inside.wait_for(calls, "callers");  // none may be entering
  }
  all.completed.wait_for(calls, "callers of groups that are gone");
  threads.join();
  std::printf("%llu values, %llu cancelled, %llu others\n", static_cast<unsigned long long>(all.values),
              static_cast<unsigned long long>(all.cancelled), static_cast<unsigned long long>(all.others));
  EXPECT_GT(all.values, 0U);
  EXPECT_GT(all.cancelled, 0U);
}

TEST(group_destruction, from_an_event_callback_on_a_helper_thread) {
  for (int round = 0; round < 50; ++round) {
    server threads(2);
    answers all;
    counter inside, destroyed;
    std::unique_ptr<cacheflight::group> flights;
    std::atomic<bool> ready{false};
    flights = std::make_unique<cacheflight::group>(
        cacheflight::options().on_event([&](cacheflight::event const& e) {
          if (e.type != cacheflight::event_type::task_timed_out) return;
          // A flight that times out while its `miss` is delivered has its last event there, on its caller's
          // thread.
          if (!threads.io.get_executor().running_in_this_thread()) ready.wait(false);
          flights.reset();
          destroyed.add();
        }));
    auto const call = [&](char const* key, cacheflight::run_options with) {
      net::co_spawn(net::make_strand(threads.io), entered(flights->run(key, std::move(with), never), &inside),
                    all.handler());
    };
    for (int i = 0; i < 4; ++i) call("key", {});
    inside.wait_for(4, "callers");
    call("brief", cacheflight::run_options().timeout(1ms));
    inside.wait_for(5, "callers, with the one that times out,");
    ready = true;
    ready.notify_all();
    destroyed.wait_for(1, "the callback");
    all.completed.wait_for(5, "callers of the group that is gone");
    threads.join();
    EXPECT_EQ(all.cancelled, 4U);
    EXPECT_EQ(all.others, 1U);
  }
}

}  // namespace
