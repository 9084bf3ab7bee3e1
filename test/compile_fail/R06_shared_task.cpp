// expect: awaitable yields an lvalue reference, as a shared task does
#include <cacheflight/coroutine.hpp>

#include <coroutine>

struct shared_task {
  bool await_ready();
  void await_suspend(std::coroutine_handle<>);
  int& await_resume();
};
shared_task load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
