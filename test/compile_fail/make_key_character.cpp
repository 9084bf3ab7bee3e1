// expect: a single character cannot be part of a key
#include <cacheflight/keys.hpp>

auto const key = cacheflight::make_key("shelf", 'a');
