// SPDX-License-Identifier: MIT
#include "chaos.hpp"

namespace {

// Tasks that throw are in test/multi_throw: what several threads rethrow looks like a race to TSan.
TEST(stress, chaos) { stress::chaos(stress::seed(), stress::operations(60'000), false).run(); }

}  // namespace
