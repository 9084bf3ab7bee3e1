// SPDX-License-Identifier: MIT
#include <cacheflight/hash.hpp>

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace {

using cacheflight::keyed_string_hash;
using cacheflight::string_equal;

// SipHash-c-d written anew after section 2 of "SipHash: a fast short-input PRF" (Aumasson, Bernstein, 2012):
// the padded message is laid out as bytes first, words are assembled byte by byte.
template <int C, int D>
std::uint64_t reference_siphash(std::uint64_t k0, std::uint64_t k1, std::vector<unsigned char> message) {
  std::array<std::uint64_t, 4> v{k0 ^ 0x736f6d6570736575ULL, k1 ^ 0x646f72616e646f6dULL,
                                 k0 ^ 0x6c7967656e657261ULL, k1 ^ 0x7465646279746573ULL};
  auto const sip_round = [&v] {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = std::rotl(v[1], 13) ^ v[0];
    v[3] = std::rotl(v[3], 16) ^ v[2];
    v[0] = std::rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = std::rotl(v[1], 17) ^ v[2];
    v[3] = std::rotl(v[3], 21) ^ v[0];
    v[2] = std::rotl(v[2], 32);
  };
  auto const length = static_cast<unsigned char>(message.size() % 256);
  while (message.size() % 8 != 7) message.push_back(0);
  message.push_back(length);
  for (std::size_t at = 0; at < message.size(); at += 8) {
    std::uint64_t word = 0;
    for (std::size_t i = 0; i < 8; ++i) word += static_cast<std::uint64_t>(message[at + i]) << (8 * i);
    v[3] ^= word;
    for (int i = 0; i < C; ++i) sip_round();
    v[0] ^= word;
  }
  v[2] ^= 0xff;
  for (int i = 0; i < D; ++i) sip_round();
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

std::vector<unsigned char> counting_bytes(std::size_t length) {
  std::vector<unsigned char> bytes(length);
  for (std::size_t i = 0; i < length; ++i) bytes[i] = static_cast<unsigned char>(i);
  return bytes;
}

std::string as_text(std::vector<unsigned char> const& bytes) {
  return std::string(bytes.begin(), bytes.end());
}

constexpr std::uint64_t paper_k0 = 0x0706050403020100, paper_k1 = 0x0f0e0d0c0b0a0908;

TEST(keyed_string_hash, the_reference_gives_the_papers_vector) {
  // Appendix A: SipHash-2-4 of the bytes 0 to 14 under the key of the bytes 0 to 15.
  EXPECT_EQ((reference_siphash<2, 4>(paper_k0, paper_k1, counting_bytes(15))), 0xa129ca6149be45e5ULL);
  // The first of the vectors that came with the paper's program: the empty message.
  EXPECT_EQ((reference_siphash<2, 4>(paper_k0, paper_k1, {})), 0x726fdb47dd0e0e31ULL);
}

TEST(keyed_string_hash, is_siphash_1_3) {
  keyed_string_hash const hash(paper_k0, paper_k1);
  for (std::size_t length = 0; length <= 300; ++length) {  // beyond 256: the length is taken modulo 256
    auto const message = counting_bytes(length);
    std::uint64_t const expected = reference_siphash<1, 3>(paper_k0, paper_k1, message);
    EXPECT_EQ(hash(as_text(message)), static_cast<std::size_t>(expected)) << "length " << length;
  }
}

TEST(keyed_string_hash, is_siphash_1_3_for_high_bytes_too) {
  keyed_string_hash const hash(0xfedcba9876543210, 0x0123456789abcdef);
  for (std::size_t length = 0; length <= 17; ++length) {
    std::vector<unsigned char> const message(length, 0xff);
    std::uint64_t const expected = reference_siphash<1, 3>(0xfedcba9876543210, 0x0123456789abcdef, message);
    EXPECT_EQ(hash(as_text(message)), static_cast<std::size_t>(expected));
  }
}

TEST(keyed_string_hash, every_object_draws_its_own_seed) {
  std::set<std::size_t> hashes;
  for (int i = 0; i < 100; ++i) hashes.insert(keyed_string_hash()("one key"));
  EXPECT_GE(hashes.size(), 99U);
}

TEST(keyed_string_hash, both_halves_of_the_seed_count) {
  EXPECT_NE(keyed_string_hash(1, 2)("key"), keyed_string_hash(1, 3)("key"));
  EXPECT_NE(keyed_string_hash(1, 2)("key"), keyed_string_hash(4, 2)("key"));
}

TEST(keyed_string_hash, copies_share_the_seed) {
  keyed_string_hash const hash;
  keyed_string_hash const copy = hash;
  EXPECT_EQ(hash("key"), copy("key"));
}

TEST(keyed_string_hash, every_kind_of_text_hashes_alike) {
  keyed_string_hash const hash;
  std::string const text = "user:42";
  char const* const pointer = "user:42";
  EXPECT_EQ(hash(text), hash("user:42"));
  EXPECT_EQ(hash(std::string_view(text)), hash(pointer));
  EXPECT_EQ(hash(text), hash(std::string_view("user:42 and more").substr(0, 7)));
  static_assert(requires { typename keyed_string_hash::is_transparent; });
}

TEST(keyed_string_hash, nul_is_a_byte_like_any_other) {
  keyed_string_hash const hash;
  using namespace std::string_view_literals;
  std::set<std::size_t> const hashes{hash(""sv),
                                     hash("\0"sv),
                                     hash("\0\0"sv),
                                     hash("a"sv),
                                     hash("a\0"sv),
                                     hash("a\0b"sv),
                                     hash("\0\0\0\0\0\0\0\0"sv),
                                     hash("\0\0\0\0\0\0\0\0\0"sv)};
  EXPECT_EQ(hashes.size(), 8U);
}

TEST(keyed_string_hash, does_not_need_aligned_text) {
  keyed_string_hash const hash;
  std::string const padded = "xuser:4711:profile";
  EXPECT_EQ(hash(std::string_view(padded).substr(1)), hash("user:4711:profile"));
}

TEST(string_equal, compares_the_bytes) {
  using namespace std::string_view_literals;
  string_equal const equal;
  EXPECT_TRUE(equal(std::string("a\0b"sv), "a\0b"sv));
  EXPECT_FALSE(equal("a\0b"sv, "a\0c"sv));
  EXPECT_FALSE(equal("a"sv, "a\0"sv));
  EXPECT_TRUE(equal("key", std::string("key")));
}

enum class id : int {};
static_assert(std::is_same_v<cacheflight::default_hash<std::string>, keyed_string_hash>);
static_assert(std::is_same_v<cacheflight::default_hash<std::string_view>, keyed_string_hash>);
static_assert(std::is_same_v<cacheflight::default_equal<std::string>, string_equal>);
static_assert(std::is_same_v<cacheflight::default_hash<int>, std::hash<int>>);
static_assert(std::is_same_v<cacheflight::default_hash<id>, std::hash<id>>);
static_assert(std::is_same_v<cacheflight::default_equal<int>, std::equal_to<int>>);

}  // namespace
