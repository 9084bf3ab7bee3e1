// expect: the task, or an argument, can be neither copied nor moved into the call
#include <cacheflight/blocking.hpp>

#include <mutex>

int load(std::mutex& mutex);

void caller(cacheflight::group& flights, std::mutex& mutex) {
  static_cast<void>(flights.run("key", load, mutex));
}
