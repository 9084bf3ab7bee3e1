// SPDX-License-Identifier: MIT

// With the compiler's extensions, 128-bit integers are integers.

#include <cacheflight/keys.hpp>

#include <gtest/gtest.h>

#include <concepts>

namespace {

__extension__ using wide = unsigned __int128;
__extension__ using wide_signed = __int128;

TEST(make_key, integers_of_128_bits_are_written_whole) {
  static_assert(std::integral<wide>);
  EXPECT_EQ(cacheflight::make_key("id", ~wide(0)), "id:340282366920938463463374607431768211455");
  EXPECT_EQ(cacheflight::make_key("id", static_cast<wide_signed>(wide(1) << 127)),
            "id:-170141183460469231731687303715884105728");
}

}  // namespace
