// SPDX-License-Identifier: MIT
// Contexts are destroyed with waiters and tasks inside, while callers on other contexts wait for the same
// flights: those are answered.
#include "support.hpp"

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/co_spawn.hpp>

#include <atomic>
#include <memory>
#include <optional>

namespace {

using namespace stress;

/// On the context that stays. Every call must complete, whatever becomes of the others.
struct answers {
  std::atomic<std::uint64_t> values{0}, abandoned{0}, others{0};
  counter completed;
  auto handler() {
    return [this](std::exception_ptr failure, std::shared_ptr<int const> got) { add(failure, got); };
  }
  void add(std::exception_ptr const& failure, std::shared_ptr<int const> const& got) {
    try {
      if (failure) std::rethrow_exception(failure);
      EXPECT_EQ(*got, 7);
      ++values;
    } catch (cacheflight::abandoned_error const&) {
      ++abandoned;
    } catch (...) {
      ++others;
    }
    completed.add();
  }
};

net::awaitable<int> signalling(counter* invoked) {
  invoked->add();
  co_return co_await never();
}

TEST(context_destruction, ends_the_flights_that_were_led_there_for_everybody) {
  std::uint64_t const rounds = operations(2'000) / 20 + 1;
  server stays(2);
  counter hits;
  cacheflight::group flights(cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type == cacheflight::event_type::hit) hits.add();
  }));
  answers all;
  std::uint64_t calls = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    counter invoked;
    auto goes = std::make_unique<server>(2);
    std::atomic<int> completed_there{0};
    for (int key = 0; key < 2; ++key) {
      net::co_spawn(goes->io, flights.run(key ? "one" : "two", signalling, &invoked),
                    [&](std::exception_ptr, std::shared_ptr<int const> const&) { ++completed_there; });
    }
    invoked.wait_for(2, "leaders");
    std::uint64_t const before = hits.now();
    for (int i = 0; i < 6; ++i, ++calls)  // joiners on the context that stays
      net::co_spawn(net::make_strand(stays.io), flights.run(i % 2 ? "one" : "two", turns, 3U, 7),
                    all.handler());
    for (int i = 0; i < 4; ++i)  // and on the one that goes
      net::co_spawn(net::make_strand(goes->io), flights.run(i % 2 ? "one" : "two", turns, 3U, 7),
                    [&](std::exception_ptr, std::shared_ptr<int const> const&) { ++completed_there; });
    hits.wait_for(before + 10, "joins");
    goes->stop();
    EXPECT_TRUE(flights.has("one"));  // stopped only: nobody is answered yet
    goes.reset();
    EXPECT_FALSE(flights.has("one"));
    all.completed.wait_for(calls, "callers on the other context");
    EXPECT_EQ(completed_there, 0);
  }
  EXPECT_EQ(all.abandoned, calls);
  EXPECT_EQ(all.others, 0U);
  EXPECT_EQ(flights.stats().rejected, 2 * rounds);
  stays.join();
  expect_balance(flights.stats());
}

TEST(context_destruction, its_callers_leave_and_the_flight_goes_on) {
  std::uint64_t const rounds = operations(2'000) / 20 + 1;
  server stays(2);
  counter hits;
  cacheflight::group flights(cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type == cacheflight::event_type::hit) hits.add();
  }));
  answers all;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    gate held;
    auto goes = std::make_unique<server>(1);
    auto const task = [&held]() -> net::awaitable<int> {
      co_await held.wait();
      co_return 7;
    };
    std::uint64_t const before = hits.now();
    net::co_spawn(stays.io, flights.run("key", task), all.handler());
    while (!flights.has("key")) std::this_thread::yield();
    for (int i = 0; i < 5; ++i)
      net::co_spawn(net::make_strand(goes->io), flights.run("key", task),
                    [](std::exception_ptr, std::shared_ptr<int const> const&) {
                      ADD_FAILURE() << "its context is gone";
                    });
    hits.wait_for(before + 5, "joins");
    goes->stop();
    goes.reset();
    EXPECT_EQ(flights.stats().waiters, 1U);
    held.open();
    all.completed.wait_for(round + 1, "the caller that stays");
  }
  EXPECT_EQ(all.values, rounds);
  stays.join();
  expect_balance(flights.stats());
}

TEST(context_destruction, races_with_calls_from_other_contexts) {
  std::uint64_t const chosen = seed(), rounds = operations(4'000) / 20 + 1;
  std::mt19937_64 random(chosen);
  server stays(2);
  cacheflight::group flights;
  answers all;
  counter inside;
  std::uint64_t calls = 0;
  for (std::uint64_t round = 0; round < rounds; ++round) {
    auto goes = std::make_unique<server>(2);
    auto const nobody = [](std::exception_ptr, std::shared_ptr<int const> const&) {};
    for (int i = 0; i < 12; ++i) {
      std::string const key = "key " + std::to_string(random() % 2);
      auto const n = static_cast<unsigned>(random() % 20);
      switch (random() % 4) {
        case 0: net::co_spawn(net::make_strand(goes->io), flights.run(key, never), nobody); break;
        case 1: net::co_spawn(net::make_strand(goes->io), flights.run(key, turns, n, 7), nobody); break;
        case 2:  // led here, run there: ends with the other context
          net::co_spawn(
              net::make_strand(stays.io),
              entered(flights.run(key, cacheflight::on(goes->io.get_executor(), turns), n, 7), &inside),
              all.handler());
          ++calls;
          break;
        default:
          net::co_spawn(net::make_strand(stays.io), entered(flights.run(key, turns, n, 7), &inside),
                        all.handler());
          ++calls;
      }
      if (random() % 4 == 0) std::this_thread::yield();
    }
    goes->stop();
    if (random() % 2 == 0) (void)flights.cancel("key 0");
    inside.wait_for(calls, "callers");  // nobody may start a task on a context that is gone
    goes.reset();
  }
  all.completed.wait_for(calls, "callers on the context that stays");
  stays.join();
  expect_balance(flights.stats());
  std::printf("%llu values, %llu abandoned, %llu others\n", static_cast<unsigned long long>(all.values),
              static_cast<unsigned long long>(all.abandoned), static_cast<unsigned long long>(all.others));
  EXPECT_GT(all.values, 0U);
  EXPECT_GT(all.abandoned, 0U);
}

TEST(context_destruction, of_the_operations_or_of_the_handlers_executor) {
  std::uint64_t const chosen = seed(), rounds = operations(4'000) / 20 + 1;
  std::mt19937_64 random(chosen);
  server stays(2);
  cacheflight::group flights;
  answers all;
  std::uint64_t calls = 0;
  auto const lives = std::make_shared<int>();
  for (std::uint64_t round = 0; round < rounds; ++round) {
    auto goes = std::make_unique<server>(1);
    for (int i = 0; i < 12; ++i) {
      std::string const key = "key " + std::to_string(random() % 2);
      auto const task = cacheflight::on(stays.io.get_executor(),
                                        [n = static_cast<unsigned>(random() % 20)]() { return turns(n, 7); });
      bool const strand = random() % 2 == 0;
      auto const executor = [&](server& of) {
        return strand ? net::any_io_executor(net::make_strand(of.io))
                      : net::any_io_executor(of.io.get_executor());
      };
      if (random() % 2 == 0) {
        ++calls;
        cacheflight::async_run(
            flights, executor(*goes), key, task,
            net::bind_executor(executor(stays), [&all, lives](auto const& failure, auto const& got) {
              all.add(failure, got);
            }));
      } else {
        cacheflight::async_run(flights, executor(stays), key, task,
                               net::bind_executor(executor(*goes), [lives](auto const&, auto const&) {}));
      }
      if (random() % 4 == 0) std::this_thread::yield();
    }
    goes->stop();
    if (random() % 2 == 0) (void)flights.cancel("key 0");
    goes.reset();
  }
  all.completed.wait_for(calls, "callers with a handler on the context that stays");
  stays.join();
  EXPECT_EQ(all.abandoned, 0U);
  EXPECT_EQ(lives.use_count(), 1);
  expect_balance(flights.stats());
}

}  // namespace
