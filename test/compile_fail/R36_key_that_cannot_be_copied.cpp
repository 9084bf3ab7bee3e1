// expect: this key cannot be copied into the call: move it
#include <cacheflight/blocking.hpp>

int load();

int caller(cacheflight::basic_group<std::unique_ptr<int>>& flights, std::unique_ptr<int>& key) {
  return *flights.run(key, load);
}
