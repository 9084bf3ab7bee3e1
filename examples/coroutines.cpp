// SPDX-License-Identifier: MIT
//
// The front for every C++20 coroutine. `lazy` stands for the coroutine type of your own library: CacheFlight
// knows nothing of it, awaits it in the task, and is awaited from it.
//
// Prints:
//     100 coroutines, 100 right answers on their own thread, 1 execution(s)
#include <cacheflight/coroutine.hpp>

#include <condition_variable>
#include <coroutine>
#include <deque>
#include <exception>
#include <functional>
#include <iostream>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

// ---- a small coroutine library ----

/// Starts when it is awaited.
template <class T>
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
    lazy get_return_object() { return lazy(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    back final_suspend() noexcept { return {}; }
    void return_value(T v) { value = std::move(v); }
    void unhandled_exception() { error = std::current_exception(); }

    std::coroutine_handle<> caller;
    std::optional<T> value;
    std::exception_ptr error;
  };

  explicit lazy(std::coroutine_handle<promise_type> h) : frame_(h) {}
  lazy(lazy&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
  lazy& operator=(lazy&&) = delete;
  ~lazy() {
    if (frame_) frame_.destroy();
  }

  bool await_ready() noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) noexcept {
    frame_.promise().caller = caller;
    return frame_;
  }
  T await_resume() {
    if (frame_.promise().error) std::rethrow_exception(frame_.promise().error);
    return std::move(*frame_.promise().value);
  }

 private:
  std::coroutine_handle<promise_type> frame_;
};

/// Starts at once and belongs to nobody.
struct fire_and_forget {
  struct promise_type {
    fire_and_forget get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
};

/// One thread that runs what it is given, until it is destroyed and has nothing left.
class event_loop {
 public:
  ~event_loop() { post(nullptr); }
  void post(std::function<void()> f) {
    {
      std::lock_guard const lock(mutex_);
      queue_.push_back(std::move(f));
    }
    changed_.notify_one();
  }
  bool is_this_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

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
  std::deque<std::function<void()>> queue_;  // guarded by mutex_
  std::jthread thread_{[this] { run(); }};
};

/// Awaited, goes on in the loop.
struct on_loop {
  event_loop& loop;
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> h) { loop.post(h); }
  void await_resume() noexcept {}
};

// ---- the example ----

struct counts {
  int executions = 0;  // on the backend's thread
  int right = 0;       // on the callers' thread, as is everything below
  std::shared_ptr<std::string const> object;
};

lazy<std::string> fetch_user(event_loop& backend, counts& seen, std::string id) {
  co_await on_loop{backend};
  ++seen.executions;
  co_return "user " + id;
}

// The flight ends on the backend's thread; `resume_on` brings each caller back to its own.
lazy<bool> get_user(cacheflight::group& flights, event_loop& callers, event_loop& backend, counts& seen,
                    std::string id) {
  auto const home = [&callers](auto resume) { callers.post(resume); };
  auto user = flights.run("user:" + id, fetch_user, std::ref(backend), std::ref(seen), id).resume_on(home);
  std::shared_ptr<std::string const> const found = co_await std::move(user);
  if (!seen.object) seen.object = found;
  co_return callers.is_this_thread() && found == seen.object && *found == "user " + id;
}

fire_and_forget caller(cacheflight::group& flights, event_loop& callers, event_loop& backend, counts& seen) {
  bool const right = co_await get_user(flights, callers, backend, seen, "42");
  if (right) ++seen.right;
}

int main() {
  counts seen;
  cacheflight::group flights;
  {
    std::latch asked(1);
    event_loop callers;
    event_loop backend;                        // goes first: what it still has to do posts to the callers
    backend.post([&asked] { asked.wait(); });  // the answer is held up until all have asked
    callers.post([&] {
      for (int i = 0; i < 100; ++i) caller(flights, callers, backend, seen);
      asked.count_down();
    });
    asked.wait();
  }
  std::cout << "100 coroutines, " << seen.right << " right answers on their own thread, " << seen.executions
            << " execution(s)\n";
  return seen.right == 100 && seen.executions == 1 ? 0 : 1;
}
