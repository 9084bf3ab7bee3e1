// SPDX-License-Identifier: MIT
// Rule 36, front by front: what a call does with the key it is given, and with names that are a user's.
#include "../support/coroutines.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/future.hpp>
#include <cacheflight/sender.hpp>
#include <cacheflight/wrap.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/deferred.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <memory_resource>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace keys_test {

namespace cf = cacheflight;
namespace ex = cacheflight::execution;
namespace net = boost::asio;
using cacheflight_test::eager;
using cacheflight_test::lazy;

// ---- fronts -----------------------------------------------------------------------------------------------
// `call(flights, key)` makes a call and returns what lets it enter, as late as the front has it; the task
// answers at once.

struct blocking {
  static constexpr bool enters_at_once = true;
  static auto call(auto& flights, auto&& key) {
    (void)flights.run(std::forward<decltype(key)>(key), [] { return 1; });
    return [] {};
  }
};

struct callback {
  static constexpr bool enters_at_once = true;
  static auto call(auto& flights, auto&& key) {
    flights.start(
        std::forward<decltype(key)>(key), [] { return 1; },
        [](std::exception_ptr e, std::shared_ptr<int const>) { EXPECT_FALSE(e); });
    return [] {};
  }
};

struct future {
  static constexpr bool enters_at_once = true;
  static auto call(auto& flights, auto&& key) {
    EXPECT_EQ(*cf::run_future(flights, std::forward<decltype(key)>(key), [] { return 1; }).get(), 1);
    return [] {};
  }
};

lazy<int> one_later() { co_return 1; }

struct coroutine {
  static constexpr bool enters_at_once = false;
  static auto call(auto& flights, auto&& key) {
    return [operation = flights.run(std::forward<decltype(key)>(key), one_later)]() mutable {
      [](auto operation_of_the_frame) -> eager {
        (void)co_await std::move(operation_of_the_frame);
      }(std::move(operation));
    };
  }
};

struct ready_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures =
      ex::completion_signatures<ex::set_value_t(int), ex::set_error_t(std::exception_ptr),
                                ex::set_stopped_t()>;
  template <class Receiver>
  struct state {
    using operation_state_concept = ex::operation_state_t;
    Receiver receiver;
    void start() & noexcept { std::move(receiver).set_value(1); }
  };
  template <class Receiver>
  state<Receiver> connect(Receiver receiver) && {
    return {std::move(receiver)};
  }
};
struct any_receiver {
  using receiver_concept = ex::receiver_t;
  void set_value(auto&&...) && noexcept {}
  void set_error(std::exception_ptr) && noexcept { ADD_FAILURE(); }
  void set_stopped() && noexcept { ADD_FAILURE(); }
  struct environment {};
  environment get_env() const noexcept { return {}; }
};

struct sender {
  static constexpr bool enters_at_once = false;
  static auto call(auto& flights, auto&& key) {
    return [sent = flights.run(std::forward<decltype(key)>(key), [] { return ready_sender(); })]() mutable {
      auto operation = std::move(sent).connect(any_receiver());
      operation.start();
    };
  }
};

net::awaitable<int> one_from_asio() { co_return 1; }

struct asio {
  static constexpr bool enters_at_once = false;
  static auto call(auto& flights, auto&& key) {
    return [operation = flights.run(std::forward<decltype(key)>(key), one_from_asio)]() mutable {
      net::io_context io;
      net::co_spawn(io, std::move(operation), net::detached);
      io.run();
    };
  }
};

struct asio_deferred {
  static constexpr bool enters_at_once = false;
  static auto call(auto& flights, auto&& key) {
    auto io = std::make_unique<net::io_context>();
    auto operation = cf::async_run(flights, io->get_executor(), std::forward<decltype(key)>(key),
                                   one_from_asio, net::deferred);
    return [io = std::move(io), operation = std::move(operation)]() mutable {
      std::move(operation)([](std::exception_ptr e, std::shared_ptr<int const>) { EXPECT_FALSE(e); });
      io->run();
    };
  }
};

// ---- who owns the key -------------------------------------------------------------------------------------

struct label {  // a user's text class
  std::pmr::string text;
  operator std::string_view() const { return text; }
};

template <class Front>
struct keys : testing::Test {
  std::string seen;
  cf::group flights{cf::options().on_event([this](cf::event const& e) { seen = e.key; })};
};
using fronts = testing::Types<blocking, callback, future, coroutine, sender, asio, asio_deferred>;
TYPED_TEST_SUITE(keys, fronts);

constexpr char const first[] = "the first caller's key, too long to be kept inside of a string object";
constexpr char const other[] = "what else is in that memory, before the call that was made has entere";
static_assert(sizeof first == sizeof other);

TYPED_TEST(keys, R36_what_owns_its_text_is_copied_into_the_call) {
  auto const expect_copied = [this](auto& owner, char* text) {
    auto enter = TypeParam::call(this->flights, owner);
    std::memcpy(text, other, sizeof other);
    enter();
    EXPECT_EQ(this->seen, first);
  };
  char buffer[sizeof first];
  std::memcpy(buffer, first, sizeof first);
  expect_copied(buffer, buffer);
  std::memcpy(buffer, first, sizeof first);
  char* pointer = buffer;  // to what can be written to
  expect_copied(pointer, buffer);
  std::string text = first;
  expect_copied(text, text.data());
  std::pmr::string polymorphic = first;
  expect_copied(polymorphic, polymorphic.data());
  label own{first};
  expect_copied(own, own.text.data());
  auto enter = TypeParam::call(this->flights, label{first});
  enter();
  EXPECT_EQ(this->seen, first);
}

TYPED_TEST(keys, R36_a_view_a_literal_and_a_pointer_to_constant_text_are_borrowed) {
  auto const expect_borrowed = [this](auto const& view, char* text) {
    std::memcpy(text, first, sizeof first);
    auto enter = TypeParam::call(this->flights, view);
    std::memcpy(text, other, sizeof other);
    enter();
    EXPECT_EQ(this->seen, TypeParam::enters_at_once ? first : other);
  };
  std::string text = first;
  expect_borrowed(std::string_view(text), text.data());
  expect_borrowed(static_cast<char const*>(text.data()), text.data());
  auto enter = TypeParam::call(this->flights, "a literal");
  enter();
  EXPECT_EQ(this->seen, "a literal");
}

// Hash and equality take text; a key is made of it.
struct path {
  explicit path(std::string_view t) : text(t) {}
  std::string text;
};
struct path_hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view t) const { return t.size(); }
  std::size_t operator()(path const& p) const { return p.text.size(); }
};
struct path_equal {
  using is_transparent = void;
  bool operator()(path const& a, std::string_view b) const { return a.text == b; }
  bool operator()(path const& a, path const& b) const { return a.text == b.text; }
};

TYPED_TEST(keys, R36_a_buffer_is_copied_in_transparent_groups_as_well) {
  std::string path_seen;
  cf::basic_group<path, path_hash, path_equal> paths(
      cf::options().on_event([&](cf::event const& e) { path_seen = e.key_as<path>()->text; }));
  char buffer[sizeof first];
  std::memcpy(buffer, first, sizeof first);
  auto enter = TypeParam::call(paths, buffer);
  std::memcpy(buffer, other, sizeof other);
  enter();
  EXPECT_EQ(path_seen, first);
  TypeParam::call(paths, std::string("text"))();
  EXPECT_EQ(path_seen, "text");
  TypeParam::call(paths, "literal")();
  EXPECT_EQ(path_seen, "literal");
}

// ---- keys that are refused --------------------------------------------------------------------------------

TYPED_TEST(keys, R36_a_number_converts_if_it_fits_and_is_refused_at_once_if_not) {
  std::optional<int> number;
  cf::basic_group<int> numbers(
      cf::options().on_event([&](cf::event const& e) { number = *e.key_as<int>(); }));
  TypeParam::call(numbers, 7LL)();
  EXPECT_EQ(number, 7);
  number.reset();
  EXPECT_THROW((void)TypeParam::call(numbers, 7 + (1LL << 32)), std::out_of_range);
  EXPECT_THROW((void)TypeParam::call(this->flights, static_cast<char const*>(nullptr)),
               std::invalid_argument);
  EXPECT_FALSE(number);
  EXPECT_EQ(numbers.stats().misses, 1U);
}

// ---- names that are a user's ------------------------------------------------------------------------------

}  // namespace keys_test

/// Has functions that are called as some of ours are, and take everything.
namespace greedy {

struct id {
  int number;
  bool operator==(id const&) const = default;
};
struct value {
  int number;
};

template <class F, class... Args>
void bind_task(F&&, Args&&...) = delete;
template <class F>
void require_task(F const&) = delete;
template <class F>
void require_callback(F const&) = delete;
template <class T, class W>
void outcome_of(W const&) = delete;
template <class P, class F>
void failure_of(F const&, auto) = delete;
template <class T, class... Args>
void make_shared_recycled(Args&&...) = delete;
template <class A>
void awaiter_of(A&&) = delete;
template <class R>
void stop_token_of(R const&) = delete;
template <class F, class E>
void executor_of(F&, E const&) = delete;
template <class E, class F>
void with_strand(E const&, F&&) = delete;
template <class E>
void runs_here(E const&) = delete;
template <class A, class... B>
void enter(B&&...) = delete;
template <class A, class E, class... B>
void enter(B&&...) = delete;
template <class G, class K, class F>
void run_future(G&, K&&, cacheflight::run_options, F&&) = delete;
template <class... Parts>
void make_key(Parts const&...) = delete;
template <class T>
void append_part(std::string&, T const&) = delete;
template <class T>
void append_text(std::string&, T const&) = delete;
template <class F, class... Args>
void invoke(F&&, Args&&...) = delete;
template <class F, class T>
void apply(F&&, T&&) = delete;
template <class T>
void move(T&&) = delete;
template <class T>
void forward(T&&) = delete;
template <class T, class U>
void exchange(T&, U&&) = delete;

inline int to_key_part(id i) { return i.number; }

struct load {
  template <class... Args>
  value operator()(Args const&...) const {
    return {1};
  }
};
struct load_later {
  template <class... Args>
  cacheflight_test::lazy<value> operator()(Args const&...) const {
    return coroutine();
  }
  static cacheflight_test::lazy<value> coroutine() { co_return value{1}; }
};
struct awaits_nothing {
  bool await_ready() const noexcept { return true; }
  void await_suspend(std::coroutine_handle<>) const noexcept {}
  value await_resume() const noexcept { return {1}; }
};
struct load_awaitable {
  template <class... Args>
  awaits_nothing operator()(Args const&...) const {
    return {};
  }
};
struct load_asio {
  template <class... Args>
  boost::asio::awaitable<value> operator()(Args const&...) const {
    return coroutine();
  }
  static boost::asio::awaitable<value> coroutine() { co_return value{1}; }
};
struct sends {
  using sender_concept = cacheflight::execution::sender_t;
  using completion_signatures =
      cacheflight::execution::completion_signatures<cacheflight::execution::set_value_t(value)>;
  template <class Receiver>
  struct state {
    using operation_state_concept = cacheflight::execution::operation_state_t;
    Receiver receiver;
    void start() & noexcept { static_cast<Receiver&&>(receiver).set_value(value{1}); }
  };
  template <class Receiver>
  state<Receiver> connect(Receiver receiver) && {
    return {static_cast<Receiver&&>(receiver)};
  }
};
struct load_sender {
  template <class... Args>
  sends operator()(Args const&...) const {
    return {};
  }
};
struct receiver {
  using receiver_concept = cacheflight::execution::receiver_t;
  int* received;
  void set_value(std::shared_ptr<value const> v) && noexcept { *received += v->number; }
  void set_error(std::exception_ptr) && noexcept {}
  void set_stopped() && noexcept {}
  struct environment {
    std::stop_token query(cacheflight::execution::get_stop_token_t) const noexcept { return {}; }
  };
  environment get_env() const noexcept { return {}; }
};
struct called {
  int* received;
  void operator()(std::exception_ptr, std::shared_ptr<value const> v) const { *received += v->number; }
};
struct here {
  void operator()(auto work) const { work(); }
};

}  // namespace greedy
template <>
struct std::hash<greedy::id> {
  std::size_t operator()(greedy::id i) const { return static_cast<std::size_t>(i.number); }
};

namespace keys_test {

TEST(R36, functions_of_users_are_not_taken_for_ours) {
  int received = 0;
  greedy::id const id{7};
  cf::basic_group<greedy::id> flights;
  EXPECT_EQ(flights.run(id, greedy::load(), id)->number, 1);
  EXPECT_EQ(
      flights.run(id, cf::run_options().wait_timeout(std::chrono::hours(1)), greedy::load(), id)->number, 1);
  EXPECT_EQ(flights.run(id, cf::on(greedy::here(), greedy::load()), id)->number, 1);
  flights.start(id, greedy::load(), greedy::called{&received});
  flights.start(id, cf::on(greedy::here(), greedy::load()),
                cf::via(greedy::here(), greedy::called{&received}));
  flights.start(id, cf::answering<greedy::value>([](auto done) { done.set_value(greedy::value{1}); }),
                greedy::called{&received});
  EXPECT_EQ(received, 3);
  EXPECT_EQ(cf::run_future(flights, id, greedy::load()).get()->number, 1);
  [&]() -> eager {
    auto later = flights.run(id, greedy::load_later(), id);
    received += (co_await std::move(later))->number;
    auto now = flights.run(id, greedy::load_awaitable(), id);
    received += (co_await std::move(now))->number;
  }();
  EXPECT_EQ(received, 5);
  auto operation = flights.run(id, greedy::load_sender(), id).connect(greedy::receiver{&received});
  operation.start();
  EXPECT_EQ(received, 6);
  net::io_context io;
  net::co_spawn(io, flights.run(id, greedy::load_asio(), id),
                [&](std::exception_ptr, std::shared_ptr<greedy::value const> v) { received += v->number; });
  cf::async_run(flights, io.get_executor(), id, greedy::load_asio(), greedy::called{&received});
  io.run();
  EXPECT_EQ(received, 8);
  EXPECT_EQ(cf::make_key("user", id, std::optional(id)), "user:7:7");
  cf::group texts;
  EXPECT_EQ(cf::wrap(texts, "user", greedy::load())(id)->number, 1);
}

// ---- results ----------------------------------------------------------------------------------------------

struct opaque;  // defined elsewhere, if at all
int freed = 0;
std::shared_ptr<opaque> open_opaque() {
  static int at = 0;
  return std::shared_ptr<opaque>(std::shared_ptr<void>(&at, [](void*) { ++freed; }),
                                 reinterpret_cast<opaque*>(&at));
}
lazy<std::shared_ptr<opaque>> opaque_later() { co_return open_opaque(); }
net::awaitable<std::shared_ptr<opaque>> opaque_asio() { co_return open_opaque(); }

TEST(R36, a_result_type_may_be_opaque) {
  cf::group flights;
  int got = 0;
  freed = 0;
  auto const note = [&](std::exception_ptr, std::shared_ptr<opaque const> v) { got += v != nullptr; };
  std::shared_ptr<opaque const> const blocked = flights.run("k", open_opaque);
  got += blocked != nullptr;
  flights.start("k", open_opaque, note);
  std::optional<cf::completion<std::shared_ptr<opaque>>> answer;
  flights.start(
      "k", cf::answering<std::shared_ptr<opaque>>([&](auto done) { answer.emplace(std::move(done)); }), note);
  EXPECT_THROW((void)flights.run("k", [] { return 1; }), cf::type_mismatch_error);
  EXPECT_TRUE(answer->set_value(open_opaque()));
  [&]() -> eager {
    auto operation = flights.run("k", opaque_later);
    std::shared_ptr<opaque const> const v = co_await std::move(operation);
    got += v != nullptr;
  }();
  net::io_context io;
  net::co_spawn(io, flights.run("k", opaque_asio), note);
  io.run();
  EXPECT_EQ(got, 5);
  EXPECT_EQ(freed, 4);
}

TEST(R36, a_shared_pointer_that_is_constant_is_passed_on_as_it_is) {
  auto const made = std::make_shared<int>(1);
  cf::group flights;
  auto const task = [&]() -> std::shared_ptr<int> const { return made; };
  static_assert(std::is_same_v<decltype(flights.run("k", task)), std::shared_ptr<int const>>);
  EXPECT_EQ(flights.run("k", task), made);
  std::shared_ptr<int const> got;
  flights.start("k", task, [&](std::exception_ptr, std::shared_ptr<int const> v) { got = v; });
  EXPECT_EQ(got, made);
  auto const answers = cf::answering<std::shared_ptr<int> const>([&](auto done) { done.set_value(made); });
  got = nullptr;
  flights.start("k", answers, [&](std::exception_ptr, std::shared_ptr<int const> v) { got = v; });
  EXPECT_EQ(got, made);
}

}  // namespace keys_test
