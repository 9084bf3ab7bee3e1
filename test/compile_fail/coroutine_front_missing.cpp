// expect: returns an awaitable whose front is not included
#include <cacheflight/cacheflight.hpp>

#include <coroutine>

struct awaitable {
  bool await_ready();
  void await_suspend(std::coroutine_handle<>);
  int await_resume();
};
awaitable load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
