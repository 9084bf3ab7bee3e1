// expect: a cast that may lose something
#include <cacheflight/blocking.hpp>

int load();

int caller(cacheflight::basic_group<int>& flights) { return *flights.run(3.9, load); }
