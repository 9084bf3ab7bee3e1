// SPDX-License-Identifier: MIT
// A program that has the core only: no Boost.
#include <cacheflight/cacheflight.hpp>
#include <cacheflight/version.hpp>

#include <chrono>

#if defined(BOOST_VERSION) || defined(BOOST_ASIO_VERSION) || defined(ASIO_VERSION)
#error "the core includes Boost or Asio"
#endif

int main() {
  cacheflight::group flights{cacheflight::options().max_keys(100).default_timeout(std::chrono::seconds(5))};
  bool const empty = !flights.has("key") && flights.size() == 0 && flights.stats().misses == 0;
  return empty && !flights.cancel("key") ? 0 : 1;
}
