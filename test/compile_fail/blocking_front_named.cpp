// expect: returns a plain value.*<cacheflight/blocking.hpp>
#include <cacheflight/asio.hpp>

#include <string>

std::string load(std::string id);

void caller(cacheflight::group& flights) {
  static_cast<void>(flights.run("key", cacheflight::run_options(), load, "42"));
}
