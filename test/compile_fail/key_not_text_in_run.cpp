// expect: this group's keys are text: make one with cacheflight::make_key
#include <cacheflight/asio.hpp>

boost::asio::awaitable<int> load();

void caller(cacheflight::group& flights) { static_cast<void>(flights.run(7, load)); }
