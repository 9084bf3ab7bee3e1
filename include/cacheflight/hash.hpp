// SPDX-License-Identifier: MIT
#pragma once

/// How keys are hashed and compared.

#include <cacheflight/detail/key.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <string_view>

namespace cacheflight::inline v1 {

/// SipHash-1-3 of text, keyed with a random 128-bit seed that each object draws for itself: whoever chooses
/// the keys cannot aim them at one bucket (rule 32). Transparent: `std::string`, `std::string_view` and
/// literals hash alike. Copies share the seed.
class keyed_string_hash {
 public:
  using is_transparent = void;  ///< Takes every kind of text.

  /// Draws a seed from the operating system. Throws what `std::random_device` throws.
  keyed_string_hash() {
    std::random_device entropy;
    for (auto* half : {&seed0_, &seed1_}) *half = (std::uint64_t{entropy()} << 32) | entropy();
  }
  /// A fixed seed, for reproducible tests.
  constexpr keyed_string_hash(std::uint64_t seed0, std::uint64_t seed1) noexcept
      : seed0_(seed0), seed1_(seed1) {}

  /// The hash of the bytes.
  [[nodiscard]] std::size_t operator()(std::string_view text) const noexcept {
    state v{seed0_ ^ 0x736f6d6570736575, seed1_ ^ 0x646f72616e646f6d, seed0_ ^ 0x6c7967656e657261,
            seed1_ ^ 0x7465646279746573};
    char const* at = text.data();
    std::size_t left = text.size();
    for (; left >= 8; at += 8, left -= 8) v = v.with(load<std::uint64_t>(at));
    std::uint64_t last = static_cast<std::uint64_t>(text.size()) << 56;
    unsigned shift = 0;
    if (left & 4) last |= load<std::uint32_t>(at), at += 4, shift = 32;
    if (left & 2) last |= load<std::uint16_t>(at) << shift, at += 2, shift += 16;
    if (left & 1) last |= load<std::uint8_t>(at) << shift;
    v = v.with(last);
    v.c ^= 0xff;
    v = v.round().round().round();
    return static_cast<std::size_t>(v.a ^ v.b ^ v.c ^ v.d);
  }

 private:
  /// By value, so that it stays in registers; it does not if a compiler that has much else to inline leaves
  /// these two out.
  struct state {
    std::uint64_t a, b, c, d;

    [[nodiscard, gnu::always_inline]] constexpr state round() const noexcept {
      state s = *this;
      s.a += s.b, s.b = std::rotl(s.b, 13) ^ s.a, s.a = std::rotl(s.a, 32);
      s.c += s.d, s.d = std::rotl(s.d, 16) ^ s.c;
      s.a += s.d, s.d = std::rotl(s.d, 21) ^ s.a;
      s.c += s.b, s.b = std::rotl(s.b, 17) ^ s.c, s.c = std::rotl(s.c, 32);
      return s;
    }
    [[nodiscard, gnu::always_inline]] constexpr state with(std::uint64_t word) const noexcept {
      state s = *this;
      s.d ^= word;
      s = s.round();
      s.a ^= word;
      return s;
    }
  };

  /// A little-endian word of `sizeof(Word)` bytes.
  template <class Word>
  [[nodiscard]] static std::uint64_t load(char const* from) noexcept {
    if constexpr (std::endian::native == std::endian::little) {
      Word word;
      std::memcpy(&word, from, sizeof word);
      return word;
    } else {
      std::uint64_t word = 0;
      for (std::size_t i = 0; i < sizeof(Word); ++i)
        word |= static_cast<std::uint64_t>(static_cast<unsigned char>(from[i])) << (8 * i);
      return word;
    }
  }

  std::uint64_t seed0_, seed1_;
};

/// Equality of the bytes, for every kind of text alike.
struct string_equal {
  using is_transparent = void;  ///< Takes every kind of text.
  /// Whether the bytes are the same.
  [[nodiscard]] constexpr bool operator()(std::string_view a, std::string_view b) const noexcept {
    return a == b;
  }
};

namespace detail {

/// Text and nothing else.
template <class Key>
inline constexpr bool plain_text = false;
template <class Allocator>
inline constexpr bool plain_text<std::basic_string<char, std::char_traits<char>, Allocator>> = true;
template <>
inline constexpr bool plain_text<std::string_view> = true;

template <class Key>
concept has_std_hash =
    std::default_initializable<std::hash<Key>> && std::invocable<std::hash<Key> const&, Key const&>;

/// The bytes of its text are what counts, because it says nothing else.
template <class Key>
concept compared_as_text =
    string_like<Key> && (plain_text<Key> || (!has_std_hash<Key> && !std::equality_comparable<Key>));

template <class Key>
struct hash_for {
  using hash = std::hash<Key>;
  using equal = std::equal_to<Key>;
};
template <compared_as_text Key>
struct hash_for<Key> {
  using hash = keyed_string_hash;
  using equal = string_equal;
};

}  // namespace detail

/// The hash that a group uses unless told otherwise. Keyed for text: `std::basic_string<char>` with any
/// allocator, and classes that convert to `std::string_view` and have neither `==` nor `std::hash`.
/// `std::hash` for all others, which has no secret: if strangers choose such keys, use text keys, or give the
/// group a keyed `Hash` of your own.
template <class Key>
using default_hash = typename detail::hash_for<Key>::hash;

/// The equality that a group uses unless told otherwise: of the bytes for what `default_hash` takes for text,
/// `==` for all others.
template <class Key>
using default_equal = typename detail::hash_for<Key>::equal;

}  // namespace cacheflight::inline v1
