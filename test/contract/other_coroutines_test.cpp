// SPDX-License-Identifier: MIT

// The coroutine front with coroutine types as other libraries have them, each with what once kept it from
// working: awaitables that yield an rvalue reference, and what checks or awaits the result of `run` as an
// lvalue.

#include "../support/coroutines.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/coroutine.hpp>

#include <gtest/gtest.h>

#include <concepts>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace cacheflight_test {
namespace {

using cacheflight::run_options;

/// Waits until the test opens it.
class gate {
 public:
  void open() {
    for (auto const waiting : std::exchange(waiting_, {})) waiting.resume();
  }
  [[nodiscard]] auto wait() {
    struct awaiter {
      gate* self;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> h) const { self->waiting_.push_back(h); }
      void await_resume() const noexcept {}
    };
    return awaiter{this};
  }

 private:
  std::vector<std::coroutine_handle<>> waiting_;
};

/// Lazy, as cppcoro's and libcoro's `task`: awaited as an lvalue it yields a reference to the result that it
/// keeps, as an rvalue one to move from.
template <class T>
class moving {
 public:
  struct promise_type {
    moving get_return_object() noexcept {
      return moving(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct back {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
          return h.promise().continuation;
        }
        void await_resume() noexcept {}
      };
      return back();
    }
    void unhandled_exception() noexcept { error = std::current_exception(); }
    template <class V>
    void return_value(V&& v) {
      value.emplace(std::forward<V>(v));
    }

    std::coroutine_handle<> continuation;
    std::exception_ptr error;
    std::optional<T> value;
  };

  explicit moving(std::coroutine_handle<promise_type> h) noexcept : handle_(h) {}
  moving(moving&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  moving& operator=(moving&&) = delete;
  ~moving() {
    if (handle_) handle_.destroy();
  }

  auto operator co_await() const& noexcept { return awaiter<T&>{handle_}; }
  auto operator co_await() const&& noexcept { return awaiter<T&&>{handle_}; }

 private:
  template <class Yielded>
  struct awaiter {
    std::coroutine_handle<promise_type> h;
    [[nodiscard]] bool await_ready() const noexcept { return h.done(); }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
      h.promise().continuation = caller;
      return h;
    }
    Yielded await_resume() const {
      if (h.promise().error) std::rethrow_exception(h.promise().error);
      return static_cast<Yielded>(*h.promise().value);
    }
  };
  std::coroutine_handle<promise_type> handle_;
};

/// What QCoro, libcoro and drogon ask of what is awaited: that an lvalue of it has `operator co_await`.
template <class A>
concept awaitable_elsewhere = requires(std::remove_cvref_t<A>& a, std::coroutine_handle<> h) {
  { a.operator co_await().await_ready() } -> std::convertible_to<bool>;
  a.operator co_await().await_suspend(h);
  a.operator co_await().await_resume();
};
/// Starts at once, and lets nothing else be awaited.
struct choosy {
  struct promise_type : eager::promise_type {
    choosy get_return_object() noexcept { return {}; }
    template <awaitable_elsewhere A>
    A&& await_transform(A&& awaited) noexcept {
      return static_cast<A&&>(awaited);
    }
  };
};

struct counted {
  explicit counted(int n) noexcept : number(n) {}
  counted(counted const& other) noexcept : number(other.number), copies(other.copies + 1) {}
  counted(counted&& other) noexcept = default;
  int number, copies = 0;
};

moving<counted> fetch(gate& until, int& executions) {
  ++executions;
  co_await until.wait();
  co_return counted(executions);
}
moving<std::string> refuse() {
  throw std::runtime_error("refused");
  co_return "";
}
moving<std::unique_ptr<int>> only_moved() { co_return std::make_unique<int>(7); }
moving<std::shared_ptr<int>> shared_already() { co_return std::make_shared<int>(7); }

struct got {
  std::vector<std::shared_ptr<counted const>> results;
  std::vector<std::exception_ptr> errors;
};
template <class Coroutine, class Group>
Coroutine call(Group& flights, std::string key, run_options opts, gate& until, int& executions, got& out) {
  try {
    out.results.push_back(
        co_await flights.run(std::move(key), std::move(opts), fetch, std::ref(until), std::ref(executions)));
  } catch (...) {
    out.errors.push_back(std::current_exception());
  }
}

TEST(R06, coroutine_a_result_that_is_yielded_by_rvalue_reference_is_moved) {
  cacheflight::group flights;
  gate until;
  int executions = 0;
  got out;
  for (int i = 0; i < 150; ++i) call<eager>(flights, "key", {}, until, executions, out);
  EXPECT_EQ(flights.stats().in_flight, 1u);
  until.open();
  EXPECT_EQ(executions, 1);
  ASSERT_EQ(out.results.size(), 150u);
  EXPECT_EQ(out.results.front()->copies, 0);
  for (auto const& r : out.results) EXPECT_EQ(r, out.results.front());
}

eager each_kind(cacheflight::group& flights, int& kinds) {
  std::shared_ptr<std::unique_ptr<int> const> const moved = co_await flights.run("moved", only_moved);
  kinds += **moved == 7;
  std::shared_ptr<int const> const shared = co_await flights.run("shared", shared_already);
  kinds += *shared == 7;
  try {
    (void)co_await flights.run("refused", refuse);
  } catch (std::runtime_error const& e) {
    kinds += e.what() == std::string_view("refused");
  }
}

TEST(R06, coroutine_what_can_only_be_moved_is_a_result_and_a_shared_pointer_is_not_wrapped) {
  cacheflight::group flights;
  int kinds = 0;
  each_kind(flights, kinds);
  EXPECT_EQ(kinds, 3);
}

TEST(R07, coroutine_another_librarys_task_in_its_own_coroutines) {
  cacheflight::group flights(cacheflight::options().max_keys(1));
  gate until;
  int executions = 0;
  got out;
  std::stop_source one, all;
  call<choosy>(flights, "key", run_options().stop_token(one.get_token()), until, executions, out);
  call<choosy>(flights, "key", run_options().stop_token(all.get_token()), until, executions, out);
  one.request_stop();
  ASSERT_EQ(out.errors.size(), 1u);
  EXPECT_THROW(std::rethrow_exception(out.errors[0]), cacheflight::caller_stopped_error);
  EXPECT_EQ(flights.stats().in_flight, 1u);
  call<choosy>(flights, "another", {}, until, executions, out);
  ASSERT_EQ(out.errors.size(), 2u);
  EXPECT_THROW(std::rethrow_exception(out.errors[1]), cacheflight::max_keys_error);
  flights.cancel("key");
  ASSERT_EQ(out.errors.size(), 3u);
  EXPECT_THROW(std::rethrow_exception(out.errors[2]), cacheflight::cancelled_error);
  until.open();
  EXPECT_EQ(executions, 1);
  EXPECT_TRUE(out.results.empty());
}

eager as_an_lvalue(cacheflight::group& flights, int& steps, int& executions) {
  auto waits = flights.run("key", [](int& n) -> lazy<int> { co_return ++n; }, std::ref(executions));
  steps += *co_await waits == 1;
  try {
    (void)co_await waits;
  } catch (std::logic_error const& e) {
    steps += std::string_view(e.what()).find("awaited a second time") != std::string_view::npos;
  }
}

TEST(R28, coroutine_what_run_returns_is_awaited_as_an_lvalue_too_but_once) {
  cacheflight::group flights;
  int steps = 0, executions = 0;
  as_an_lvalue(flights, steps, executions);
  EXPECT_EQ(steps, 2);
  EXPECT_EQ(executions, 1);
  EXPECT_EQ(flights.stats().in_flight, 0u);
}

// A coroutine that only its own library's can await is no plain value, which a flight could copy to all.
struct exclusive {
  struct promise_type;
};
static_assert(!cacheflight::detail::plain_value<exclusive>);
static_assert(!cacheflight::detail::plain_value<exclusive const&>);
static_assert(cacheflight::detail::plain_value<counted>);

}  // namespace
}  // namespace cacheflight_test
