// SPDX-License-Identifier: MIT
#pragma once

#include <cacheflight/detail/key.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string_view>

namespace cacheflight::inline v1 {

/// SipHash-1-3 of text, keyed with a random 128-bit seed that each object draws for itself: whoever chooses the keys
/// cannot aim them at one bucket (rule 32). Transparent: `std::string`, `std::string_view` and literals hash alike.
/// Copies share the seed.
class keyed_string_hash {
 public:
  using is_transparent = void;

  /// Draws a seed from the operating system. Throws what `std::random_device` throws.
  keyed_string_hash() {
    std::random_device entropy;
    for (auto* half : {&seed0_, &seed1_}) *half = (std::uint64_t{entropy()} << 32) | entropy();
  }
  /// A fixed seed, for reproducible tests.
  constexpr keyed_string_hash(std::uint64_t seed0, std::uint64_t seed1) noexcept : seed0_(seed0), seed1_(seed1) {}

  [[nodiscard]] std::size_t operator()(std::string_view text) const noexcept {
    std::uint64_t v0 = seed0_ ^ 0x736f6d6570736575, v1 = seed1_ ^ 0x646f72616e646f6d;
    std::uint64_t v2 = seed0_ ^ 0x6c7967656e657261, v3 = seed1_ ^ 0x7465646279746573;
    auto const round = [&]() noexcept {
      v0 += v1, v1 = std::rotl(v1, 13), v1 ^= v0, v0 = std::rotl(v0, 32);
      v2 += v3, v3 = std::rotl(v3, 16), v3 ^= v2;
      v0 += v3, v3 = std::rotl(v3, 21), v3 ^= v0;
      v2 += v1, v1 = std::rotl(v1, 17), v1 ^= v2, v2 = std::rotl(v2, 32);
    };
    char const* at = text.data();
    std::size_t left = text.size();
    for (; left >= 8; at += 8, left -= 8) {
      std::uint64_t word;
      std::memcpy(&word, at, 8);
      v3 ^= little_endian(word), round(), v0 ^= little_endian(word);
    }
    std::uint64_t last = static_cast<std::uint64_t>(text.size()) << 56;
    for (std::size_t i = 0; i < left; ++i)
      last |= static_cast<std::uint64_t>(static_cast<unsigned char>(at[i])) << (8 * i);
    v3 ^= last, round(), v0 ^= last;
    v2 ^= 0xff, round(), round(), round();
    return static_cast<std::size_t>(v0 ^ v1 ^ v2 ^ v3);
  }

 private:
  [[nodiscard]] static constexpr std::uint64_t little_endian(std::uint64_t word) noexcept {
    if constexpr (std::endian::native == std::endian::big) {
      std::uint64_t swapped = 0;
      for (int i = 0; i < 8; ++i, word >>= 8) swapped = (swapped << 8) | (word & 0xff);
      return swapped;
    } else {
      return word;
    }
  }

  std::uint64_t seed0_, seed1_;
};

/// Equality of the bytes, for every kind of text alike.
struct string_equal {
  using is_transparent = void;
  [[nodiscard]] constexpr bool operator()(std::string_view a, std::string_view b) const noexcept { return a == b; }
};

namespace detail {

template <class Key>
struct hash_for {
  using hash = std::hash<Key>;
  using equal = std::equal_to<Key>;
};
template <string_like Key>
struct hash_for<Key> {
  using hash = keyed_string_hash;
  using equal = string_equal;
};

}  // namespace detail

/// The hash that a group uses unless told otherwise: keyed for string-like keys, `std::hash` for others, which has no
/// secret: if strangers choose such keys, use text keys, or give the group a keyed `Hash` of your own.
template <class Key>
using default_hash = typename detail::hash_for<Key>::hash;

/// The equality that a group uses unless told otherwise: of the bytes for string-like keys, `==` for others.
template <class Key>
using default_equal = typename detail::hash_for<Key>::equal;

}  // namespace cacheflight::inline v1
