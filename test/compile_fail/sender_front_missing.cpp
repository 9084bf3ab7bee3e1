// expect: returns a sender: #include <cacheflight/sender.hpp>
#include <cacheflight/cacheflight.hpp>

struct sender {
  using sender_concept = void;
};
sender load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run("key", load)); }
