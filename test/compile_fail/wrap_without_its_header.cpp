// expect: wrap is in a header that is not included: #include <cacheflight/wrap.hpp>
#include <cacheflight/blocking.hpp>

int load(int id);

auto caller(cacheflight::group& flights) { return cacheflight::wrap(flights, "user", load); }
