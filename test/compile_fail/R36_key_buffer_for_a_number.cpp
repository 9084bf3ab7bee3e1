// expect: a cast that may lose something
#include <cacheflight/cacheflight.hpp>

bool caller(cacheflight::basic_group<std::uint64_t>& flights) {
  char id[16] = "first";
  return flights.cancel(id);
}
