// expect: nullptr is no key
#include <cacheflight/blocking.hpp>

int load();

int caller(cacheflight::group& flights) { return *flights.run(nullptr, load); }
