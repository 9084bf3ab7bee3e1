// expect: returns a coroutine that only coroutines of its own library can await

// Which it learns from a promise of its own kind, and not from operator co_await: nobody else can tell that
// from a value.
#include <cacheflight/blocking.hpp>
#include <cacheflight/coroutine.hpp>

#include <coroutine>

struct exclusive {
  struct promise_type {
    exclusive get_return_object();
    std::suspend_always initial_suspend();
    std::suspend_always final_suspend() noexcept;
    void unhandled_exception();
    void return_value(int);
  };
};
exclusive load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
