// SPDX-License-Identifier: MIT

// The sender front with senders, receivers and environments as implementations of P2300 have them, each with
// what once kept it from working: computed signatures, errors of other types, queries, an lvalue that is
// connected twice.

#include "../support/senders.hpp"

#include <gtest/gtest.h>

#include <concepts>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace cacheflight_test {
namespace {

namespace ex = cacheflight::execution;
using cacheflight::run_options;

/// [stoptoken.concepts], but for the template that it probes `callback_type` with.
template <class T>
concept stoppable_token = std::copyable<T> && std::equality_comparable<T> && requires(T const t) {
  typename T::template callback_type<void (*)()>;
  { t.stop_requested() } noexcept -> std::same_as<bool>;
  { t.stop_possible() } noexcept -> std::same_as<bool>;
  { T(t) } noexcept;
};

/// Completes when the test says so.
class upstream {
 public:
  void complete() {
    for (auto& f : std::exchange(waiting_, {})) f();
  }
  void wait(std::function<void()> f) { waiting_.push_back(std::move(f)); }

 private:
  std::vector<std::function<void()>> waiting_;
};

/// Sends one value from `upstream`, or stops when its environment says so. Tells what it sends as stdexec's
/// senders do: computed from the environment, in a static member template, with no member type.
struct fetching {
  using sender_concept = ex::sender_tag;
  template <class Self, class Environment>
  static consteval auto get_completion_signatures() {
    using token = decltype(std::declval<Environment const&>().query(ex::get_stop_token_t{}));
    static_assert(stoppable_token<token>);
    return ex::completion_signatures<ex::set_value_t(std::string), ex::set_error_t(std::error_code),
                                     ex::set_stopped_t()>();
  }

  template <class Receiver>
  struct operation {
    using operation_state_concept = ex::operation_state_tag;
    struct stop {
      operation* self;
      void operator()() const noexcept { self->stopped = true; }
    };
    using token = decltype(std::declval<Receiver const&>().get_env().query(ex::get_stop_token_t{}));

    void start() & noexcept {
      on_stop.emplace(receiver.get_env().query(ex::get_stop_token_t{}), stop{this});
      from->wait([this] {
        on_stop.reset();
        if (stopped) std::move(receiver).set_stopped();
        else if (error) std::move(receiver).set_error(error);
        else std::move(receiver).set_value(std::string("answer"));
      });
    }

    upstream* from;
    std::error_code error;
    Receiver receiver;
    bool stopped = false;
    std::optional<typename token::template callback_type<stop>> on_stop = std::nullopt;
  };
  template <class Receiver>
  operation<Receiver> connect(Receiver receiver) const {
    return {from, error, std::move(receiver)};
  }

  upstream* from;
  std::error_code error;
};

struct heard {
  std::vector<std::shared_ptr<std::string const>> values;
  std::vector<std::exception_ptr> errors;
  int stopped = 0;
};
struct listener {
  using receiver_concept = ex::receiver_tag;
  heard* to;
  std::stop_token stop;
  void set_value(std::shared_ptr<std::string const> v) && noexcept { to->values.push_back(std::move(v)); }
  void set_error(std::exception_ptr e) && noexcept { to->errors.push_back(std::move(e)); }
  void set_stopped() && noexcept { ++to->stopped; }
  [[nodiscard]] stop_environment get_env() const noexcept { return {stop}; }
};

struct server {
  cacheflight::group flights{cacheflight::options().max_keys(1)};
  upstream from;
  int executions = 0;
  heard out;
  kept_operations operations;

  [[nodiscard]] auto call(std::string key, std::error_code error = {}) {
    return flights.run(
        std::move(key),
        [this](std::error_code e) {
          ++executions;
          return fetching{&from, e};
        },
        error);
  }
  void start(auto&& sender, std::stop_token stop = {}) {
    operations.keep([&] { return std::forward<decltype(sender)>(sender).connect(listener{&out, stop}); })
        .start();
  }
};

TEST(R06, sender_whose_signatures_are_computed_is_a_task) {
  server s;
  for (int i = 0; i < 150; ++i) s.start(s.call("key"));
  EXPECT_EQ(s.flights.stats().in_flight, 1u);
  s.from.complete();
  EXPECT_EQ(s.executions, 1);
  ASSERT_EQ(s.out.values.size(), 150u);
  EXPECT_EQ(*s.out.values.front(), "answer");
  for (auto const& v : s.out.values) EXPECT_EQ(v, s.out.values.front());
}

TEST(R07, sender_that_sends_an_error_code_gives_a_system_error) {
  server s;
  for (int i = 0; i < 2; ++i) s.start(s.call("key", make_error_code(std::errc::connection_refused)));
  s.from.complete();
  ASSERT_EQ(s.out.errors.size(), 2u);
  EXPECT_EQ(s.out.errors[0], s.out.errors[1]);
  try {
    std::rethrow_exception(s.out.errors[0]);
  } catch (std::system_error const& e) {
    EXPECT_EQ(e.code(), std::errc::connection_refused);
  }
}

TEST(R13, sender_sees_the_stop_request_in_its_environment) {
  server s;
  std::stop_source one, all;
  s.start(s.call("key"), one.get_token());
  s.start(s.call("key"), all.get_token());
  one.request_stop();
  EXPECT_EQ(s.out.stopped, 1);
  EXPECT_EQ(s.flights.stats().in_flight, 1u);
  s.start(s.call("another"));
  ASSERT_EQ(s.out.errors.size(), 1u);
  EXPECT_THROW(std::rethrow_exception(s.out.errors[0]), cacheflight::max_keys_error);
  all.request_stop();
  EXPECT_EQ(s.out.stopped, 2);
  EXPECT_EQ(s.flights.stats().detached, 1u);
  s.from.complete();
  EXPECT_EQ(s.executions, 1);
  EXPECT_EQ(s.flights.stats().detached, 0u);
  EXPECT_TRUE(s.out.values.empty());
}

TEST(R28, sender_that_run_returned_is_connected_as_an_lvalue_too) {
  server s;
  auto const call = s.call("key");
  s.start(call);
  s.start(call);
  s.from.complete();
  s.start(call);
  s.from.complete();
  EXPECT_EQ(s.executions, 2);
  EXPECT_EQ(s.out.values.size(), 3u);
  EXPECT_EQ(s.flights.stats().hits, 1u);
}

struct owned_task {
  std::unique_ptr<int> held;
  fetching operator()() const { return {nullptr, {}}; }
};

// What implementations of P2300 check before they take a sender.
using call_type = decltype(std::declval<server&>().call(""));
static_assert(std::is_same_v<call_type::sender_concept, ex::sender_tag>);
static_assert(
    std::is_same_v<decltype(call_type::get_completion_signatures<call_type, stop_environment>()),
                   ex::completion_signatures<ex::set_value_t(std::shared_ptr<std::string const>),
                                             ex::set_error_t(std::exception_ptr), ex::set_stopped_t()>>);
static_assert(std::move_constructible<call_type>);
template <class S>
concept connected_as_an_lvalue = requires(S const& s) { s.connect(listener{}); };
static_assert(connected_as_an_lvalue<call_type>);
using moved_type = decltype(std::declval<cacheflight::group&>().run("key", owned_task()));
static_assert(!connected_as_an_lvalue<moved_type>);

}  // namespace
}  // namespace cacheflight_test
