// expect: run_options come before the task: run\(key, options, task, args...\)
#include <cacheflight/blocking.hpp>
#include <cacheflight/cacheflight.hpp>

int load(int number);

void caller(cacheflight::group& flights) {
  static_cast<void>(flights.run("key", load, 7, cacheflight::run_options().no_timeout()));
}
