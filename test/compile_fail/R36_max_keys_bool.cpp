// expect: max_keys is a number, not a bool or a character
#include <cacheflight/cacheflight.hpp>

auto const opts = cacheflight::options().max_keys(true);
