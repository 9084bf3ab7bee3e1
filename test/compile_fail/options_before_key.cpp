// expect: run_options come after the key: run\(key, options, task, args...\)
#include <cacheflight/blocking.hpp>

int load();

void caller(cacheflight::group& flights) {
  static_cast<void>(flights.run(cacheflight::run_options().no_timeout(), "key", load));
}
