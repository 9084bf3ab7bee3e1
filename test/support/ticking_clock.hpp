// SPDX-License-Identifier: MIT
#pragma once

#include <chrono>

namespace cacheflight_test {

/// A clock that a program with one thread sets. (Where threads meet: `manual_clock`.)
struct ticking_clock {
  using duration = std::chrono::nanoseconds;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::time_point<ticking_clock>;
  static constexpr bool is_steady = true;
  static time_point now() noexcept { return time_point(duration(ticks)); }
  static inline rep ticks = 0;
};

}  // namespace cacheflight_test
