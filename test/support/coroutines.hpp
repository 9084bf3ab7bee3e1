// SPDX-License-Identifier: MIT
#pragma once

// Coroutine types of different manners.

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

namespace cacheflight_test {

/// Starts at once, belongs to nobody, frees itself.
struct eager {
  struct promise_type {
    eager get_return_object() noexcept { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

/// Starts at once; its frame belongs to the test, which may destroy it while it is suspended.
struct owned {
  struct promise_type {
    owned get_return_object() noexcept { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() noexcept {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

/// Starts when it is awaited, and transfers back symmetrically when it is done. Owned by this object.
template <class T>
class lazy {
 public:
  class promise_type;
  using handle = std::coroutine_handle<promise_type>;

  class promise_base {
   public:
    std::suspend_always initial_suspend() noexcept { return {}; }
    struct back {
      bool await_ready() noexcept { return false; }
      std::coroutine_handle<> await_suspend(handle h) noexcept { return h.promise().continuation; }
      void await_resume() noexcept {}
    };
    back final_suspend() noexcept { return {}; }
    void unhandled_exception() noexcept { error = std::current_exception(); }

    std::coroutine_handle<> continuation;
    std::exception_ptr error;
  };
  class promise_type : public promise_base {
   public:
    lazy get_return_object() noexcept { return lazy(handle::from_promise(*this)); }
    void return_value(T v) { value.emplace(std::move(v)); }
    std::optional<T> value;
  };

  explicit lazy(handle h) noexcept : handle_(h) {}
  lazy(lazy&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  lazy& operator=(lazy&&) = delete;
  ~lazy() {
    if (handle_) handle_.destroy();
  }

  struct awaiter {
    handle h;
    bool await_ready() noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
      h.promise().continuation = caller;
      return h;
    }
    T await_resume() {
      if (h.promise().error) std::rethrow_exception(h.promise().error);
      return std::move(*h.promise().value);
    }
  };
  auto operator co_await() && noexcept { return awaiter{handle_}; }

 private:
  handle handle_;
};

}  // namespace cacheflight_test
