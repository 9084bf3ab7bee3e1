// SPDX-License-Identifier: MIT

// The scenarios through the fronts that share detail/turns.hpp and detail/launch.hpp.

#include "contract/fixture.hpp"

namespace cacheflight_test {
using fronts = testing::Types<coroutine_front, callback_front, sender_front>;
}  // namespace cacheflight_test

#include "contract/scenarios.hpp"
