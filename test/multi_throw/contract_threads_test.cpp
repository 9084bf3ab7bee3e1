// SPDX-License-Identifier: MIT

// The scenarios through the blocking front. Here, because one exception is rethrown on several threads.

#include "../contract/thread_front.hpp"

namespace cacheflight_test {

using fronts = testing::Types<thread_front>;

}  // namespace cacheflight_test

#include "../contract/scenarios.hpp"
