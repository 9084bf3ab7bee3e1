// SPDX-License-Identifier: MIT
#pragma once

// SHA-256, for names of types that two libraries agree on. Nothing here is about secrets.

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace cacheflight::inline v1::detail {

/// SHA-256 (FIPS 180-4) as 64 lower-case hexadecimal digits. For what is public: nothing here is about
/// secrets.
[[nodiscard]] constexpr std::array<char, 64> sha256(std::string_view text) noexcept {
  constexpr std::array<std::uint32_t, 64> k{
      0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
      0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
      0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
      0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
      0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
      0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
      0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
      0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
  std::array<std::uint32_t, 8> state{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint32_t, 64> w{};

  // The blocks that are full of text, then one or two with the rest, one bit, zeros, and the length in bits.
  std::array<char, 128> end{};
  std::size_t const full = text.size() / 64, rest = text.size() % 64;
  std::size_t const ends = rest < 56 ? 1 : 2;
  for (std::size_t i = 0; i < rest; ++i) end[i] = text[full * 64 + i];
  end[rest] = static_cast<char>(0x80);
  for (std::size_t i = 0; i < 8; ++i)
    end[ends * 64 - 1 - i] = static_cast<char>((std::uint64_t{text.size()} * 8) >> (8 * i) & 0xff);

  for (std::size_t block = 0; block < full + ends; ++block) {
    char const* const from = block < full ? text.data() + block * 64 : end.data() + (block - full) * 64;
    auto const byte = [from](std::size_t at) noexcept {
      return static_cast<std::uint32_t>(static_cast<unsigned char>(from[at]));
    };
    for (std::size_t i = 0; i < 64; i += 4)
      w[i / 4] = byte(i) << 24 | byte(i + 1) << 16 | byte(i + 2) << 8 | byte(i + 3);
    for (std::size_t i = 16; i < 64; ++i) {
      std::uint32_t const a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (std::rotr(a, 7) ^ std::rotr(a, 18) ^ (a >> 3)) + w[i - 7] +
             (std::rotr(b, 17) ^ std::rotr(b, 19) ^ (b >> 10));
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (std::size_t i = 0; i < 64; ++i) {
      std::uint32_t const t1 =
          h + (std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25)) + ((e & f) ^ (~e & g)) + k[i] + w[i];
      std::uint32_t const t2 =
          (std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }

  std::array<char, 64> digits{};
  for (std::size_t i = 0; i < 64; ++i)
    digits[i] = "0123456789abcdef"[(state[i / 8] >> (28 - 4 * (i % 8))) & 15];
  return digits;
}

}  // namespace cacheflight::inline v1::detail
