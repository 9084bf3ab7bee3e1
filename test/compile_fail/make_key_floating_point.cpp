// expect: a floating-point number cannot be part of a key
#include <cacheflight/keys.hpp>

auto const key = cacheflight::make_key("tile", 48.2, 16.4);
