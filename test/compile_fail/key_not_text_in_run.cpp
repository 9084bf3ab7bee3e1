// expect: this group's keys are strings
#include <cacheflight/asio.hpp>

boost::asio::awaitable<int> load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run(7, load)); }
