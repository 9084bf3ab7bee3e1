// SPDX-License-Identifier: MIT
//
// docs/guides/reference.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <chrono>

namespace docs::reference {
using namespace std::chrono_literals;

int events = 0;
void count(cacheflight::event const&) { ++events; }
TEST(docs_reference, options) {
#include "reference/the-group.inc"
  (void)flights.run("key", [] { return 1; });
  EXPECT_EQ(events, 3);
}

}  // namespace docs::reference
