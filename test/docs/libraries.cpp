// SPDX-License-Identifier: MIT
//
// docs/guides/libraries.md, with stand-ins that have the names and signatures of the libraries.
#include "docs/harness.hpp"
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <coroutine>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace docs::libraries {

std::vector<std::function<void()>> queued;  // of the loop, the object, the pool
namespace trantor {
struct EventLoop {
  void queueInLoop(std::function<void()>&& f) { queued.push_back(std::move(f)); }
};
}  // namespace trantor

namespace Qt {
enum ConnectionType { QueuedConnection = 2 };
}
struct QObject {};
struct QMetaObject {
  template <class F>
  static bool invokeMethod(QObject*, F&& f, Qt::ConnectionType) {
    queued.emplace_back(std::forward<F>(f));
    return true;
  }
};

namespace coro {
template <class>
struct task;
template <>
struct task<void> {
  struct promise_type {
    task get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};
struct thread_pool {
  bool spawn_detached(task<void>&& t) noexcept {
    queued.emplace_back(t.handle);
    return true;
  }
};
}  // namespace coro

namespace cppcoro {
template <class T>
using task = cacheflight_test::lazy<T>;
struct cancellation_token {
  std::stop_token of;
};
class cancellation_registration {
 public:
  template <class F, class = std::enable_if_t<std::is_constructible_v<std::function<void()>, F&&>>>
  cancellation_registration(cancellation_token token, F&& f) : callback_(token.of, std::forward<F>(f)) {}
  cancellation_registration(cancellation_registration const&) = delete;

 private:
  std::stop_callback<std::function<void()>> callback_;
};
}  // namespace cppcoro

namespace folly {
using CancellationToken = cppcoro::cancellation_token;
using CancellationCallback = cppcoro::cancellation_registration;
namespace coro {
template <class T>
using Task = cacheflight_test::lazy<T>;
struct current_token {
  CancellationToken token;
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  CancellationToken await_resume() const noexcept { return token; }
};
current_token co_current_cancellation_token;
}  // namespace coro
}  // namespace folly

namespace async_simple {
enum SignalType : std::uint64_t { Terminate = 1 };
struct Signal {};
struct Slot {
  template <class F>
  [[nodiscard]] bool emplace(SignalType, F&& f) {
    if (triggered) return false;
    handler = std::forward<F>(f);
    return true;
  }
  bool triggered = false;
  std::function<void(SignalType, Signal*)> handler;
};
template <class T>
class Try {
 public:
  explicit Try(T value) : of_(std::move(value)) {}
  explicit Try(std::exception_ptr error) : of_(std::move(error)) {}
  bool hasError() const { return of_.index() == 1; }
  std::exception_ptr getException() const { return std::get<1>(of_); }
  T&& value() && { return std::get<0>(std::move(of_)); }

 private:
  std::variant<T, std::exception_ptr> of_;
};
struct Executor {};
template <class T>
struct RescheduleLazy {
  Try<T> result;
  template <class F>
  void start(F&& f) {
    auto const kept = std::make_shared<F>(std::forward<F>(f));  // which need not be copyable
    queued.emplace_back([result = result, kept]() mutable { (*kept)(std::move(result)); });
  }
};
template <class T>
struct Lazy {
  Try<T> result;
  RescheduleLazy<T> via(Executor*) && { return {std::move(result)}; }
};
}  // namespace async_simple

int executions = 0;
cppcoro::task<std::string> fetch_page() {
  ++executions;
  co_return std::string("page");
}

#include "libraries/where-a-coroutine-goes-on.inc"
#include "libraries/cancellation-of-others-kinds.inc"
#include "libraries/cancellation-of-others-kinds-2.inc"
#include "libraries/cancellation-of-others-kinds-3.inc"

struct waits {
  std::coroutine_handle<>* at;
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) const { *at = h; }
  void await_resume() const noexcept {}
};
cppcoro::task<std::string> fetch_later(std::coroutine_handle<>* at) {
  co_await waits{at};
  co_return std::string("page");
}
using scheduler = std::function<void(std::function<void()>)>;
cacheflight_test::eager show(cacheflight::group& flights, std::coroutine_handle<>* at, scheduler where,
                             int& shown) {
  shown += *co_await flights.run("page", fetch_later, at).resume_on(where) == "page";
}

TEST(docs_libraries, where_a_coroutine_goes_on) {
  cacheflight::group flights;
  trantor::EventLoop loop;
  QObject object;
  coro::thread_pool pool;
  std::coroutine_handle<> upstream;
  int shown = 0;
  show(flights, &upstream, on(&loop), shown);
  show(flights, &upstream, on(&object), shown);
  show(flights, &upstream, on(pool), shown);
  upstream.resume();
  EXPECT_EQ(shown, 0);
  int called = 0;
  while (!queued.empty()) std::exchange(queued.front(), nullptr)(), queued.erase(queued.begin()), ++called;
  EXPECT_EQ(called, 3);
  EXPECT_EQ(shown, 3);
}

cacheflight_test::eager load_one(cacheflight::group& flights, std::stop_token stop, int& loaded, int& left) {
  cppcoro::cancellation_token const token{stop};
  try {
    std::string const page = co_await load(flights, token);
    loaded += page == "page";
  } catch (cacheflight::caller_stopped_error const&) {
    ++left;
  }
}
cacheflight_test::eager load_as_folly(cacheflight::group& flights, int& loaded, int& left) {
  try {
    std::string const page = co_await load_page(flights);
    loaded += page == "page";
  } catch (cacheflight::caller_stopped_error const&) {
    ++left;
  }
}
TEST(docs_libraries, cancellation_of_follys_kind) {
  cacheflight::group flights;
  int loaded = 0, left = 0;
  std::stop_source stop;
  folly::coro::co_current_cancellation_token = {{stop.get_token()}};
  load_as_folly(flights, loaded, left);
  EXPECT_EQ(loaded, 1);
  stop.request_stop();
  load_as_folly(flights, loaded, left);
  EXPECT_EQ(left, 1);
}
TEST(docs_libraries, cancellation_of_others_kinds) {
  cacheflight::group flights;
  int loaded = 0, left = 0;
  std::stop_source stop;
  load_one(flights, stop.get_token(), loaded, left);
  EXPECT_EQ(loaded, 1);
  stop.request_stop();
  load_one(flights, stop.get_token(), loaded, left);
  EXPECT_EQ(left, 1);
  async_simple::Slot early, late;
  late.triggered = true;
  std::stop_source first, second;
  EXPECT_TRUE(tell(early, first));
  EXPECT_FALSE(first.stop_requested());
  early.handler(async_simple::Terminate, nullptr);
  EXPECT_TRUE(first.stop_requested());
  EXPECT_FALSE(tell(late, second));
  EXPECT_TRUE(second.stop_requested());
}

TEST(docs_libraries, coroutines_that_only_their_own_kind_can_await) {
  async_simple::Executor executor;
  for (bool const fails : {false, true}) {
    auto const fetch_lazily = [fails] {
      using result = async_simple::Try<std::string>;
      return async_simple::Lazy<std::string>{fails ? result(std::make_exception_ptr(1)) : result("page")};
    };
    int pages = 0, errors = 0;
    auto const answer = [&](std::exception_ptr error, std::shared_ptr<std::string const> const& page) {
      errors += error != nullptr, pages += page != nullptr;
    };
    cacheflight::group flights;
#include "libraries/coroutines-that-only-their-own-kind-can-await.inc"
    queued.front()();
    queued.clear();
    EXPECT_EQ(pages, !fails);
    EXPECT_EQ(errors, fails);
  }
}

}  // namespace docs::libraries
