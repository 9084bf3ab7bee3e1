// expect: this group's keys are strings
#include <cacheflight/cacheflight.hpp>

bool caller(cacheflight::group& flights) { return flights.has(7); }
