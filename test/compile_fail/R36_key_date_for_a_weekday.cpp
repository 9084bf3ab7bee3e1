// expect: a cast that may lose something
#include <cacheflight/cacheflight.hpp>

#include <chrono>
#include <cstddef>

struct weekday_hash {
  std::size_t operator()(std::chrono::weekday day) const { return day.c_encoding(); }
};

bool caller(cacheflight::basic_group<std::chrono::weekday, weekday_hash>& flights,
            std::chrono::sys_days day) {
  return flights.has(day);
}
