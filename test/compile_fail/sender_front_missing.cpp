// expect: returns a sender whose front is not included
#include <cacheflight/cacheflight.hpp>

struct sender {
  using sender_concept = void;
};
sender load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
