// SPDX-License-Identifier: MIT

// Allocating and freeing is user code: a replaced operator new, a new-handler. It never runs under a lock of
// ours.

#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>

#include <gtest/gtest.h>

#include <support/manual_platform.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

namespace {

using cacheflight_test::checked_mutex;
using cacheflight_test::manual_group;

thread_local constinit int under_a_lock = 0;
thread_local constinit int large = 0;                // blocks that only tables and heaps of deadlines have
thread_local constinit std::ptrdiff_t in_large = 0;  // what is in them
constexpr std::size_t largest_of_others = 4'096;
thread_local constinit int short_of_memory = 0;  // so many more times
thread_local constinit std::size_t short_from = largest_of_others;

// Each block begins with its size.
constexpr std::size_t head = 2 * sizeof(std::size_t);

void* allocate(std::size_t size) {
  if (checked_mutex::held_here()) ++under_a_lock;
  if (size >= short_from && short_of_memory != 0) {
    --short_of_memory;
    if (auto const handler = std::get_new_handler()) handler();
    else throw std::bad_alloc();
  }
  auto* const block = static_cast<char*>(std::malloc(head + size));
  if (!block) throw std::bad_alloc();
  ::new (block) std::size_t(size);
  if (size >= largest_of_others) ++large, in_large += static_cast<std::ptrdiff_t>(size);
  return block + head;
}

void free_block(void* what) noexcept {
  if (!what) return;
  if (checked_mutex::held_here()) ++under_a_lock;
  char* const block = static_cast<char*>(what) - head;
  std::size_t const size = *reinterpret_cast<std::size_t*>(block);
  if (size >= largest_of_others) in_large -= static_cast<std::ptrdiff_t>(size);
  std::free(block);
}

}  // namespace

void* operator new(std::size_t size) { return allocate(size); }
void* operator new[](std::size_t size) { return allocate(size); }
void* operator new(std::size_t size, std::nothrow_t const&) noexcept {
  try {
    return allocate(size);
  } catch (...) {
    return nullptr;
  }
}
void* operator new[](std::size_t size, std::nothrow_t const& none) noexcept {
  return operator new(size, none);
}
void operator delete(void* block) noexcept { free_block(block); }
void operator delete[](void* block) noexcept { free_block(block); }
void operator delete(void* block, std::size_t) noexcept { free_block(block); }
void operator delete[](void* block, std::size_t) noexcept { free_block(block); }

namespace {

using cacheflight::completion;
using cacheflight::run_options;
using namespace std::chrono_literals;

/// Many flights, each with a caller, that end as they are told.
class burst {
 public:
  explicit burst(manual_group& flights, std::size_t count) : flights_(flights), up_(count), first_(next) {
    next += count;
  }

  void start(run_options const& opts) {
    for (std::size_t i = 0; i < up_.size(); ++i) {
      auto task =
          cacheflight::answering<int>([this, i](completion<int> done) { up_[i].emplace(std::move(done)); });
      flights_.start(
          key(i), opts, std::move(task),
          [this](std::exception_ptr error, std::shared_ptr<int const>) { ++(error ? failures : values); });
    }
  }
  void answer(std::size_t from = 0) {
    for (std::size_t i = from; i < up_.size(); ++i)
      if (up_[i]) up_[i]->set_value(1);
  }
  [[nodiscard]] std::string key(std::size_t i) const { return std::to_string(first_ + i); }

  std::size_t values = 0, failures = 0;

 private:
  manual_group& flights_;
  std::vector<std::optional<completion<int>>> up_;
  std::size_t first_;
  static inline std::size_t next = 0;
};

constexpr std::size_t many = 24'000;  // two parts of a table, both large enough to be given back at once

struct lock_watch : testing::Test {
  lock_watch() {
    under_a_lock = large = short_of_memory = 0;
    short_from = largest_of_others;
  }
  ~lock_watch() override {
    std::set_new_handler(nullptr);
    EXPECT_EQ(under_a_lock, 0) << "allocated or freed under a lock of ours";
  }
};

class bursts : public lock_watch, public testing::WithParamInterface<bool> {
 protected:
  std::size_t events = 0;
  manual_group flights{GetParam()
                           ? cacheflight::options().on_event([this](cacheflight::event const&) { ++events; })
                           : cacheflight::options()};
};

using R41_bursts = bursts;
struct R37_bursts : bursts {};

TEST_P(R41_bursts, answered) {
  burst all(flights, many);
  all.start({});
  EXPECT_GT(large, 0) << "nothing had to grow";
  all.answer();
  EXPECT_EQ(all.values, many);
}

TEST_P(R41_bursts, timed_out) {
  burst all(flights, many), left(flights, many);
  all.start(run_options().timeout(1s).wait_timeout(2s));
  left.start(run_options().wait_timeout(1s));
  EXPECT_GT(large, 0) << "nothing had to grow";
  cacheflight_test::pass(flights, 1s);
  EXPECT_EQ(all.failures + left.failures, 2 * many);
  all.answer();
  left.answer();
}

TEST_P(R41_bursts, cancelled_and_cleared) {
  burst all(flights, many);
  all.start(run_options().timeout(1s));
  for (std::size_t i = 0; i < many / 2; ++i) EXPECT_TRUE(flights.cancel(all.key(i)));
  flights.clear();
  EXPECT_EQ(all.failures, many);
  all.answer();
}

TEST_P(R41_bursts, joined_and_left) {
  burst one(flights, 1);
  one.start({});
  std::stop_source stop;
  std::size_t left = 0;
  auto const opts = run_options().stop_token(stop.get_token()).wait_timeout(1s);
  for (std::size_t i = 0; i < many; ++i)
    flights.start(
        one.key(0), opts, [] { return 2; },
        [&](std::exception_ptr error, std::shared_ptr<int const>) { left += error ? 1U : 0U; });
  EXPECT_GT(large, 0) << "nothing had to grow";
  stop.request_stop();
  EXPECT_EQ(left, many);
  one.answer();
}

TEST_P(R37_bursts, give_their_memory_back) {
  std::ptrdiff_t const before = in_large;
  {
    burst all(flights, many);
    all.start(run_options().timeout(1s));
    all.answer();
  }
  EXPECT_EQ(in_large, before) << "the last flight";
  burst few(flights, 20);
  few.start(run_options().timeout(1s));
  {
    burst all(flights, many);
    all.start(run_options().timeout(1s));
    EXPECT_GT(in_large, before);
    all.answer();
  }
  burst later(flights, 20);
  later.start(run_options().timeout(1s));
  EXPECT_EQ(in_large, before) << "what comes next, while some stay";
  few.answer();
  later.answer();
}

auto const with_or_without = [](testing::TestParamInfo<bool> const& events) {
  return events.param ? "with_events" : "without_events";
};
INSTANTIATE_TEST_SUITE_P(process, R41_bursts, testing::Bool(), with_or_without);
INSTANTIATE_TEST_SUITE_P(process, R37_bursts, testing::Bool(), with_or_without);

/// What a new-handler does that frees what it can.
manual_group* to_clear = nullptr;
int cleared = 0;
void clear() {
  ++cleared;
  if (checked_mutex::held_here()) ++under_a_lock;
  else to_clear->clear();
}

using R41 = lock_watch;

cacheflight::group* to_call = nullptr;
void call_with_a_timeout() {
  std::set_new_handler(nullptr);
  ++cleared;
  (void)to_call->run("another", run_options().timeout(1h), [] { return 1; });
}

TEST_F(R41, a_new_handler_may_make_the_call_that_starts_the_threads) {
  // While the first one that has a time limit is about to start the thread that keeps time.
  cacheflight::group flights;
  to_call = &flights;
  cleared = 0;
  short_from = 0;
  std::set_new_handler(call_with_a_timeout);
  short_of_memory = 1;  // the thread is what a timed call needs memory for first
  (void)flights.run("k", run_options().timeout(1h), [] { return 1; });
  EXPECT_EQ(cleared, 1);
  EXPECT_EQ(flights.stats().resolved, 2U);
}

TEST_F(R41, a_new_handler_may_call_the_group) {
  for (bool const timed : {false, true}) {
    manual_group flights;
    to_clear = &flights;
    cleared = 0;
    burst all(flights, many);
    auto const opts = timed ? run_options().timeout(1s).wait_timeout(2s) : run_options();
    std::set_new_handler(clear);
    short_of_memory = 1;
    all.start(opts);
    std::set_new_handler(nullptr);
    EXPECT_EQ(cleared, 1);
    EXPECT_GT(all.failures, 0U);
    all.answer();
    EXPECT_EQ(all.values + all.failures, many);
    auto const books = flights.stats();
    EXPECT_EQ(books.started, books.resolved + books.cancelled);
  }
}

TEST_F(R41, without_memory_for_deadlines_the_call_that_needs_it_fails_alone) {
  manual_group flights;
  burst all(flights, many);
  run_options const opts = run_options().wait_timeout(1s);
  short_of_memory = 1;
  all.start(opts);  // the callback of the call that needed more room gets the error
  EXPECT_EQ(short_of_memory, 0);
  EXPECT_EQ(all.failures, 1U);
  EXPECT_EQ(flights.size(), many - 1);
  EXPECT_EQ(flights.stats().waiters, many - 1);
  all.answer();
  EXPECT_EQ(all.values, many - 1);
}

TEST_F(R41, without_memory_to_shrink_nothing_fails) {
  manual_group flights;
  burst few(flights, 200);  // each shard has many, wherever the keys fall
  few.start(run_options().timeout(1s));
  {
    burst all(flights, many);
    all.start(run_options().timeout(1s));
    all.answer();
  }
  burst later(flights, 2);
  short_of_memory = 2, short_from = 500;  // buckets and room
  later.start(run_options().timeout(1s));
  EXPECT_EQ(short_of_memory, 0);
  later.answer();
  few.answer();
  EXPECT_EQ(few.values + later.values, 202U);
}

}  // namespace
