// SPDX-License-Identifier: MIT
#pragma once

// What a group makes a key of, or looks one up by (rule 36): only that of which nothing can be lost.

#include <cacheflight/detail/key.hpp>

#include <array>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace cacheflight::inline v1::detail {

// ---- key types --------------------------------------------------------------------------------------------

template <class T>
inline constexpr bool points_at_text =
    std::is_pointer_v<T> && character<std::remove_cv_t<std::remove_pointer_t<T>>>;

/// Whether objects of the type refer to text that somebody else owns.
template <class T>
inline constexpr bool views_text = false;
template <class C, class Traits>
inline constexpr bool views_text<std::basic_string_view<C, Traits>> = true;
template <class A, class B>
inline constexpr bool views_text<std::pair<A, B>> =
    views_text<A> || points_at_text<A> || views_text<B> || points_at_text<B>;
template <class... T>
inline constexpr bool views_text<std::tuple<T...>> = ((views_text<T> || points_at_text<T>) || ...);
template <class... T>
inline constexpr bool views_text<std::variant<T...>> = ((views_text<T> || points_at_text<T>) || ...);
template <class T>
inline constexpr bool views_text<std::optional<T>> = views_text<T> || points_at_text<T>;
template <class T, class Allocator>
inline constexpr bool views_text<std::vector<T, Allocator>> = views_text<T> || points_at_text<T>;
template <class T, std::size_t N>
inline constexpr bool views_text<std::array<T, N>> = views_text<T> || points_at_text<T>;

/// Class templates whose implicit conversions convert what they hold, whether or not it fits.
template <class T>
inline constexpr bool converts_its_parts = false;
template <class A, class B>
inline constexpr bool converts_its_parts<std::pair<A, B>> = true;
template <class... T>
inline constexpr bool converts_its_parts<std::tuple<T...>> = true;
template <class T>
inline constexpr bool converts_its_parts<std::optional<T>> = true;
template <class Rep, class Period>
inline constexpr bool converts_its_parts<std::chrono::duration<Rep, Period>> = true;
template <class Clock, class Duration>
inline constexpr bool converts_its_parts<std::chrono::time_point<Clock, Duration>> = true;
// And dates, which are made of points in time, of which they keep a part, or of each other.
template <>
inline constexpr bool converts_its_parts<std::chrono::weekday> = true;
template <>
inline constexpr bool converts_its_parts<std::chrono::year_month_day> = true;
template <>
inline constexpr bool converts_its_parts<std::chrono::year_month_weekday> = true;

// ---- numbers ----------------------------------------------------------------------------------------------

template <class T>
[[nodiscard]] constexpr bool is_negative(T value) noexcept {
  if constexpr (std::is_signed_v<T>) return value < T{};
  else return value != value;
}

template <class Key>
struct number_of {
  using type = Key;
};
template <class Key>
  requires std::is_enum_v<Key>
struct number_of<Key> : std::underlying_type<Key> {};

/// Whether `Key`, an integer or an enumeration, has the value.
template <class Key, key_number From>
[[nodiscard]] constexpr bool fits(From value) noexcept {
  using number = typename number_of<Key>::type;
  auto const same = static_cast<number>(value);
  return static_cast<From>(same) == value && detail::is_negative(same) == detail::is_negative(value);
}

// ---- conversions ------------------------------------------------------------------------------------------

/// Hash and equality take it as it is: a number only if they need not narrow it.
template <class Key, class Hash, class Equal, class K>
concept looked_up_as_it_is =
    !std::is_enum_v<K> && ((std::is_arithmetic_v<K> && key_number<K> &&
                            requires(Hash const& hash, Equal const& equal, Key const& own, K const& key) {
                              static_cast<std::uint64_t>(hash({key}));
                              static_cast<bool>(equal(own, {key}));
                            }) ||
                           (!std::is_arithmetic_v<K> &&
                            requires(Hash const& hash, Equal const& equal, Key const& own, K const& key) {
                              static_cast<std::uint64_t>(hash(key));
                              static_cast<bool>(equal(own, key));
                            }));

/// No integer becomes a smaller one on the way, no pointer a `bool`.
template <class Key, class K>
concept narrows_nothing = std::is_class_v<std::decay_t<K>> ||
                          requires(void (&take)(Key), K&& key) { take({static_cast<K&&>(key)}); };

template <class Key>
struct string_traits {};
template <class C, class Traits, class Allocator>
struct string_traits<std::basic_string<C, Traits, Allocator>> {
  using view = std::basic_string_view<C, Traits>;
};

/// The library's own strings are made of every kind of text, though they say so for views by an explicit
/// constructor.
template <class Key, class K>
concept text_for_string = std::convertible_to<K const&, typename string_traits<Key>::view>;

/// Nothing is sliced off, and no number narrowed.
template <class Key, class K>
concept converts_to_key =
    text_for_string<Key, std::remove_cvref_t<K>> ||
    (std::is_class_v<Key> && !converts_its_parts<Key> && std::is_convertible_v<K, Key> &&
     !std::is_base_of_v<Key, std::remove_cvref_t<K>> && narrows_nothing<Key, K>);

/// What was looked up as it is can become a key, as the type says by a constructor, explicit ones included.
template <class Key, class K>
concept makes_key = std::same_as<Key, std::remove_cvref_t<K>> || converts_to_key<Key, K> ||
                    (std::is_class_v<Key> && !converts_its_parts<Key> && std::constructible_from<Key, K> &&
                     !std::is_base_of_v<Key, std::remove_cvref_t<K>> &&
                     (std::is_class_v<std::decay_t<K>> || requires(K&& key) { Key{static_cast<K&&>(key)}; }));

/// How a group treats what it is given for a key.
enum class key_route : std::uint8_t {
  none,       ///< It refuses it.
  same,       ///< It is a key.
  number,     ///< It becomes one if its value fits.
  text,       ///< It is looked up as text.
  as_it_is,   ///< Hash and equality take it.
  converted,  ///< It becomes a key.
};

template <class Key, class Hash, class Equal>
struct key_rules {
  static constexpr bool transparent = requires {
    typename Hash::is_transparent;
    typename Equal::is_transparent;
  };
  /// The bytes are what counts.
  static constexpr bool by_text =
      transparent && string_like<Key> && looked_up_as_it_is<Key, Hash, Equal, std::string_view>;

  template <class K>
  [[nodiscard]] static consteval key_route route() {
    using given = std::remove_cvref_t<K>;
    if constexpr (std::is_null_pointer_v<given>) return key_route::none;
    else if constexpr (by_text && string_like<given>) return key_route::text;
    else if constexpr (std::same_as<given, Key>) return key_route::same;
    else if constexpr (key_number<Key> && key_number<given>) return key_route::number;
    else if constexpr (std::is_enum_v<Key> && key_number<given>)
      return transparent && looked_up_as_it_is<Key, Hash, Equal, given> ? key_route::number : key_route::none;
    else if constexpr (transparent && looked_up_as_it_is<Key, Hash, Equal, std::decay_t<K>>)
      return key_route::as_it_is;
    else return converts_to_key<Key, K> ? key_route::converted : key_route::none;
  }

  template <class K>
  static constexpr bool accepts = route<K>() != key_route::none;

  /// Says why there is no way from `K` to a key.
  template <class K>
  static consteval void require_route() {
    constexpr bool possible = accepts<K>;
    constexpr bool null = std::is_null_pointer_v<std::remove_cvref_t<K>>;
    static_assert(!null, "cacheflight: nullptr is no key");
    static_assert(possible || null || !by_text,
                  "cacheflight: this group's keys are text: make one with cacheflight::make_key "
                  "(<cacheflight/keys.hpp>) or std::to_string, or use a basic_group<Key>");
    static_assert(
        possible || null || by_text,
        "cacheflight: a key of this group cannot be made of this without a cast that may lose something. "
        "Integers convert to integers and are checked; bool, characters, floating-point numbers, pointers, "
        "enumerations, std::pair, std::tuple and std::optional must have the group's key type; other classes "
        "must convert implicitly. Convert it yourself, or use a basic_group<Key> with its type");
  }
};

[[noreturn, gnu::cold]] inline void refuse_number() {
  throw std::out_of_range("cacheflight: the key is a number that the group's key type does not have");
}

template <class C>
constexpr void require_text(C const* key) {
  if (!key) throw std::invalid_argument("cacheflight: the key is a null pointer");
}

/// The text of what converts to it, pointers among them.
template <class View = std::string_view, class K>
[[nodiscard]] constexpr View text_of_key(K const& key) {
  if constexpr (std::is_pointer_v<K>) detail::require_text(key);
  return key;
}

/// A key that is made of something else. For conversions that `key_rules` allows.
template <class Key, class K>
[[nodiscard]] constexpr Key made_key(K&& key) {
  using given = std::remove_cvref_t<K>;
  if constexpr (std::same_as<given, Key> || !std::is_class_v<Key>)
    return static_cast<Key>(std::forward<K>(key));
  else if constexpr (text_for_string<Key, given>)
    return Key(detail::text_of_key<typename string_traits<Key>::view>(key));
  else {
    if constexpr (points_at_text<std::decay_t<K>>) detail::require_text(key);
    if constexpr (converts_to_key<Key, K>) return std::forward<K>(key);
    else return Key(std::forward<K>(key));
  }
}

/// Text that a call borrows until it has entered: what is a view, or points at text that is constant.
/// Everything else may own its text, and be gone by then.
template <class K>
concept borrowed_text =
    std::same_as<std::decay_t<K>, std::string_view> || std::same_as<std::decay_t<K>, char const*>;

}  // namespace cacheflight::inline v1::detail
