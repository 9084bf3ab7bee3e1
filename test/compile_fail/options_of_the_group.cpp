// expect: options are the group's, given to its constructor; a call takes run_options
#include <cacheflight/blocking.hpp>

int load();

void caller(cacheflight::group& flights) {
  static_cast<void>(flights.run("key", cacheflight::options().max_keys(1), load));
}
