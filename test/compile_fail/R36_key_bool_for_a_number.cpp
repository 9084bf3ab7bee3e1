// expect: a cast that may lose something
#include <cacheflight/callback.hpp>

int load();

void caller(cacheflight::basic_group<int>& flights) {
  flights.start(true, load, [](std::exception_ptr, std::shared_ptr<int const>) {});
}
