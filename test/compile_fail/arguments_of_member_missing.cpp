// expect: cannot be called with these arguments.*use std::ref for a reference
#include <cacheflight/asio.hpp>

struct database {
  boost::asio::awaitable<int> load(int id);
};

void caller(cacheflight::group& flights, database& db) {
  static_cast<void>(flights.run("key", &database::load, &db));
}
