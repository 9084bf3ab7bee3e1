// SPDX-License-Identifier: MIT
#pragma once

// A coroutine library as small as one can be: what "a coroutine" costs without any scheduler.

#include <coroutine>
#include <exception>
#include <utility>

namespace bench {

/// Starts when awaited; the awaiting coroutine goes on when it is done.
class lazy {
 public:
  struct promise_type {
    struct back {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> h) noexcept {
        return h.promise().caller;
      }
      void await_resume() noexcept {}
    };
    lazy get_return_object() noexcept {
      return lazy(std::coroutine_handle<promise_type>::from_promise(*this));
    }
    std::suspend_always initial_suspend() noexcept { return {}; }
    back final_suspend() noexcept { return {}; }
    void return_value(int v) noexcept { value = v; }
    void unhandled_exception() noexcept { error = std::current_exception(); }

    std::coroutine_handle<> caller;
    int value = 0;
    std::exception_ptr error;
  };

  explicit lazy(std::coroutine_handle<promise_type> h) noexcept : frame_(h) {}
  lazy(lazy&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  lazy& operator=(lazy&&) = delete;
  ~lazy() {
    if (frame_) frame_.destroy();
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    frame_.promise().caller = caller;
    return frame_;
  }
  int await_resume() {
    if (frame_.promise().error) std::rethrow_exception(frame_.promise().error);
    return frame_.promise().value;
  }

 private:
  std::coroutine_handle<promise_type> frame_;
};

/// Starts at once, frees itself.
struct detached {
  struct promise_type {
    detached get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
  };
};

/// A list of suspended coroutines, whose nodes live in their frames, resumed in the order in which they came.
class gate {
 public:
  struct awaiter {
    gate* at;
    std::coroutine_handle<> waiting{};
    awaiter* next = nullptr;
    bool await_ready() noexcept { return false; }
    void await_suspend(std::coroutine_handle<> h) noexcept {
      waiting = h;
      *at->last_ = this;
      at->last_ = &next;
    }
    void await_resume() noexcept {}
  };
  [[nodiscard]] awaiter wait() noexcept { return {this}; }
  void open() {
    awaiter* w = std::exchange(first_, nullptr);
    last_ = &first_;
    while (w) std::exchange(w, w->next)->waiting.resume();
  }

 private:
  friend struct awaiter;
  awaiter* first_ = nullptr;
  awaiter** last_ = &first_;
};

}  // namespace bench
