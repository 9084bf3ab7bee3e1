// expect: the task cannot be called with these arguments: too few, too many, or of other types
#include <cacheflight/blocking.hpp>

int load(int id);

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
