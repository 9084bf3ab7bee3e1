// expect: nullptr is no key
#include <cacheflight/cacheflight.hpp>

bool caller(cacheflight::group& flights) { return flights.has(nullptr); }
