// SPDX-License-Identifier: MIT
// make_key can be undone: what a parser reads from the key is what went in. So no two lists of parts share a
// key.
#include <cacheflight/keys.hpp>

#include <gtest/gtest.h>

#include <openssl/evp.h>
#include <rapidcheck.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

namespace {

struct hashed {
  std::string digits;
  bool operator==(hashed const&) const = default;
};
using nothing = std::optional<int>;
using part = std::variant<std::string, std::int64_t, std::uint64_t, bool, nothing>;
/// What can be read back: the type of a number is not told, a long text only by its hash.
using read_part = std::variant<std::string, hashed, std::string_view>;

std::string sha256_of(std::string_view text) {
  std::array<unsigned char, 32> bytes{};
  RC_ASSERT(EVP_Digest(text.data(), text.size(), bytes.data(), nullptr, EVP_sha256(), nullptr) == 1);
  std::string digits;
  for (unsigned char const byte : bytes) {
    digits += "0123456789abcdef"[byte >> 4];
    digits += "0123456789abcdef"[byte & 15];
  }
  return digits;
}

int digit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

/// A word, as opposed to text: a number, true, false or null.
bool is_word(std::string_view text) {
  if (text == "true" || text == "false" || text == "null") return true;
  std::size_t const first = text.starts_with('-') ? 1 : 0;
  return text.size() > first && text.find_first_not_of("0123456789", first) == std::string_view::npos;
}

std::vector<read_part> read(std::string_view key) {
  std::vector<read_part> parts;
  for (;;) {
    if (key.starts_with('"')) {
      std::string text;
      std::size_t at = 1;
      for (; key.at(at) != '"'; ++at) {
        if (key[at] != '\\') {
          text += key[at];
        } else if (key.at(++at) == 'x') {
          text += static_cast<char>(digit(key.at(at + 1)) * 16 + digit(key.at(at + 2)));
          at += 2;
        } else {
          text += key[at];
        }
      }
      parts.emplace_back(text);
      key.remove_prefix(at + 1);
    } else {
      std::string_view const plain = key.substr(0, key.find(':'));
      if (plain.starts_with('#')) parts.emplace_back(hashed{std::string(plain.substr(1))});
      else if (is_word(plain)) parts.emplace_back(plain);
      else parts.emplace_back(std::string(plain));
      key.remove_prefix(plain.size());
    }
    if (key.empty()) return parts;
    RC_ASSERT(key.front() == ':');
    key.remove_prefix(1);
  }
}

/// `went_in` is what `came_out` says.
bool same(part const& went_in, read_part const& came_out) {
  if (auto const* const text = std::get_if<std::string>(&went_in))
    return came_out == (text->size() > 64 ? read_part(hashed{sha256_of(*text)}) : read_part(*text));
  std::string const word = std::visit(
      [](auto const& value) -> std::string {
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(value)>, bool>)
          return value ? "true" : "false";
        else if constexpr (std::is_integral_v<std::remove_cvref_t<decltype(value)>>)
          return std::to_string(value);
        else return "null";
      },
      went_in);
  return came_out == read_part(std::string_view(word));
}

rc::Gen<std::string> text() {
  auto const bytes = rc::gen::container<std::string>(rc::gen::cast<char>(rc::gen::inRange(0, 256)));
  auto const tricky = rc::gen::container<std::string>(rc::gen::elementOf(std::string("\"\\:#x017a-_. ,\n")));
  auto const number =
      rc::gen::map(rc::gen::arbitrary<std::int64_t>(), [](std::int64_t n) { return std::to_string(n); });
  auto const word = rc::gen::element<std::string>("true", "false", "null", "", "user", "#", "\"\"");
  auto const longer = rc::gen::resize(200, bytes);
  return rc::gen::oneOf(bytes, tricky, number, word, longer);
}

rc::Gen<part> any_part() {
  return rc::gen::oneOf(rc::gen::cast<part>(text()), rc::gen::cast<part>(rc::gen::arbitrary<std::int64_t>()),
                        rc::gen::cast<part>(rc::gen::arbitrary<std::uint64_t>()),
                        rc::gen::cast<part>(rc::gen::arbitrary<bool>()), rc::gen::just(part(nothing())));
}

template <class... Variants>
std::string key_of(Variants const&... parts) {
  return std::visit([](auto const&... values) { return cacheflight::make_key(values...); }, parts...);
}

std::string key_of_all(std::vector<part> const& parts) {
  if (parts.size() == 1) return key_of(parts[0]);
  if (parts.size() == 2) return key_of(parts[0], parts[1]);
  return key_of(parts[0], parts[1], parts[2]);
}

TEST(keys_property, what_went_in_can_be_read_back) {
  EXPECT_TRUE(rc::check("make_key can be undone", [] {
    auto const count = *rc::gen::inRange<std::size_t>(1, 4);
    auto const parts = *rc::gen::container<std::vector<part>>(count, any_part());
    std::string const key = key_of_all(parts);
    std::vector<read_part> const out = read(key);
    RC_ASSERT(out.size() == parts.size());
    for (std::size_t i = 0; i < count; ++i) RC_ASSERT(same(parts[i], out[i]));
    RC_ASSERT(key == key_of_all(parts));
    RC_ASSERT(key.find_first_not_of("\"\\ !#$%&'()*+,-./0123456789:;<=>?@[]^_`{|}~abcdefghijklmnopqrstuvwxyz"
                                    "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string::npos);
  }));
}

TEST(keys_property, sha256_is_openssls) {
  std::string text;
  for (int length = 0; length < 300; ++length, text += static_cast<char>(length * 7)) {
    auto const digits = cacheflight::detail::sha256(text);
    EXPECT_EQ(std::string(digits.begin(), digits.end()), sha256_of(text)) << length;
  }
}

}  // namespace
