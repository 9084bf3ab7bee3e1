// expect: use of deleted function|call to deleted constructor
#include <cacheflight/cacheflight.hpp>

cacheflight::group copy(cacheflight::group& flights) { return flights; }
