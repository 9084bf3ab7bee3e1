// SPDX-License-Identifier: MIT
#pragma once

// Everything at once: clients on strands of a multi-threaded context call, leave, cancel, clear and time out
// on few keys, with tasks that complete inline, after some turns, on another pool, that ignore being asked to
// stop, or do nothing else. In mixed chaos tasks throw as well, and threads call the same keys of the same
// group through the other fronts: blocking, with callbacks, and in coroutines of their own.

#include "../support/coroutines.hpp"
#include "support.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <map>
#include <stop_token>
#include <tuple>
#include <unordered_map>

namespace stress {

/// Checks what the event callback is told: per flight `miss`, `task_started`, then one end, all hits before
/// it (rule 22).
class event_checker {
 public:
  void operator()(cacheflight::event const& e) {
    using enum cacheflight::event_type;
    counts_[static_cast<std::size_t>(e.type)].fetch_add(1, std::memory_order_relaxed);
    if (e.key.size() != 5) complain("the key is damaged", e);
    if ((e.error != nullptr) != (e.type == task_rejected))
      complain("an error where there is none, or none", e);
    if (e.flight_id == 0) {
      if (e.type != miss && e.type != max_keys_rejected) complain("no flight", e);
      return;
    }
    part& p = parts_[e.flight_id % parts_.size()];
    std::scoped_lock const lock(p.mutex);
    flight& f = p.flights[e.flight_id];
    if (f.key.empty()) f.key = e.key;
    if (f.key != e.key) complain("two keys", e);
    if (f.ended) complain("after the flight's end", e);
    switch (e.type) {
      case hit:
        if (e.waiters == 0) complain("a hit without a waiter", e);
        break;
      case miss:
        if (std::exchange(f.missed, true)) complain("twice", e);
        break;
      case task_started:
        if (!f.missed || std::exchange(f.started, true)) complain("not after a miss, or twice", e);
        break;
      case task_resolved:
      case task_rejected:
      case task_timed_out:
      case task_cancelled:
        if (!f.started) complain("a flight ends that has not started", e);
        f.ended = true;
        break;
      case max_keys_rejected:
      case closed_rejected: complain("of a flight", e); break;
    }
  }

  [[nodiscard]] std::uint64_t count(cacheflight::event_type type) const {
    return counts_[static_cast<std::size_t>(type)];
  }

  void expect_all_ended() {
    for (part& p : parts_)
      for (auto const& [id, f] : p.flights) EXPECT_TRUE(f.missed && f.started && f.ended) << "flight " << id;
  }

 private:
  struct flight {
    std::string key;
    bool missed = false, started = false, ended = false;
  };
  struct part {
    std::mutex mutex;
    std::unordered_map<std::uint64_t, flight> flights;
  };
  static void complain(char const* what, cacheflight::event const& e) {
    ADD_FAILURE() << to_string(e.type) << ": " << what << " (flight " << e.flight_id << ')';
  }

  std::array<std::atomic<std::uint64_t>, 9> counts_{};
  std::array<part, 16> parts_;
};

/// A task's result: when it was invoked and when it returned, on a clock that ticks at each of these.
struct answer {
  std::size_t key;
  std::uint64_t from, to;
};

struct task_failure {};
struct callback_failure {};

enum class callers { asio, mixed };

class chaos {
 public:
  chaos(std::uint64_t seed, std::uint64_t operations, callers who)
      : seed_(seed),
        each_(operations / (clients + (who == callers::mixed ? threads : 0)) + 1),
        mixed_(who == callers::mixed),
        flights_(cacheflight::options().max_keys(keys - 1).on_event(
            [this](cacheflight::event const& e) { on_event(e); })) {}

  void run() {
    {
      server main(3);
      pool_ = std::make_unique<net::thread_pool>(2);
      for (std::size_t i = 0; i < clients; ++i)
        net::co_spawn(net::make_strand(main.io), client(i), [this](std::exception_ptr failure) {
          if (failure) ADD_FAILURE() << "a client died";
          ended_.add();
        });
      {
        std::vector<std::jthread> others;
        for (std::size_t i = 0; mixed_ && i < threads; ++i)
          others.emplace_back([this, i] { client_thread(i); });
      }
      ended_.wait_for(clients, "clients");
      main.join();  // with detached tasks
      pool_->join();
    }
    check();
    pool_.reset();
  }

 private:
  static constexpr std::size_t clients = 16, threads = 4, keys = 4;
  static constexpr std::size_t superseded = keys - 1;  // whose flights may overlap

  enum class outcome {
    value,
    task_failed,
    timed_out,
    wait_timed_out,
    cancelled,
    left,
    never_entered,
    at_capacity,
    mismatch,
    abandoned,
    unknown
  };
  static constexpr std::size_t outcomes = 11;

  // ---- tasks

  net::awaitable<answer> work(std::size_t key, unsigned turns, bool throws) {
    std::uint64_t const from = ++now_;
    co_await take_turns(turns);
    if (throws) throw task_failure();
    co_return answer{key, from, ++now_};
  }
  net::awaitable<answer> stubborn(std::size_t key, unsigned turns) {
    std::uint64_t const from = ++now_;
    co_await net::this_coro::reset_cancellation_state(net::disable_cancellation());
    co_await take_turns(turns);
    co_return answer{key, from, ++now_};
  }
  net::awaitable<answer> watching(std::stop_token stop, std::size_t key, unsigned turns) {
    std::uint64_t const from = ++now_;
    co_await net::this_coro::reset_cancellation_state(net::disable_cancellation());
    for (; turns > 0 && !stop.stop_requested(); --turns) co_await take_turns(1);
    co_return answer{key, from, ++now_};
  }
  net::awaitable<answer> until_stopped(std::size_t key) {
    co_await never();
    co_return answer{key, 0, 0};
  }
  net::awaitable<int> other_type(unsigned turns) {
    co_await take_turns(turns);
    co_return 1;
  }

  answer plain_work(std::stop_token const& stop, std::size_t key, unsigned turns, bool throws) {
    std::uint64_t const from = ++now_;
    for (; turns > 0 && !stop.stop_requested(); --turns) std::this_thread::yield();
    if (throws) throw task_failure();
    return answer{key, from, ++now_};
  }

  struct next_turn {
    net::thread_pool& pool;
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> waiting) { net::post(pool, waiting); }
    void await_resume() noexcept {}
  };
  cacheflight_test::lazy<answer> lazy_work(std::size_t key, unsigned turns, bool throws) {
    std::uint64_t const from = ++now_;
    for (; turns > 0; --turns) co_await next_turn{*pool_};
    if (throws) throw task_failure();
    co_return answer{key, from, ++now_};
  }

  /// Answers `turns` later, or forgets to.
  struct answer_later {
    chaos* self;
    std::size_t key;
    std::uint64_t from;
    unsigned turns;
    bool throws, forgets;
    cacheflight::completion<answer> done;

    void operator()() {
      if (turns > 0) {
        --turns;
        auto& pool = *self->pool_;
        return net::post(pool, std::move(*this));
      }
      if (throws) done.set_exception(std::make_exception_ptr(task_failure()));
      else if (!forgets) done.set_value(answer{key, from, ++self->now_});
    }
  };

  // ---- clients

  using random = std::mt19937_64;
  static bool chance(random& r, unsigned percent) { return r() % 100 < percent; }

  struct one_call {
    std::string key;
    std::size_t number;
    cacheflight::run_options options;
    one_call() noexcept {}
  };

  /// `call(task, arguments...)` with a random task.
  template <class Call>
  auto with_task(random& r, one_call& c, Call call) {
    auto const turns = static_cast<unsigned>(5 + r() % 60);
    bool const throws = mixed_ && chance(r, 15);
    auto const elsewhere = pool_->get_executor();
    std::size_t const key = c.number;
    switch (r() % 16) {
      case 0: return call(&chaos::work, this, key, 0U, throws);
      case 1:
      case 2: return call(&chaos::stubborn, this, key, turns);
      case 3:
      case 4: return call([this, key, turns](std::stop_token stop) { return watching(stop, key, turns); });
      case 5:
      case 6:
      case 7:
        return call(
            cacheflight::on(elsewhere, [this, key, turns, throws] { return work(key, turns, throws); }));
      case 8:
        c.options.timeout(std::chrono::microseconds(100 + r() % 2'000));
        if (chance(r, 50))
          return call(cacheflight::on(elsewhere, [this, key] { return until_stopped(key); }));
        return call(&chaos::until_stopped, this, key);
      default: return call(&chaos::work, this, key, turns, throws);
    }
  }

  using result = std::shared_ptr<answer const>;

  net::awaitable<result> coroutine_call(random& r, one_call& c) {
    return with_task(r, c, [&](auto&& task, auto&&... arguments) {
      return flights_.run(c.key, c.options, std::forward<decltype(task)>(task),
                          std::forward<decltype(arguments)>(arguments)...);
    });
  }

  template <class Token>
  auto handler_call(random& r, one_call& c, net::any_io_executor const& executor, Token token) {
    return with_task(r, c, [&](auto&& task, auto&&... arguments) {
      if constexpr (sizeof...(arguments) == 0)
        return cacheflight::async_run(flights_, executor, c.key, c.options,
                                      std::forward<decltype(task)>(task), token);
      else
        return cacheflight::async_run(flights_, executor, c.key, c.options,
                                      std::bind_front(std::forward<decltype(task)>(task),
                                                      std::forward<decltype(arguments)>(arguments)...),
                                      token);
    });
  }

  /// Emits on the client's strand, some turns later.
  static void leave_later(net::any_io_executor const& strand,
                          std::shared_ptr<net::cancellation_signal> signal, unsigned turns) {
    net::post(strand, [=] {
      if (turns > 0) return leave_later(strand, signal, turns - 1);
      signal->emit(net::cancellation_type::terminal);
    });
  }

  net::awaitable<void> client(std::size_t number) {
    random r(seed_ + number);
    net::any_io_executor const strand = co_await net::this_coro::executor;
    std::array<std::uint64_t, keys> last{};
    for (std::uint64_t i = 0; i < each_; ++i) {
      one_call c;
      c.number = static_cast<std::size_t>(r() % 8 ? r() % 2 : r() % keys);
      c.key = "key-" + std::to_string(c.number);
      auto const what = static_cast<unsigned>(r() % 1000);
      if (what < 10) (void)flights_.cancel(c.key);
      if (what == 10) flights_.clear();
      if (chance(r, 4)) c.options.timeout(std::chrono::microseconds(50 + r() % 1'000));
      if (chance(r, 4)) c.options.wait_timeout(std::chrono::microseconds(50 + r() % 1'000));
      std::uint64_t const asked = c.number == superseded ? ask_for_newer(r, c.key, c.options) : 0;
      if (chance(r, 5)) c.options.metadata(std::string("longer than what fits into an any"));
      calls_.fetch_add(1);

      if (chance(r, 2)) {
        outcome how = outcome::value;
        try {
          co_await flights_.run(c.key, c.options, &chaos::other_type, this, 20U);
        } catch (...) {
          how = classify(std::current_exception());
        }
        note(how);
        continue;
      }

      std::exception_ptr failure;
      result got;
      auto const signal = std::make_shared<net::cancellation_signal>();
      bool const leaves = chance(r, 15);
      auto const turns = static_cast<unsigned>(r() % 30);
      switch (r() % 4) {
        case 0:  // a coroutine
          try {
            got = co_await coroutine_call(r, c);
          } catch (...) {
            failure = std::current_exception();
          }
          break;
        case 1: {  // a coroutine of its own, which may be cancelled
          if (leaves) leave_later(strand, signal, turns);
          auto operation = coroutine_call(r, c);
          std::tuple<std::exception_ptr, result> both = co_await net::co_spawn(
              strand, std::move(operation),
              net::bind_cancellation_slot(signal->slot(), net::as_tuple(net::use_awaitable)));
          failure = std::get<0>(both);
          got = std::get<1>(both);
          break;
        }
        case 2: {  // an operation, which may be cancelled
          if (leaves) leave_later(strand, signal, turns);
          auto operation = handler_call(
              r, c, strand, net::bind_cancellation_slot(signal->slot(), net::as_tuple(net::use_awaitable)));
          std::tuple<std::exception_ptr, result> both = co_await std::move(operation);
          failure = std::get<0>(both);
          got = std::get<1>(both);
          break;
        }
        default:  // a callback, on another strand; the client goes on without it
          if (leaves) leave_later(strand, signal, turns);
          handler_call(r, c, strand,
                       net::bind_executor(
                           strand, net::bind_cancellation_slot(signal->slot(), callback{this, signal})));
          if (chance(r, 50)) co_await take_turns(10);
          continue;
      }
      arrived(c.number, failure, got);
      // Rule 2: whoever holds an outcome and calls again gets a newer flight.
      if (c.number != superseded && got && got->from <= std::exchange(last[c.number], got->from))
        ADD_FAILURE() << "an outcome that was settled before the call";
      if (got && got->from <= asked) ADD_FAILURE() << "an outcome of a task that had begun before the call";
    }
  }

  /// Calls through the fronts that need no Asio.
  void client_thread(std::size_t number) {
    random r(seed_ + clients + number);
    counter& answered = answered_[number];
    std::uint64_t started = 0;
    std::array<std::uint64_t, keys> last{};
    for (std::uint64_t i = 0; i < each_; ++i) {
      std::size_t const key = static_cast<std::size_t>(r() % 8 ? r() % 2 : r() % keys);
      std::string const name = "key-" + std::to_string(key);
      cacheflight::run_options options;
      if (r() % 100 == 0) (void)flights_.cancel(name);
      std::uint64_t const asked = key == superseded ? ask_for_newer(r, name, options) : 0;
      if (chance(r, 4)) options.timeout(std::chrono::microseconds(50 + r() % 1'000));
      if (chance(r, 4)) options.wait_timeout(std::chrono::microseconds(50 + r() % 1'000));
      std::stop_source leave;
      if (chance(r, 15)) {
        options.stop_token(leave.get_token());
        stop_later(leave, static_cast<unsigned>(r() % 30));
      }
      auto const turns = static_cast<unsigned>(r() % 60);
      bool const throws = chance(r, 15);
      calls_.fetch_add(1);
      switch (r() % 4) {
        case 0:
        case 1: {
          result const got = blocking_call(name, key, std::move(options), turns, throws, chance(r, 50));
          if (key != superseded && got && got->from <= std::exchange(last[key], got->from))
            ADD_FAILURE() << "an outcome that was settled before the call";
          if (got && got->from <= asked)
            ADD_FAILURE() << "an outcome of a task that had begun before the call";
          continue;
        }
        case 2: {
          bool const forgets = chance(r, 10);
          auto const task = [this, key, turns, throws, forgets](cacheflight::completion<answer> done) {
            answer_later{this, key, ++now_, turns, throws, forgets, std::move(done)}();
          };
          flights_.start(name, std::move(options), cacheflight::answering<answer>(task),
                         [this, key, &answered](std::exception_ptr failure, result got) {
                           arrived(got ? key : keys, failure, got);
                           answered.add();
                         });
          break;
        }
        default: coroutine_caller(name, key, std::move(options), turns, throws, &answered);
      }
      if (++started > 4) answered.wait_for(started - 4, "answers to a thread");
    }
    answered.wait_for(started, "answers to a thread");
  }

  result blocking_call(std::string const& name, std::size_t key, cacheflight::run_options options,
                       unsigned turns, bool throws, bool elsewhere) {
    auto const task = [this, key, turns, throws](std::stop_token const& stop) {
      return plain_work(stop, key, turns, throws);
    };
    result got;
    std::exception_ptr failure;
    try {
      if (elsewhere) {
        auto const submit = [this](cacheflight::work work) { net::post(*pool_, std::move(work)); };
        got = flights_.run(name, std::move(options), cacheflight::on(submit, task));
      } else {
        got = flights_.run(name, std::move(options), task);
      }
    } catch (...) {
      failure = std::current_exception();
    }
    arrived(key, failure, got);
    return got;
  }

  cacheflight_test::eager coroutine_caller(std::string name, std::size_t key,
                                           cacheflight::run_options options, unsigned turns, bool throws,
                                           counter* answered) {
    result got;
    std::exception_ptr failure;
    try {
      auto operation = flights_.run(name, std::move(options), &chaos::lazy_work, this, key, turns, throws);
      got = co_await std::move(operation);
    } catch (...) {
      failure = std::current_exception();
    }
    arrived(key, failure, got);
    answered->add();
  }

  /// Rules 49 and 50: what the call gets began later than what this returns.
  std::uint64_t ask_for_newer(random& r, std::string const& name, cacheflight::run_options& options) {
    std::uint64_t const asked = ++now_;
    switch (r() % 3) {
      case 0: (void)flights_.supersede(name); return asked;
      case 1: options.not_before(std::chrono::steady_clock::now()); return asked;
      default: return 0;
    }
  }

  void stop_later(std::stop_source leave, unsigned turns) {
    net::post(*pool_, [this, leave, turns]() mutable {
      if (turns > 0) return stop_later(std::move(leave), turns - 1);
      leave.request_stop();
    });
  }

  struct callback {
    chaos* self;
    std::shared_ptr<net::cancellation_signal> signal;
    void operator()(std::exception_ptr failure, result got) {
      self->arrived(got ? got->key : keys, failure, got);
    }
  };

  void arrived(std::size_t key, std::exception_ptr const& failure, result const& got) {
    if ((failure == nullptr) != (got != nullptr)) ADD_FAILURE() << "both a value and an error, or neither";
    note(failure ? classify(failure) : outcome::value);
    if (!got) return;
    if (got->key != key) ADD_FAILURE() << "the value of another key";
    std::scoped_lock const lock(values_mutex_);
    values_[got->key][got->from] = got->to;
  }

  static outcome classify(std::exception_ptr const& failure) {
    try {
      std::rethrow_exception(failure);
    } catch (task_failure const&) {
      return outcome::task_failed;
    } catch (cacheflight::timeout_error const& e) {
      return e.scope() == cacheflight::timeout_scope::flight ? outcome::timed_out : outcome::wait_timed_out;
    } catch (cacheflight::cancelled_error const&) {
      return outcome::cancelled;
    } catch (cacheflight::max_keys_error const&) {
      return outcome::at_capacity;
    } catch (cacheflight::type_mismatch_error const&) {
      return outcome::mismatch;
    } catch (cacheflight::abandoned_error const&) {
      return outcome::abandoned;
    } catch (cacheflight::caller_cancelled_error const&) {
      return outcome::left;
    } catch (cacheflight::caller_stopped_error const&) {
      return outcome::left;
    } catch (boost::system::system_error const& e) {
      // A coroutine that was cancelled before its first step: Asio's own word.
      if (e.code() == net::error::operation_aborted) return outcome::never_entered;
      ADD_FAILURE() << e.what();
    } catch (std::exception const& e) {
      ADD_FAILURE() << e.what();
    }
    return outcome::unknown;
  }

  void note(outcome how) { outcomes_[static_cast<std::size_t>(how)].fetch_add(1); }
  [[nodiscard]] std::uint64_t count(outcome how) const { return outcomes_[static_cast<std::size_t>(how)]; }

  void on_event(cacheflight::event const& e) {
    checker_(e);
    std::uint64_t const number = events_.fetch_add(1);
    if (number % 64 == 0) (void)flights_.has(e.key);  // callbacks may call the group
    if (number % 128 == 0) (void)flights_.stats();
    if (number % 50 == 0) {
      thrown_.fetch_add(1);
      throw callback_failure();
    }
  }

  void check() {
    auto const books = flights_.stats();
    expect_balance(books);
    expect_joins(books);
    EXPECT_EQ(flights_.size(), 0U);
    std::uint64_t completions = 0;
    for (auto const& o : outcomes_) completions += o;
    EXPECT_EQ(completions, calls_) << "each call completes exactly once";
    EXPECT_EQ(calls_, books.hits + books.misses + books.type_mismatches + count(outcome::never_entered));
    EXPECT_EQ(count(outcome::at_capacity), books.max_keys_rejected);
    EXPECT_EQ(count(outcome::mismatch), books.type_mismatches);
    EXPECT_EQ(count(outcome::unknown), 0U);
    EXPECT_EQ(books.callback_failures, thrown_);
    using enum cacheflight::event_type;
    EXPECT_EQ(checker_.count(hit), books.hits);
    EXPECT_EQ(checker_.count(miss), books.misses);
    EXPECT_EQ(checker_.count(task_started), books.started);
    EXPECT_EQ(checker_.count(task_resolved), books.resolved);
    EXPECT_EQ(checker_.count(task_rejected), books.rejected);
    EXPECT_EQ(checker_.count(task_timed_out), books.timed_out);
    EXPECT_EQ(checker_.count(task_cancelled), books.cancelled);
    EXPECT_EQ(checker_.count(max_keys_rejected), books.max_keys_rejected);
    checker_.expect_all_ended();
    // Rule 1: those flights of a key whose value somebody got were up one after the other.
    for (auto const& of_key : values_) {
      if (&of_key == &values_[superseded]) continue;
      std::uint64_t last = 0;
      for (auto const& [from, to] : of_key) {
        EXPECT_LT(last, from) << "two flights of one key at the same time";
        last = to;
      }
    }
    // A run in which something never happened proves less than it claims.
    char const* const names[outcomes] = {"values",     "failures",  "timeouts",      "wait timeouts",
                                         "cancelled",  "left",      "never entered", "at capacity",
                                         "mismatches", "abandoned", "unknown"};
    for (std::size_t i = 0; i < outcomes; ++i)
      std::printf("%s %llu  ", names[i], static_cast<unsigned long long>(outcomes_[i]));
    std::printf("detached or stopped %llu\n",
                static_cast<unsigned long long>(books.timed_out + books.cancelled));
    for (outcome const how : {outcome::value, outcome::timed_out, outcome::wait_timed_out, outcome::cancelled,
                              outcome::left, outcome::at_capacity, outcome::mismatch})
      EXPECT_GT(count(how), 0U) << names[static_cast<std::size_t>(how)];
    EXPECT_EQ(count(outcome::task_failed) > 0, mixed_);
    EXPECT_EQ(count(outcome::abandoned) > 0, mixed_);
  }

  std::uint64_t const seed_, each_;
  bool const mixed_;
  std::atomic<std::uint64_t> now_{0}, calls_{0}, events_{0}, thrown_{0};
  std::array<std::atomic<std::uint64_t>, outcomes> outcomes_{};
  counter ended_;
  std::array<counter, threads> answered_;
  std::mutex values_mutex_;
  std::array<std::map<std::uint64_t, std::uint64_t>, keys> values_;
  event_checker checker_;
  std::unique_ptr<net::thread_pool> pool_;
  cacheflight::group flights_;
};

}  // namespace stress
