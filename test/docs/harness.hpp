// SPDX-License-Identifier: MIT
#pragma once

/// What the pages of the documentation speak of without showing it: a user, a thread pool, a coroutine type.

#include "support/coroutines.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <coroutine>
#include <cstddef>
#include <deque>
#include <exception>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <mutex>
#include <optional>
#include <streambuf>
#include <string>
#include <thread>
#include <utility>

namespace docs {

struct user {
  std::string id, name;
};

/// Keeps what is written to std::cout, also by several threads at once, to be compared with what a page says.
class printed : std::streambuf {
 public:
  printed() : before_(std::cout.rdbuf(this)) {}
  printed(printed const&) = delete;
  printed& operator=(printed const&) = delete;
  ~printed() override { std::cout.rdbuf(before_); }
  [[nodiscard]] std::string text() const {
    std::lock_guard const lock(mutex_);
    return text_;
  }

 private:
  std::streamsize xsputn(char const* from, std::streamsize count) override {
    std::lock_guard const lock(mutex_);
    text_.append(from, static_cast<std::size_t>(count));
    return count;
  }
  int overflow(int c) override {
    char const one = traits_type::to_char_type(c);
    xsputn(&one, 1);
    return c;
  }

  mutable std::mutex mutex_;
  std::string text_;
  std::streambuf* before_;
};

/// The text of a block of output; ctest runs the program where these are.
[[nodiscard]] inline std::string page_says(char const* file) {
  std::ifstream in(file);
  EXPECT_TRUE(in) << "cannot open " << file << ": run this through ctest";
  return {std::istreambuf_iterator<char>(in), {}};
}

/// One thread that does what it is given, and all of it before it is destroyed.
class pool {
 public:
  ~pool() { push(nullptr); }
  void push(std::function<void()> f) {
    {
      std::lock_guard const lock(mutex_);
      queue_.push_back(std::move(f));
    }
    changed_.notify_one();
  }
  void post(std::function<void()> f) { push(std::move(f)); }

 private:
  void run() {
    for (;;) {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return !queue_.empty(); });
      auto const f = std::move(queue_.front());
      queue_.pop_front();
      lock.unlock();
      if (!f) return;
      f();
    }
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> queue_;
  std::jthread thread_{[this] { run(); }};
};
using event_loop = pool;

template <class T>
using task = cacheflight_test::lazy<T>;

/// Awaits a task where there is no coroutine.
template <class T>
cacheflight_test::eager run_into(std::optional<T>& result, task<T> what) {
  result = co_await std::move(what);
}

/// Waiters sleep in the group; nothing else tells from outside that they do.
template <class Group>
void await_waiters(Group const& flights, std::size_t count) {
  while (flights.stats().waiters < count) std::this_thread::yield();
}

}  // namespace docs
