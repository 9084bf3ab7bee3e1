// SPDX-License-Identifier: MIT

// bad_alloc at every allocation: the fronts that need only the standard library.

#include "std_fronts.hpp"
#include "sweep.hpp"

namespace faults {
namespace {

using fronts = testing::Types<hand_front, coroutine_front<false>, coroutine_front<true>,
                              callback_front<false>, callback_front<true>, on_front<false>, on_front<true>,
                              sender_front, thread_front<false>, thread_front<true>>;
TYPED_TEST_SUITE(bad_alloc, fronts, front_names);

TYPED_TEST(bad_alloc, at_every_allocation_fails_that_call_alone) {
  tally const sum = sweep_all<TypeParam>(all_scripts());
  EXPECT_GT(sum.points, 40) << "vacuous";
}

}  // namespace
}  // namespace faults
