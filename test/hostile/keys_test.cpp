// SPDX-License-Identifier: MIT
// Keys are arbitrary bytes: they pass through every front unchanged, and into no exception's text (rule 32).
#include "../support/manual_platform.hpp"
#include "support.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace {

using namespace hostile;
using namespace std::chrono_literals;
using namespace std::string_view_literals;
namespace net = boost::asio;
using cacheflight::run_options;
using cacheflight_test::manual_group;
using cacheflight_test::pass;

std::string every_byte() {
  std::string all;
  for (int i = 0; i < 256; ++i) all.push_back(static_cast<char>(i));
  return all;
}

std::vector<std::string> const& hostile_keys() {
  static std::vector<std::string> const all{
      std::string(),
      std::string("\0"sv),
      std::string("secret\0secret"sv),
      std::string("secret\r\nSet-Cookie: secret\r\n\r\n"),
      std::string("secret\x1b[2J\x1b]0;secret\x07\x9b"
                  "31m"),
      std::string("secret\xff\xfe\xc0\x80\xed\xa0\x80\xf4\x90\x80\x80"),
      std::string("secret%s%n{}'; DROP TABLE secret; --"),
      std::string("secret") + every_byte(),
      std::string("secret") + std::string(1 << 20, 'x'),
      std::string("secret") + std::string(1 << 20, '\0') + "secret",
  };
  return all;
}

template <class R>
R value() {
  return R(42);
}
template <class R>
net::awaitable<R> value_later() {
  co_return R(42);
}

// One call through a front, on this thread, that has completed when `call` returns: with a value, or with
// what is returned.

struct blocking {
  using stopped = cacheflight::caller_stopped_error;
  template <class R, class Group>
  static std::exception_ptr call(Group& flights, std::string const& key, run_options opts) {
    try {
      EXPECT_EQ(*flights.run(key, std::move(opts), value<R>), R(42));
    } catch (...) {
      return std::current_exception();
    }
    return nullptr;
  }
};

struct callback {
  using stopped = cacheflight::caller_stopped_error;
  template <class R, class Group>
  static std::exception_ptr call(Group& flights, std::string const& key, run_options opts) {
    std::optional<std::exception_ptr> failure;
    flights.start(key, std::move(opts), value<R>, [&](std::exception_ptr e, std::shared_ptr<R const> got) {
      failure = e;
      EXPECT_TRUE(e || *got == R(42));
    });
    EXPECT_TRUE(failure);
    return failure.value_or(nullptr);
  }
};

struct asio {
  using stopped = cacheflight::caller_cancelled_error;
  template <class R, class Group>
  static std::exception_ptr call(Group& flights, std::string const& key, run_options opts) {
    std::optional<std::exception_ptr> failure;
    net::io_context io;
    net::co_spawn(io, flights.run(key, std::move(opts), value_later<R>),
                  [&](std::exception_ptr e, std::shared_ptr<R const> got) {
                    failure = e;
                    EXPECT_TRUE(e || *got == R(42));
                  });
    io.run();
    EXPECT_TRUE(failure);
    return failure.value_or(nullptr);
  }
};

template <class Front>
struct hostile_key : testing::Test {
  /// A group whose events must all be of `key`; `on_hit` is what happens next once a call has joined.
  std::unique_ptr<manual_group> group_for(std::string const& key, std::size_t cap = 100) {
    return std::make_unique<manual_group>(
        cacheflight::options().max_keys(cap).on_event([this, key](cacheflight::event const& e) {
          if (e.metadata.has_value()) return;  // another key's, to fill the group
          ++events;
          EXPECT_TRUE(e.key == key) << to_string(e.type);
          EXPECT_TRUE(e.key_as<std::string>() && *e.key_as<std::string>() == key);
          if (e.type == cacheflight::event_type::hit && on_hit) std::exchange(on_hit, nullptr)();
        }));
  }
  std::size_t events = 0;
  std::function<void()> on_hit;
};

using fronts = testing::Types<blocking, callback, asio>;
struct front_names {
  template <class Front>
  static std::string GetName(int) {
    return std::is_same_v<Front, blocking>   ? "blocking"
           : std::is_same_v<Front, callback> ? "callback"
                                             : "asio";
  }
};
TYPED_TEST_SUITE(hostile_key, fronts, front_names);

TYPED_TEST(hostile_key, R32_arrives_unchanged) {
  for (auto const& key : hostile_keys()) {
    this->events = 0;
    auto const group = this->group_for(key);
    EXPECT_EQ(TypeParam::template call<int>(*group, key, run_options()), nullptr);
    EXPECT_EQ(this->events, 3U);

    held<int> task;
    tally got;
    group->start(key, task.task(), got.callback());
    EXPECT_TRUE(group->has(key));
    EXPECT_TRUE(group->has(std::string_view(key)));
    EXPECT_FALSE(group->has(key + '\0'));
    EXPECT_FALSE(group->has(key + 'x'));
    if (!key.empty()) {
      EXPECT_FALSE(group->has(std::string_view(key).substr(1)));
      EXPECT_FALSE(group->has(std::string_view(key).substr(0, key.size() - 1)));
      std::string other = key;
      other.back() = static_cast<char>(other.back() ^ 1);
      EXPECT_FALSE(group->has(other));
      EXPECT_FALSE(group->cancel(other));
    }
    this->on_hit = [&] { task.answer->set_value(42); };
    EXPECT_EQ(TypeParam::template call<int>(*group, key, run_options()), nullptr);
    EXPECT_EQ(got.values, 1U);

    group->start(key, task.task(), got.callback());
    EXPECT_TRUE(group->cancel(key));
    EXPECT_FALSE(group->has(key));
    EXPECT_FALSE(group->cancel(key));
    EXPECT_EQ(got.cancelled(), 1U);
    EXPECT_EQ(group->stats().hits, 1U);
    task.answer.reset();
  }
}

/// An error of ours: of this type, with the key, and without it in its text.
template <class Error>
void expect_discreet(std::exception_ptr const& failure, std::string const& key) {
  ASSERT_TRUE(failure);
  try {
    std::rethrow_exception(failure);
  } catch (Error const& e) {
    std::string const text = e.what();
    EXPECT_EQ(text.find("cacheflight: "), 0U);
    EXPECT_EQ(text.find("secret"), std::string::npos) << text;
    for (char c : text) EXPECT_TRUE(c >= ' ' && c <= '~') << text;
    if constexpr (std::is_base_of_v<cacheflight::error, Error>) {
      EXPECT_TRUE(e.key() == key) << text;
      ASSERT_NE(e.template key_as<std::string>(), nullptr) << text;
      EXPECT_TRUE(*e.template key_as<std::string>() == key) << text;
    }
  } catch (std::exception const& e) {
    ADD_FAILURE() << "another error: " << e.what();
  }
}

TYPED_TEST(hostile_key, R32_is_in_no_exceptions_text) {
  for (auto const& key : hostile_keys()) {
    auto const fails_with = [&]<class R = int>(auto error, auto prepare, run_options opts = {}, R = {}) {
      SCOPED_TRACE(typeid(error).name());
      held<int> task, other;
      tally got;
      std::stop_source stop;
      auto const group = this->group_for(key, 1);
      if constexpr (std::is_same_v<typename decltype(error)::type, cacheflight::max_keys_error>)
        group->start("fills the group", run_options().metadata(1), other.task(), got.callback());
      else group->start(key, run_options().timeout(1h), task.task(), got.callback());
      this->on_hit = [&] { prepare(*group, task, stop); };
      expect_discreet<typename decltype(error)::type>(
          TypeParam::template call<R>(*group, key, opts.stop_token(stop.get_token())), key);
      this->on_hit = nullptr;
    };
    auto const nothing = [](auto&...) {};
    using std::type_identity;
    fails_with(type_identity<cacheflight::max_keys_error>(), nothing);
    fails_with(type_identity<cacheflight::type_mismatch_error>(), nothing, run_options(), long());
    fails_with(type_identity<cacheflight::cancelled_error>(), [&](auto& g, auto&, auto&) { g.cancel(key); });
    fails_with(type_identity<cacheflight::cancelled_error>(), [&](auto& g, auto&, auto&) { g.clear(); });
    fails_with(type_identity<cacheflight::abandoned_error>(),
               [](auto&, auto& task, auto&) { task.answer.reset(); });
    fails_with(type_identity<cacheflight::timeout_error>(), [](auto& g, auto&, auto&) { pass(g, 2h); });
    fails_with(
        type_identity<cacheflight::timeout_error>(), [](auto& g, auto&, auto&) { pass(g, 2s); },
        run_options().wait_timeout(1s));
    fails_with(type_identity<typename TypeParam::stopped>(),
               [](auto&, auto&, auto& stop) { stop.request_stop(); });
  }
}

/// What is rejected because a task was abandoned names the key in its event as well.
TEST(hostile_key_event, R32_the_error_of_an_abandoned_task_does_not_tell) {
  for (auto const& key : hostile_keys()) {
    std::size_t rejected = 0;
    tally got;
    manual_group flights(cacheflight::options().on_event([&](cacheflight::event const& e) {
      if (e.type != cacheflight::event_type::task_rejected) return;
      ++rejected;
      expect_discreet<cacheflight::abandoned_error>(e.error, key);
    }));
    held<int> task;
    flights.start(key, task.task(), got.callback());
    task.answer.reset();
    EXPECT_EQ(rejected, 1U);
  }
}

}  // namespace
