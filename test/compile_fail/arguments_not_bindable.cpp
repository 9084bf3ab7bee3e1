// expect: cannot be called with these arguments.*use std::ref for a reference
#include <cacheflight/cacheflight.hpp>

int load(int& number);

void caller(cacheflight::group& flights, int& number) { static_cast<void>(flights.run("key", load, number)); }
