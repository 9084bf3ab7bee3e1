// SPDX-License-Identifier: MIT
// A program that uses the Asio front.
#ifdef SINGLE_HEADER
#include SINGLE_HEADER
#else
#include <cacheflight/asio.hpp>
#include <cacheflight/cacheflight.hpp>
#include <cacheflight/version.hpp>
#endif

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <memory>

#ifdef EXPECTED_VERSION  // what CMake believes, as major * 10000 + minor * 100 + patch
static_assert(EXPECTED_VERSION == CACHEFLIGHT_VERSION_MAJOR * 10000 + CACHEFLIGHT_VERSION_MINOR * 100 +
                                      CACHEFLIGHT_VERSION_PATCH);
#endif

namespace net = boost::asio;

static net::awaitable<int> twice(int number) { co_return 2 * number; }

static net::awaitable<void> ask(cacheflight::group& flights, int& answer) {
  std::shared_ptr<int const> const result = co_await flights.run("key", twice, 21);
  answer = *result;
}

int main() {
  net::io_context context;
  cacheflight::group flights;
  int answer = 0;
  net::co_spawn(context, ask(flights, answer), net::detached);
  context.run();
  return answer == 42 && flights.stats().resolved == 1 ? 0 : 1;
}
