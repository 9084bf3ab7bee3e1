// SPDX-License-Identifier: MIT
// A program of its own, because it can run long: chaos [--operations N] [--seed S].
#include "chaos.hpp"

#include <cstring>

namespace {

using stress::callers;
using stress::chaos;

std::uint64_t wanted = 0, chosen_seed = 0;

/// In rounds, since what happened is remembered until a round's end. Each prints its seed; as the seed of a
/// run it makes that round the first.
void rounds(callers who) {
  constexpr std::uint64_t longest = 240'000;
  std::uint64_t seed =
      chosen_seed != 0 ? chosen_seed : stress::from_environment("CACHEFLIGHT_SEED", std::random_device()());
  for (std::uint64_t left = wanted; left > 0 && !testing::Test::HasFailure(); ++seed) {
    std::uint64_t const operations = left < longest ? left : longest;
    std::printf("--seed %llu --operations %llu\n", static_cast<unsigned long long>(seed),
                static_cast<unsigned long long>(operations));
    std::fflush(stdout);
    chaos(seed, operations, who).run();
    left -= operations;
  }
}

// What several threads rethrow looks like a race to TSan, unless it is told more: these two are separate
// tests of ctest.
TEST(chaos, asio) { rounds(callers::asio); }
TEST(chaos, mixed) { rounds(callers::mixed); }

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  wanted = stress::operations(60'000);
  for (int i = 1; i < argc; i += 2) {
    std::uint64_t* const number = std::strcmp(argv[i], "--operations") == 0 ? &wanted
                                  : std::strcmp(argv[i], "--seed") == 0     ? &chosen_seed
                                                                            : nullptr;
    if (!number || i + 1 == argc)
      return std::fprintf(stderr, "usage: chaos [--operations N] [--seed S]\n"), 2;
    *number = std::strtoull(argv[i + 1], nullptr, 0);
  }
  return RUN_ALL_TESTS();
}
