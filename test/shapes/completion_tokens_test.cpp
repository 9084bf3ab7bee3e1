// SPDX-License-Identifier: MIT
// `async_run` with every kind of completion token, and what `run` returns with `co_spawn` and
// `awaitable_operators`.
#include "../support/errors.hpp"
#include "support.hpp"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_allocator.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/multiple_exceptions.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_future.hpp>

#include <functional>
#include <future>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <thread>
#include <tuple>
#include <variant>

namespace {

using namespace shapes;
using cacheflight::async_run;
using cacheflight::group;
using cacheflight::run_options;
using cacheflight_test::is;
using text = std::shared_ptr<std::string const>;

net::awaitable<std::string> load_text() { return load(payload()); }
net::awaitable<std::string> fail() {
  co_await take_turns();
  throw std::out_of_range("no such user");
}
net::awaitable<void> do_nothing() { co_await take_turns(); }

/// Each test with a task that completes at once, and with one that suspends.
struct completion_tokens : testing::TestWithParam<int> {
  completion_tokens() {
    tracked::forget();
    turns = GetParam();
  }
  ~completion_tokens() override {
    EXPECT_EQ(tracked::alive(), 0U);
    EXPECT_EQ(flights.size(), 0U);
    EXPECT_EQ(flights.stats().detached, 0U);
    EXPECT_EQ(flights.stats().waiters, 0U);
  }
  net::any_io_executor executor() { return io.get_executor(); }

  net::io_context io;
  group flights;
};
INSTANTIATE_TEST_SUITE_P(turns, completion_tokens, testing::Values(0, 5));

TEST_P(completion_tokens, callback) {
  int calls = 0;
  bool inside = true;
  for (int i = 0; i < 3; ++i)
    async_run(flights, executor(), "key", load_text, [&](std::exception_ptr failure, text got) {
      EXPECT_FALSE(inside) << "called inside the initiating call";
      EXPECT_FALSE(failure);
      ASSERT_TRUE(got);
      EXPECT_EQ(*got, long_text);
      ++calls;
    });
  inside = false;
  EXPECT_EQ(calls, 0);
  io.run();
  EXPECT_EQ(calls, 3);
}

TEST_P(completion_tokens, callback_of_a_task_that_throws) {
  int calls = 0;
  async_run(flights, executor(), "key", fail, [&](std::exception_ptr failure, text got) {
    ++calls;
    EXPECT_TRUE(is<std::out_of_range>(failure));
    EXPECT_FALSE(got);
  });
  io.run();
  EXPECT_EQ(calls, 1);
}

TEST_P(completion_tokens, contexts_in_place_of_executors) {
  int calls = 0;
  auto const handler = [&](std::exception_ptr failure, text got) { calls += !failure && *got == long_text; };
  net::thread_pool pool(1);
  async_run(flights, io, "pool", cacheflight::on(pool, load_text), handler);
  pool.join();  // before anything else here touches what `load_text` does
  async_run(flights, io, "key", load_text, handler);
  async_run(flights, io, "key", run_options().metadata(payload()), load_text, handler);
  io.run();
  EXPECT_EQ(calls, 3);
}

TEST_P(completion_tokens, arguments_before_the_token) {
  int calls = 0;
  auto const handler = [&](std::exception_ptr failure, text got) { calls += !failure && *got == long_text; };
  async_run(flights, executor(), "key", load, payload(), handler);
  async_run(flights, io, std::string("other"), run_options(), load, payload(), handler);
  async_run(
      flights, io, "move-only", [](std::unique_ptr<tracked> own) { return load(*own); },
      std::make_unique<tracked>(payload()), handler);
  std::future<text> future = async_run(flights, io, "key", load, payload(), net::use_future);
  auto lazy = async_run(flights, io, "lazy", load, payload(), net::deferred);
  std::move(lazy)(handler);
  io.run();
  EXPECT_EQ(*future.get(), long_text);
  EXPECT_EQ(calls, 4);
}

TEST_P(completion_tokens, callback_of_a_void_task) {
  int calls = 0;
  async_run(flights, executor(), "key", do_nothing, [&](std::exception_ptr failure) {
    ++calls;
    EXPECT_FALSE(failure);
  });
  io.run();
  EXPECT_EQ(calls, 1);
}

TEST_P(completion_tokens, move_only_handler) {
  int calls = 0;
  auto handler = [&calls, own = std::make_unique<tracked>(payload())](std::exception_ptr, text got) {
    calls += *got == own->text();
  };
  static_assert(!std::is_copy_constructible_v<decltype(handler)>);
  async_run(flights, executor(), "key", load_text, std::move(handler));
  io.run();
  EXPECT_EQ(calls, 1);
}

TEST_P(completion_tokens, handlers_that_are_never_called_are_destroyed) {
  {
    net::io_context short_lived;
    auto handler = [own = std::make_unique<tracked>(payload())](std::exception_ptr, text) { ADD_FAILURE(); };
    async_run(flights, short_lived.get_executor(), "key", never, std::move(handler));
    for (int i = 0; i < GetParam(); ++i) short_lived.poll_one();
  }
  EXPECT_EQ(tracked::alive(), 0U);
}

TEST_P(completion_tokens, use_future) {
  std::future<text> first = async_run(flights, executor(), "key", load_text, net::use_future);
  std::future<text> second = async_run(flights, executor(), "key", load_text, net::use_future);
  std::future<text> failed = async_run(flights, executor(), "other", fail, net::use_future);
  std::future<void> nothing = async_run(flights, executor(), "void", do_nothing, net::use_future);
  io.run();
  EXPECT_EQ(*first.get(), long_text);
  EXPECT_EQ(*second.get(), long_text);
  EXPECT_THROW(failed.get(), std::out_of_range);
  EXPECT_NO_THROW(nothing.get());
}

net::awaitable<void> await_each_token(group& flights, bool& done) {
  auto const executor = co_await net::this_coro::executor;
  text const awaited = co_await async_run(flights, executor, "key", load_text, net::use_awaitable);
  EXPECT_EQ(*awaited, long_text);
  co_await async_run(flights, executor, "key", do_nothing, net::use_awaitable);

  std::tuple<std::exception_ptr, text> const good =
      co_await async_run(flights, executor, "key", load_text, net::as_tuple(net::use_awaitable));
  EXPECT_FALSE(std::get<0>(good));
  EXPECT_EQ(*std::get<1>(good), long_text);
  std::tuple<std::exception_ptr, text> const bad =
      co_await async_run(flights, executor, "key", fail, net::as_tuple(net::use_awaitable));
  EXPECT_TRUE(is<std::out_of_range>(std::get<0>(bad)));

  auto operation = async_run(flights, executor, "key", load_text, net::deferred);
  EXPECT_EQ(flights.size(), 0U);  // lazy
  text const deferred = co_await std::move(operation)(net::use_awaitable);
  EXPECT_EQ(*deferred, long_text);
  text const in_one_line = co_await async_run(flights, executor, "key", run_options().metadata(payload()),
                                              load_text, net::deferred)(net::use_awaitable);
  EXPECT_EQ(*in_one_line, long_text);

  bool thrown = false;
  try {
    co_await async_run(flights, executor, "key", fail, net::use_awaitable);
  } catch (std::out_of_range const&) {
    thrown = true;
  }
  EXPECT_TRUE(thrown);
  done = true;
}
TEST_P(completion_tokens, use_awaitable_as_tuple_and_deferred) {
  bool done = false;
  net::co_spawn(io, await_each_token(flights, done),
                [](std::exception_ptr failure) { EXPECT_FALSE(failure); });
  io.run();
  EXPECT_TRUE(done);
}

TEST_P(completion_tokens, deferred_started_later_with_a_callback) {
  auto operation = async_run(flights, executor(), std::string("key"), load_text, net::deferred);
  EXPECT_EQ(flights.stats().misses, 0U);
  int calls = 0;
  std::move(operation)([&](std::exception_ptr, text got) { calls += *got == long_text; });
  io.run();
  EXPECT_EQ(calls, 1);
}

TEST_P(completion_tokens, detached) {
  executions = 0;
  async_run(flights, executor(), "key", load_text, net::detached);
  async_run(flights, executor(), "other", fail, net::detached);
  async_run(flights, executor(), "void", do_nothing, net::detached);
  io.run();
  EXPECT_EQ(executions, 3);
  EXPECT_EQ(flights.stats().resolved, 2U);
}

TEST_P(completion_tokens, bind_executor) {
  auto const strand = net::make_strand(io);
  net::thread_pool pool(1);
  std::promise<std::thread::id> on_pool;
  int on_strand = 0;
  async_run(flights, executor(), "key", load_text, net::bind_executor(strand, [&](std::exception_ptr, text) {
              on_strand += strand.running_in_this_thread();
            }));
  async_run(flights, executor(), "key", load_text, net::bind_executor(pool, [&](std::exception_ptr, text) {
              on_pool.set_value(std::this_thread::get_id());
            }));
  io.run();
  pool.join();
  EXPECT_EQ(on_strand, 1);
  EXPECT_NE(on_pool.get_future().get(), std::this_thread::get_id());
}

TEST_P(completion_tokens, without_an_executor_the_handler_runs_on_the_given_one) {
  auto const strand = net::make_strand(io);
  int calls = 0;
  async_run(flights, strand, "key", load_text,
            [&](std::exception_ptr, text) { calls += strand.running_in_this_thread(); });
  io.run();
  EXPECT_EQ(calls, 1);
}

TEST_P(completion_tokens, bind_cancellation_slot_leaves_alone) {
  for (auto const type :
       {net::cancellation_type::terminal, net::cancellation_type::partial, net::cancellation_type::total}) {
    net::cancellation_signal signal;
    int cancelled = 0, answered = 0;
    net::steady_timer gate(io, net::steady_timer::time_point::max());
    auto const wait_for_gate = [&]() -> net::awaitable<std::string> {
      co_await gate.async_wait(net::as_tuple(net::use_awaitable));
      co_return long_text;
    };
    io.restart();
    async_run(flights, executor(), "key", wait_for_gate,  // the leader: its task goes on for the other
              net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr failure, text got) {
                ++cancelled;
                EXPECT_TRUE(is<cacheflight::caller_cancelled_error>(failure));
                EXPECT_FALSE(got);
                try {
                  std::rethrow_exception(failure);
                } catch (boost::system::system_error const& e) {
                  EXPECT_EQ(e.code(), net::error::operation_aborted);
                }
              }));
    async_run(flights, executor(), "key", wait_for_gate, [&](std::exception_ptr failure, text got) {
      EXPECT_FALSE(failure);
      ASSERT_TRUE(got);
      answered += *got == long_text;
    });
    io.poll();
    signal.emit(type);
    EXPECT_EQ(cancelled, 0) << "called inside emit";
    io.poll();
    EXPECT_EQ(cancelled, 1);
    EXPECT_EQ(answered, 0);
    EXPECT_EQ(flights.stats().waiters, 1U);
    signal.emit(type);  // after completion: harmless
    gate.cancel();
    io.run();
    EXPECT_EQ(cancelled, 1);
    EXPECT_EQ(answered, 1);
  }
}

TEST_P(completion_tokens, emission_after_completion_is_harmless) {
  net::cancellation_signal signal;
  int calls = 0;
  async_run(flights, executor(), "key", load_text,
            net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr failure, text) {
              ++calls;
              EXPECT_FALSE(failure);
              EXPECT_FALSE(signal.slot().has_handler());
              signal.emit(net::cancellation_type::all);
            }));
  io.run();
  signal.emit(net::cancellation_type::all);
  EXPECT_EQ(calls, 1);
}

TEST_P(completion_tokens, the_last_leaver_ends_the_task) {
  net::cancellation_signal signal;
  int calls = 0;
  async_run(flights, executor(), "key", never,
            net::bind_cancellation_slot(signal.slot(), [&](std::exception_ptr failure, text) {
              ++calls;
              EXPECT_TRUE(is<cacheflight::caller_cancelled_error>(failure));
            }));
  io.poll();
  signal.emit(net::cancellation_type::terminal);
  EXPECT_FALSE(flights.has("key"));
  io.run();  // ends: the task was asked to stop, and did
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(flights.stats().cancelled, 1U);
}

struct memory {
  std::size_t live = 0, total = 0;
};
template <class T>
struct counting_allocator {
  using value_type = T;
  memory* of;
  explicit counting_allocator(memory* m) noexcept : of(m) {}
  template <class U>
  counting_allocator(counting_allocator<U> const& other) noexcept : of(other.of) {}
  T* allocate(std::size_t n) {
    of->live += n * sizeof(T);
    ++of->total;
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{alignof(T)}));
  }
  void deallocate(T* p, std::size_t n) noexcept {
    of->live -= n * sizeof(T);
    ::operator delete(p, std::align_val_t{alignof(T)});
  }
  template <class U>
  bool operator==(counting_allocator<U> const& other) const noexcept {
    return of == other.of;
  }
};

TEST_P(completion_tokens, bind_allocator_frees_everything_before_the_handler_is_called) {
  memory used;
  int calls = 0;
  for (auto const task : {load_text, fail}) {
    io.restart();
    for (int i = 0; i < 2;
         ++i) {  // leader and joiner, the joiner with nothing of its own left when the leader's is freed
      async_run(flights, executor(), "key", task,
                net::bind_allocator(counting_allocator<void*>(&used), [&, i](std::exception_ptr, text) {
                  ++calls;
                  if (i == 0) return;
                  EXPECT_EQ(used.live, 0U) << "not free before completing";
                }));
    }
    EXPECT_GT(used.live, 0U) << "the allocator is not used";
    io.run();
    EXPECT_EQ(used.live, 0U);
  }
  EXPECT_EQ(calls, 4);
  EXPECT_GE(used.total, 4U);
}

TEST_P(completion_tokens, a_handler_may_start_the_next_call) {
  struct again {
    completion_tokens* self;
    int* left;
    void operator()(std::exception_ptr failure, text) {
      EXPECT_FALSE(failure);
      if (--*left > 0) async_run(self->flights, self->executor(), "key", load_text, again(*this));
    }
  };
  int left = 50;
  async_run(flights, executor(), "key", load_text, again{this, &left});
  io.run();
  EXPECT_EQ(left, 0);
  EXPECT_EQ(flights.stats().misses, 50U);  // nobody gets an outcome that was settled before
}

TEST_P(completion_tokens, co_spawn_takes_what_run_returns) {
  std::future<text> first = net::co_spawn(io, flights.run("key", load, payload()), net::use_future);
  std::future<text> second = net::co_spawn(io, flights.run("key", load, payload()), net::use_future);
  net::co_spawn(io, flights.run("other", fail),
                [](std::exception_ptr failure, text) { EXPECT_TRUE(is<std::out_of_range>(failure)); });
  net::co_spawn(io, flights.run("void", do_nothing), net::detached);
  io.run();
  EXPECT_EQ(*first.get(), long_text);
  EXPECT_EQ(*second.get(), long_text);
}

net::awaitable<void> both_and_either(group& flights, bool& done) {
  using namespace net::experimental::awaitable_operators;
  std::tuple<text, text> const both =
      co_await (flights.run("one", load, payload()) && flights.run("two", load, payload()));
  EXPECT_EQ(*std::get<0>(both), *std::get<1>(both));

  std::variant<text, text> const either =
      co_await (flights.run("slow", never) || flights.run("fast", load, payload()));
  EXPECT_EQ(either.index(), 1U);
  EXPECT_EQ(*std::get<1>(either), long_text);
  EXPECT_FALSE(flights.has("slow"));  // its only caller was cancelled

  std::variant<std::monostate, text> const void_or_text =
      co_await (flights.run("void", do_nothing) || flights.run("slow", never));
  EXPECT_EQ(void_or_text.index(), 0U);

  bool thrown = false;
  try {
    co_await (flights.run("bad", fail) && flights.run("slow", never));
  } catch (net::multiple_exceptions const& e) {  // the other one ended as cancelled
    thrown = is<std::out_of_range>(e.first_exception());
  }
  EXPECT_TRUE(thrown);
  EXPECT_FALSE(flights.has("slow"));
  done = true;
}
TEST_P(completion_tokens, awaitable_operators) {
  bool done = false;
  net::co_spawn(io, both_and_either(flights, done),
                [](std::exception_ptr failure) { EXPECT_FALSE(failure); });
  io.run();
  EXPECT_TRUE(done);
}

TEST_P(completion_tokens, null_tasks_are_refused_at_once) {
  net::awaitable<std::string> (*no_function)() = nullptr;
  EXPECT_THROW(async_run(flights, executor(), "key", no_function, net::detached), std::invalid_argument);
  EXPECT_THROW((void)flights.run("key", no_function), std::invalid_argument);
  EXPECT_THROW((void)flights.run("key", std::function<net::awaitable<int>()>()), std::invalid_argument);
  EXPECT_THROW((void)cacheflight::on(executor(), no_function), std::invalid_argument);
  EXPECT_THROW((void)flights.has(static_cast<char const*>(nullptr)), std::invalid_argument);
  EXPECT_EQ(flights.stats().misses, 0U);
}

}  // namespace
