// expect: this group's keys are text: make one with cacheflight::make_key
#include <cacheflight/cacheflight.hpp>

bool caller(cacheflight::group& flights) { return flights.has(7); }
