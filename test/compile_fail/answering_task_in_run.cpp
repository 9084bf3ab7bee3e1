// expect: a task that answers through a completion is for start
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

void caller(cacheflight::group& flights) {
  auto task = cacheflight::answering<int>([](cacheflight::completion<int> done) { done.set_value(1); });
  static_cast<void>(flights.run("key", task));
}
