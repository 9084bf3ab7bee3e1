// SPDX-License-Identifier: MIT
#include "support/coroutines.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/wrap.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <gtest/gtest.h>

#include <any>
#include <chrono>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

namespace net = boost::asio;
using cacheflight::run_options;
using namespace std::chrono_literals;
using namespace std::string_literals;

// ---- threads ----------------------------------------------------------------------------------------------

std::string greet(std::string name, int times) {
  std::string all;
  while (times-- > 0) all += "hello " + name + "; ";
  return all;
}

TEST(wrap, runs_the_function_with_the_arguments) {
  cacheflight::group flights;
  auto const get = cacheflight::wrap(flights, "greet", greet);
  std::shared_ptr<std::string const> const greeting = get("Ada", 2);
  EXPECT_EQ(*greeting, "hello Ada; hello Ada; ");
  EXPECT_EQ(flights.stats().resolved, 1U);
}

TEST(wrap, key_is_prefix_and_arguments) {
  cacheflight::group flights;
  auto const get = cacheflight::wrap(flights, "greet", greet);
  EXPECT_EQ(get.key("Ada", 2), "greet:Ada:2");

  std::vector<std::string> keys;
  cacheflight::group watched(
      cacheflight::options().on_event([&](cacheflight::event const& e) { keys.emplace_back(e.key); }));
  (void)cacheflight::wrap(watched, "greet", greet)("Ada Lovelace", 1);
  EXPECT_EQ(keys, std::vector<std::string>(3, R"(greet:"Ada Lovelace":1)"));
}

TEST(wrap, no_arguments_the_prefix_is_the_key) {
  cacheflight::group flights;
  auto const get = cacheflight::wrap(flights, "settings", [] { return 7; });
  EXPECT_EQ(get.key(), "settings");
  EXPECT_EQ(*get(), 7);
}

TEST(wrap, the_flight_has_the_key_while_it_runs) {
  cacheflight::group flights;
  auto const get =
      cacheflight::wrap(flights, "n", [&](int n) { return flights.has("n:" + std::to_string(n)); });
  EXPECT_TRUE(*get(5));
  EXPECT_FALSE(flights.has(get.key(5)));
}

TEST(wrap, functions_with_a_stop_token_get_one) {
  cacheflight::group flights;
  auto const get = cacheflight::wrap(
      flights, "n", [](std::stop_token token, int n) { return token.stop_possible() ? n : -1; });
  EXPECT_EQ(*get(5), 5);
}

TEST(wrap, void_functions_return_nothing) {
  cacheflight::group flights;
  int calls = 0;
  auto const touch = cacheflight::wrap(flights, "touch", [&](int) { ++calls; });
  static_assert(std::is_void_v<decltype(touch(1))>);
  touch(1);
  EXPECT_EQ(calls, 1);
}

TEST(wrap, options_are_the_wrappers_unless_the_call_has_its_own) {
  std::vector<int> seen;
  cacheflight::group flights(cacheflight::options().on_event([&](cacheflight::event const& e) {
    if (e.type == cacheflight::event_type::miss) seen.push_back(std::any_cast<int>(e.metadata));
  }));
  auto const get = cacheflight::wrap(flights, "n", run_options().metadata(1), [](int n) { return n; });
  (void)get(5);
  (void)get(run_options().metadata(2), 5);
  run_options named = run_options().metadata(3);
  (void)get(named, 5);
  (void)get(5);
  EXPECT_EQ(seen, (std::vector{1, 2, 3, 1}));
}

TEST(wrap, what_the_function_throws_is_thrown) {
  cacheflight::group flights;
  auto const get =
      cacheflight::wrap(flights, "n", [](int n) -> int { throw std::out_of_range(std::to_string(n)); });
  EXPECT_THROW((void)get(5), std::out_of_range);
}

TEST(R36_wrap, a_null_pointer_is_no_text) {
  cacheflight::group flights;
  auto const length =
      cacheflight::wrap(flights, "length", [](std::optional<std::string> text) { return text->size(); });
  EXPECT_THROW((void)length(static_cast<char const*>(nullptr)), std::invalid_argument);
  EXPECT_THROW((void)length(std::optional<char const*>(nullptr)), std::invalid_argument);
}

TEST(wrap, null_functions_are_refused_at_once) {
  cacheflight::group flights;
  std::function<int(int)> const none;
  EXPECT_THROW((void)cacheflight::wrap(flights, "n", none), std::invalid_argument);
}

// ---- any coroutine ----------------------------------------------------------------------------------------

/// Suspends who awaits it until `open`.
class gate {
 public:
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) noexcept { waiting_ = h; }
  void await_resume() const noexcept {}
  void open() { std::exchange(waiting_, nullptr).resume(); }

 private:
  std::coroutine_handle<> waiting_;
};

cacheflight_test::lazy<std::string> wait_and_repeat(gate* at, std::string_view text,
                                                    std::string const& more) {
  co_await *at;
  co_return std::string(text) + more;
}

template <class Get>
cacheflight_test::eager await_it(Get get, std::string_view text, char const* more, std::string& answer) {
  auto call = get(text, more);
  answer = *co_await std::move(call);
}

TEST(wrap, calls_of_coroutines_meet_and_own_their_arguments) {
  cacheflight::group flights;
  gate at;
  std::string answers[2];
  {
    std::string const text(40, 't'), more(40, 'm');  // on the heap, and gone before the task reads them
    auto const get = cacheflight::wrap(flights, "repeat", std::bind_front(wait_and_repeat, &at));
    for (auto& answer : answers) await_it(get, text, more.c_str(), answer);
    EXPECT_TRUE(flights.has(get.key(text, more)));
  }
  EXPECT_EQ(flights.stats().started, 1U);
  EXPECT_EQ(flights.stats().hits, 1U);
  at.open();
  EXPECT_EQ(answers[0], std::string(40, 't') + std::string(40, 'm'));
  EXPECT_EQ(answers[1], answers[0]);
}

cacheflight_test::lazy<std::string> wait_for_optional(gate* at, std::optional<std::string_view> text,
                                                      std::optional<std::string_view> none) {
  co_await *at;
  co_return none ? "none was not none" : std::string(text.value());
}

template <class Get>
cacheflight_test::eager await_optional(Get get, std::string_view text, std::string& answer) {
  auto call = get(std::optional(text), std::optional<char const*>());
  answer = *co_await std::move(call);
}

TEST(wrap, calls_own_text_that_is_optional) {
  cacheflight::group flights;
  gate at;
  std::string answer;
  {
    std::string const text(40, 't');
    await_optional(cacheflight::wrap(flights, "optional", std::bind_front(wait_for_optional, &at)), text,
                   answer);
  }
  at.open();
  EXPECT_EQ(answer, std::string(40, 't'));
}

TEST(wrap, R36_calls_own_text_that_can_be_written_to) {
  cacheflight::group flights;
  gate at;
  std::string answer;
  std::string text(40, 't');
  auto const get = cacheflight::wrap(flights, "optional", std::bind_front(wait_for_optional, &at));
  auto call = get(std::optional<char*>(text.data()), std::optional<char*>());
  text.assign(40, 'x');
  [](auto owned_call, std::string& to) -> cacheflight_test::eager { to = *co_await std::move(owned_call); }(
                                           std::move(call), answer);
  at.open();
  EXPECT_EQ(answer, std::string(40, 't'));
}

TEST(wrap, what_a_call_returns_is_lazy) {
  cacheflight::group flights;
  gate at;
  {
    auto const unused = cacheflight::wrap(flights, "repeat", std::bind_front(wait_and_repeat, &at))("a", "b");
    EXPECT_EQ(flights.size(), 0U);
  }
  EXPECT_EQ(flights.stats().misses, 0U);
}

// ---- Asio -------------------------------------------------------------------------------------------------

int fetches = 0;

net::awaitable<std::string> fetch_user(int id, std::string locale) {
  ++fetches;
  co_await net::post(net::use_awaitable);
  co_return std::to_string(id) + ' ' + locale;
}

template <class Get>
net::awaitable<void> ask(Get const& get, int id, std::string locale, std::string& answer) {
  std::shared_ptr<std::string const> const user = co_await get(id, locale);
  answer = *user;
}

TEST(wrap, asio_coroutines_meet) {
  net::io_context context;
  cacheflight::group flights;
  auto const get_user = cacheflight::wrap(flights, "user", fetch_user);
  fetches = 0;
  std::string answers[4];
  net::co_spawn(context, ask(get_user, 42, "de", answers[0]), net::detached);
  net::co_spawn(context, ask(get_user, 42, "de", answers[1]), net::detached);
  net::co_spawn(context, ask(get_user, 42, "en", answers[2]), net::detached);
  net::co_spawn(context, ask(get_user, 43, "de", answers[3]), net::detached);
  context.run();
  EXPECT_EQ(answers[0], "42 de");
  EXPECT_EQ(answers[1], "42 de");
  EXPECT_EQ(answers[2], "42 en");
  EXPECT_EQ(answers[3], "43 de");
  EXPECT_EQ(fetches, 3);
  EXPECT_EQ(flights.stats().hits, 1U);
}

net::awaitable<void> ask_late(cacheflight::group& flights, std::string& answer) {
  // Neither the wrapper nor the text is there any more when the call begins.
  std::string locale(40, 'x');
  auto call = cacheflight::wrap(flights, "user", fetch_user)(42, std::string_view(locale));
  locale.assign(40, 'y');
  answer = *co_await std::move(call);
}

TEST(wrap, the_wrapper_need_not_outlive_its_calls) {
  net::io_context context;
  cacheflight::group flights;
  std::string answer;
  net::co_spawn(context, ask_late(flights, answer), net::detached);
  context.run();
  EXPECT_EQ(answer, "42 " + std::string(40, 'x'));
}

net::awaitable<void> ask_on(cacheflight::group& flights, net::any_io_executor other, std::string& answer) {
  auto const get_user = cacheflight::wrap(flights, "user", cacheflight::on(other, fetch_user));
  answer = *co_await get_user(run_options().timeout(1h), 42, "de");
}

TEST(wrap, functions_on_an_executor_of_their_own) {
  net::io_context context, other;
  cacheflight::group flights;
  std::string answer;
  net::co_spawn(context, ask_on(flights, other.get_executor(), answer), net::detached);
  context.poll();
  EXPECT_EQ(answer, "");
  other.run();
  context.restart();
  context.run();
  EXPECT_EQ(answer, "42 de");
}

}  // namespace
