// SPDX-License-Identifier: MIT
//
// docs/guides/testing.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <atomic>
#include <latch>
#include <string>
#include <thread>
#include <vector>

namespace docs::testing_guide {
#include "testing/testing-code-that-uses-it.inc"
}  // namespace docs::testing_guide
