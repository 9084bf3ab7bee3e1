// SPDX-License-Identifier: MIT

// bad_alloc at every allocation: the Asio front.

#include "asio_fronts.hpp"
#include "sweep.hpp"

namespace faults {
namespace {

/// What Asio 1.26 does not survive. Exactly these allocations are left alone.
std::array limits{
    known_limit{"strand_executor_service21create_implementation", "__shared_count", 0,
                "make_strand: the control block of a new strand; its clean-up reads what is not set yet"},
    known_limit{"strand_executor_service21create_implementation", nullptr, sizeof(net::detail::mutex),
                "make_strand: the mutex of a new strand; the same"},
    known_limit{"on_invoker_exit", nullptr, 0, "a strand with more work posts itself, in a destructor"},
    known_limit{"awaitable_threadINS0_15any_io_executorEED", nullptr, 0,
                "a coroutine that cannot go on posts its own destruction, in a destructor"},
};

using fronts =
    testing::Types<asio_coroutine<false>, asio_coroutine<true>, asio_handler<false, task_on::leader>,
                   asio_handler<true, task_on::leader>, asio_handler<false, task_on::other>>;
TYPED_TEST_SUITE(bad_alloc, fronts, front_names);

TYPED_TEST(bad_alloc, at_every_allocation_fails_that_call_alone) {
  injection::limits = limits;
  for (known_limit& each : limits) each.spared = 0;
  asio_base::out_of_run = 0;
  tally const sum = sweep_all<TypeParam>(all_scripts());
  EXPECT_GT(sum.points, 40) << "vacuous";
  for (known_limit const& each : limits) std::printf("  %4ld times spared: %s\n", each.spared, each.why);
  std::printf("  %4ld times std::bad_alloc left the context's run()\n", asio_base::out_of_run);
  injection::limits = {};
}

}  // namespace
}  // namespace faults
