// SPDX-License-Identifier: MIT

// The scenarios through the front that is driven by hand: all of the core, no runtime.

#include "contract/fixture.hpp"

namespace cacheflight_test {
using fronts = testing::Types<hand_front>;
}  // namespace cacheflight_test

#include "contract/scenarios.hpp"
