// SPDX-License-Identifier: MIT
#include "process/plugin.hpp"

#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <support/coroutines.hpp>

#include <atomic>
#include <cstddef>
#include <exception>
#include <memory>
#include <new>
#include <optional>
#include <utility>

namespace plugin {

struct service {
  cacheflight::group flights;
  std::optional<cacheflight::completion<std::shared_ptr<int const>>> up;
  std::shared_ptr<int const> answer = std::make_shared<int const>(5);
  std::shared_ptr<int const> result;
  std::atomic<int> turns{0};
  outcome awaited = outcome::pending;
};

namespace {

outcome what_happened(std::exception_ptr const& error) {
  try {
    if (!error) return outcome::value;
    std::rethrow_exception(error);
  } catch (std::bad_alloc const&) {
    return outcome::no_memory;
  } catch (...) {
    return outcome::other;
  }
}

service* open() {
  auto* const s = new service;
  s->flights.start(
      "up",
      cacheflight::answering<std::shared_ptr<int const>>(
          [s](cacheflight::completion<std::shared_ptr<int const>> done) { s->up.emplace(std::move(done)); }),
      [s](std::exception_ptr, std::shared_ptr<int const>) { ++s->turns; });
  s->result = s->flights.run("other", [] { return 1; });
  return s;
}

void close(service* s) { delete s; }

std::size_t waiters(service* s) { return s->flights.stats().waiters; }

int answer(service* s) {
  int const before = s->turns;
  s->up->set_value(std::move(s->answer));
  return s->turns - before;
}

int join(service* s) {
  try {
    return *s->flights.run("up", [] { return 1; });
  } catch (...) {
    return 0;
  }
}

bool drop_last(service* s) {
  bool const last = s->result.use_count() == 1;
  s->result.reset();
  return last;
}

outcome lead(service* s) {
  try {
    (void)s->flights.run("other", [] { return 1; });
    return outcome::value;
  } catch (...) {
    return what_happened(std::current_exception());
  }
}

outcome start(service* s) {
  try {
    s->flights.start("up", [] { return 1; }, [](std::exception_ptr, std::shared_ptr<int const>) {});
    return outcome::pending;
  } catch (...) {
    return what_happened(std::current_exception());
  }
}

cacheflight_test::lazy<int> another() { co_return 1; }

cacheflight_test::eager wait_for_it(service* s) {
  try {
    (void)co_await s->flights.run("up", another);
    ++s->turns;
  } catch (...) {
    s->awaited = what_happened(std::current_exception());
  }
}

outcome await(service* s) {
  wait_for_it(s);
  return s->awaited;
}

}  // namespace

uses const all{open, close, waiters, answer, join, drop_last, lead, start, await};

}  // namespace plugin

extern "C" [[gnu::visibility("default")]] plugin::uses const cacheflight_plugin;
plugin::uses const cacheflight_plugin = plugin::all;
