// SPDX-License-Identifier: MIT
#include <cacheflight/blocking.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace {

enum class number : int {};
struct number_hash {
  using is_transparent = void;
  std::size_t operator()(number n) const noexcept { return static_cast<std::size_t>(n); }
  std::size_t operator()(int n) const noexcept { return static_cast<std::size_t>(n); }
};
struct number_equal {
  using is_transparent = void;
  bool operator()(number a, number b) const noexcept { return a == b; }
  bool operator()(number a, int b) const noexcept { return static_cast<int>(a) == b; }
};

TEST(group, a_key_can_be_made_of_what_only_a_cast_converts) {
  cacheflight::basic_group<number, number_hash, number_equal> flights;
  EXPECT_EQ(*flights.run(5, [&flights] { return flights.has(5) && flights.has(number(5)) ? 7 : 0; }), 7);
}

struct alignas(16) vector4 {
  float x[4];
};

/// What only asks for eight bytes' alignment takes no block that something aligned to sixteen gets
/// afterwards.
TEST(group, results_keep_their_alignment_among_others_of_every_size) {
  auto const run = [](auto const& value) {
    cacheflight::group flights;
    auto const result = flights.run("k", [&value] { return value; });
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(result.get()) % alignof(decltype(value)), 0U);
  };
  for (int round = 0; round < 3; ++round) {
    run(vector4{});
    run(std::string("text"));
    run('c');
    run(std::array<char, 29>{});
    run(std::array<std::uint64_t, 3>{});
    run(std::array<vector4, 3>{});
    run(static_cast<long double>(1));
  }
}

}  // namespace
