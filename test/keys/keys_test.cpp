// SPDX-License-Identifier: MIT
#include <cacheflight/keys.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace own {

struct user_id {
  int number;
};
[[nodiscard]] int to_key_part(user_id id) { return id.number; }

enum class role { reader, admin };
[[nodiscard]] std::string_view to_key_part(role r) { return r == role::admin ? "admin" : "reader"; }

}  // namespace own

namespace {

using cacheflight::make_key;
using namespace std::string_literals;
using namespace std::string_view_literals;

std::string digest(std::string_view text) {
  auto const digits = cacheflight::detail::sha256(text);
  return {digits.begin(), digits.end()};
}

TEST(keys, common_ones_are_readable) {
  EXPECT_EQ(make_key("user", 42, "locale", "de-AT"), "user:42:locale:de-AT");
  EXPECT_EQ(make_key("user"), "user");
  EXPECT_EQ(make_key("file", "/etc/fstab", "john.doe@example.org"), "file:/etc/fstab:john.doe@example.org");
  EXPECT_EQ(make_key("order", "3fa85f64-5717-4562-b3fc-2c963f66afa6", "2026-01-31"),
            "order:3fa85f64-5717-4562-b3fc-2c963f66afa6:2026-01-31");
}

TEST(keys, numbers_texts_and_booleans_are_told_apart) {
  EXPECT_EQ(make_key(1), "1");
  EXPECT_EQ(make_key("1"), "\"1\"");
  EXPECT_EQ(make_key("-17"), "\"-17\"");
  EXPECT_EQ(make_key(true), "true");
  EXPECT_EQ(make_key("true"), "\"true\"");
  EXPECT_EQ(make_key(false), "false");
  EXPECT_EQ(make_key("false"), "\"false\"");
  EXPECT_EQ(make_key("null"), "\"null\"");
  EXPECT_EQ(make_key(std::optional<int>()), "null");
  EXPECT_EQ(make_key(""), "\"\"");
  for (auto const text : {"-", "--1", "1-", "-1-", "1a", "1.5", "True"}) EXPECT_EQ(make_key(text), text);
}

TEST(keys, where_parts_begin_and_end_is_told) {
  std::set<std::string> const different{
      make_key("a", "b"),      make_key("ab"),         make_key("a:b"),        make_key("a,b"),
      make_key("a", "b", ""),  make_key("", "a", "b"), make_key("a", "", "b"), make_key("a\":\"b"),
      make_key("a", ":", "b"), make_key("a\\", "b"),   make_key("a\\:b")};
  EXPECT_EQ(different.size(), 11U);
}

TEST(keys, the_type_of_a_number_or_text_does_not_matter) {
  EXPECT_EQ(make_key(std::uint8_t{200}), "200");
  EXPECT_EQ(make_key(std::int8_t{-7}), "-7");
  EXPECT_EQ(make_key(1, 1U, 1L, 1ULL, std::int16_t{1}), "1:1:1:1:1");
  EXPECT_EQ(make_key(std::numeric_limits<std::int64_t>::min()), "-9223372036854775808");
  EXPECT_EQ(make_key(std::numeric_limits<std::uint64_t>::max()), "18446744073709551615");
  char array[] = "text";
  char* pointer = array;
  EXPECT_EQ(make_key("text", "text"s, "text"sv, array, pointer), "text:text:text:text:text");
}

TEST(keys, everything_else_is_quoted_and_printable) {
  EXPECT_EQ(make_key("two words"), R"("two words")");
  EXPECT_EQ(make_key("a\"b\\c:d"), R"("a\"b\\c:d")");
  EXPECT_EQ(make_key("a\nb\0c\x7f\xc3\xbc"sv), R"("a\x0ab\x00c\x7f\xc3\xbc")");
  for (int byte = 0; byte < 256; ++byte)
    for (char const c : make_key(std::string(2, static_cast<char>(byte))))
      EXPECT_TRUE(c >= 0x20 && c < 0x7f) << byte;
}

TEST(keys, optional_is_its_value_or_null) {
  EXPECT_EQ(
      make_key(std::optional(42), std::optional("de"s), std::optional<std::string>(), std::optional(true)),
      "42:de:null:true");
}

TEST(keys, own_types_say_what_part_they_are) {
  EXPECT_EQ(make_key("user", own::user_id{42}, own::role::admin, std::optional(own::role::reader)),
            "user:42:admin:reader");
}

TEST(keys, null_pointer_is_refused) {
  char const* const none = nullptr;
  EXPECT_THROW((void)make_key("user", none), std::invalid_argument);
}

TEST(keys, more_than_64_bytes_are_hashed) {
  std::string const most(64, 'x');
  EXPECT_EQ(make_key(most), most);
  EXPECT_EQ(make_key(most + 'x'), "#" + digest(most + 'x'));
  EXPECT_EQ(make_key("report", std::string(1'000'000, 'a'), 7),
            "report:#cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0:7");
  EXPECT_NE(make_key(most + 'x'), make_key(most + 'y'));
  // A text that says what the hash of another is.
  std::string const hash = make_key(most + 'x');
  EXPECT_NE(make_key(hash), hash);
  EXPECT_NE(make_key(hash.substr(0, 64)), hash.substr(0, 64));
}

// FIPS 180-4's examples, as NIST publishes them.
TEST(keys, sha256_of_known_texts) {
  EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  static_assert(cacheflight::detail::sha256("abc")[0] == 'b');
}

// All pairs of texts of up to two bytes over characters that mean something, and all singles of up to five.
TEST(keys, different_texts_have_different_keys_exhaustively) {
  std::vector<std::string> texts{""};
  std::size_t pairs_of = 0;
  for (std::size_t from = 0, length = 1; length <= 5; ++length) {
    std::size_t const to = texts.size();
    if (length == 3) pairs_of = to;
    for (; from < to; ++from)
      for (char const c : {'a', '1', '-', '"', '\\', ':', '#', 'x'}) texts.push_back(texts[from] + c);
  }
  std::set<std::string> keys;
  for (auto const& text : texts) EXPECT_TRUE(keys.insert(make_key(text)).second) << text;
  for (std::size_t i = 0; i < pairs_of; ++i)
    for (std::size_t j = 0; j < pairs_of; ++j)
      EXPECT_TRUE(keys.insert(make_key(texts[i], texts[j])).second) << texts[i] << " and " << texts[j];
  EXPECT_EQ(keys.size(), 37449U + 73U * 73U);
}

}  // namespace
