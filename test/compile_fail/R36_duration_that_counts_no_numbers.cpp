// expect: counts in a type that does not convert to a number
#include <cacheflight/cacheflight.hpp>

struct ticks {
  long long count;
};
auto const opts = cacheflight::run_options().timeout(std::chrono::duration<ticks>(ticks{1}));
