// SPDX-License-Identifier: MIT
// A program that has the standard library only: no Boost.
#ifdef SINGLE_HEADER
#include SINGLE_HEADER
#else
#include <cacheflight/blocking.hpp>
#include <cacheflight/cacheflight.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/future.hpp>
#include <cacheflight/sender.hpp>
#include <cacheflight/version.hpp>
#include <cacheflight/wrap.hpp>
#endif

#include <chrono>

#if defined(BOOST_VERSION) || defined(BOOST_ASIO_VERSION) || defined(ASIO_VERSION)
#error "the core includes Boost or Asio"
#endif

static int twice(int number) { return 2 * number; }

int main() {
  cacheflight::group flights{cacheflight::options().max_keys(100).default_timeout(std::chrono::seconds(5))};
  bool const empty = !flights.has("key") && flights.size() == 0 && flights.stats().misses == 0;
  auto const get = cacheflight::wrap(flights, "twice", twice);
  int const answer = *get(21);
  return empty && answer == 42 && flights.stats().resolved == 1 && !flights.cancel(get.key(21)) ? 0 : 1;
}
