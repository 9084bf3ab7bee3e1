// SPDX-License-Identifier: MIT
// What scripts/lint-co-await must find. Never built: g++ 12 makes it crash.
#include <coroutine>
#include <string>

struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() {}
  };
};

template <class Function>
std::suspend_never run(Function) {
  return {};
}

task offender(std::string id) {
  co_await run([id] { return id; });
}
