// SPDX-License-Identifier: MIT
#include "stress/chaos.hpp"

namespace {

TEST(multi_throw, chaos) { stress::chaos(stress::seed(), stress::operations(60'000), true).run(); }

}  // namespace
