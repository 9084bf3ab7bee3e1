// SPDX-License-Identifier: MIT
#pragma once

/// Canonical keys: `cacheflight::make_key("user", id, "locale", locale)`.

#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/sha256.hpp>

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

namespace detail {

template <class T>
concept key_text = string_like<T> && !std::is_null_pointer_v<T>;
template <class T>
concept has_key_part = requires(T const& value) { to_key_part(value); };
template <has_key_part T>
using key_part_of = std::remove_cvref_t<decltype(to_key_part(std::declval<T const&>()))>;

/// Whether a part of the type can be `null`. An optional of it would be `null` in two ways.
template <class T>
inline constexpr bool is_null_key_part = false;
template <class T>
inline constexpr bool is_null_key_part<std::optional<T>> = true;
template <has_key_part T>
inline constexpr bool is_null_key_part<T> = is_null_key_part<key_part_of<T>>;

template <class T>
inline constexpr bool is_key_part = std::same_as<T, bool> || key_number<T> || key_text<T>;
template <class T>
inline constexpr bool is_key_part<std::optional<T>> = is_key_part<T> && !is_null_key_part<T>;
template <has_key_part T>
inline constexpr bool is_key_part<T> = is_key_part<key_part_of<T>>;

template <class T>
inline constexpr bool is_nested_optional = false;
template <class T>
inline constexpr bool is_nested_optional<std::optional<T>> = is_null_key_part<T>;
template <has_key_part T>
inline constexpr bool is_nested_optional<T> = is_nested_optional<key_part_of<T>>;

template <class T>
consteval void require_key_part() {
  static_assert(
      !std::floating_point<T>,
      "cacheflight: a floating-point number cannot be part of a key: equal ones may differ in their last "
      "bits. Round it to an integer or to text.");
  static_assert(!character<T>,
                "cacheflight: a single character cannot be part of a key: is it text or a number?");
  static_assert(
      !is_nested_optional<T>,
      "cacheflight: an optional of what can be null itself cannot be part of a key: which of the two is "
      "null? Pass two parts, such as has_value() and the value.");
  static_assert(
      std::floating_point<T> || character<T> || is_nested_optional<T> || is_key_part<T>,
      "cacheflight: this type cannot be part of a key. Parts are text, integers, bool, and std::optional of "
      "them; for a type of your own define `to_key_part(value)` in its namespace, which returns one of "
      "these.");
}

/// Which characters are written as they are.
inline constexpr auto plain_characters = [] {
  std::array<bool, 256> plain{};
  for (char const c : std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./@"))
    plain[static_cast<unsigned char>(c)] = true;
  return plain;
}();

/// Plain text that looks like nothing else.
[[nodiscard]] constexpr bool is_bare(std::string_view text) noexcept {
  if (text.empty() || text == "true" || text == "false" || text == "null") return false;
  for (char const c : text)
    if (!plain_characters[static_cast<unsigned char>(c)]) return false;
  std::string_view const number = text.substr(text.front() == '-' ? 1 : 0);
  return number.empty() || number.find_first_not_of("0123456789") != std::string_view::npos;
}

inline void append_text(std::string& key, std::string_view text) {
  if (text.size() > 64) {
    auto const digits = sha256(text);
    key += '#';
    key.append(digits.data(), digits.size());
  } else if (is_bare(text)) {
    key += text;
  } else {
    key += '"';
    for (char const c : text) {
      auto const byte = static_cast<unsigned char>(c);
      if (c == '"' || c == '\\') {
        key += '\\';
        key += c;
      } else if (byte >= 0x20 && byte < 0x7f) {
        key += c;
      } else {
        key += "\\x";
        key += "0123456789abcdef"[byte >> 4];
        key += "0123456789abcdef"[byte & 15];
      }
    }
    key += '"';
  }
}

template <class T>
void append_part(std::string& key, T const& part) {
  if constexpr (has_key_part<T>) {
    detail::append_part(key, to_key_part(part));
  } else if constexpr (std::same_as<T, bool>) {
    key += part ? "true" : "false";
  } else if constexpr (key_number<T>) {
    char digits[3 * sizeof(T) + 2];
    key.append(digits, std::to_chars(digits, digits + sizeof digits, part).ptr);
  } else if constexpr (key_text<T>) {
    if constexpr (std::is_pointer_v<T>)
      if (!part) throw std::invalid_argument("cacheflight: a part of the key is a null pointer");
    detail::append_text(key, part);
  } else if (part) {
    detail::append_part(key, *part);
  } else {
    key += "null";
  }
}

}  // namespace detail

/// The key of these parts, in this order: `make_key("user", 42, "locale", "de-AT")` is
/// `user:42:locale:de-AT`.
///
/// Keys are equal exactly if they have as many parts, and each is equal to its counterpart, in kind as well:
/// the number 1, the text "1" and `true` differ, ("a", "b") differs from ("ab") and from ("a:b"), and an
/// empty text from none. The same parts give the same key in every program and version of the same major
/// number.
///
/// A part is
/// - text (whatever converts to `std::string_view`): letters, digits and `_-./@` are written as they are, all
///   other text, and such as could be taken for another kind, in quotes, with `\"`, `\\` and `\x0a` inside;
///   more than 64 bytes become `#` and the SHA-256 of the text, so that whoever chooses the text cannot make
///   it meet another;
/// - an integer: its digits, whatever its type; `bool`: `true` or `false`;
/// - `std::optional` of these: its value's part, or `null`; refused if the value can be `null` itself;
/// - a type of your own for which `to_key_part(value)`, found in its namespace, returns one of these: all
///   that tells two of its values apart.
/// Other types are refused at compile time.
///
/// The key is printable ASCII. It is not secret: see `<cacheflight/redact.hpp>` before you log it.
///
/// Throws `std::invalid_argument` if a `char const*` is null, and what `to_key_part` and memory allocation
/// throw.
template <class... Parts>
  requires(sizeof...(Parts) > 0)
[[nodiscard]] std::string make_key(Parts const&... parts) {
  (detail::require_key_part<Parts>(), ...);
  std::string key;
  if constexpr ((detail::is_key_part<Parts> && ...)) {
    ((detail::append_part(key, parts), key.push_back(':')), ...);
    key.pop_back();
  }
  return key;
}

}  // namespace cacheflight::inline v1
