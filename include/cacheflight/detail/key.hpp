// SPDX-License-Identifier: MIT
#pragma once

// Keys without their type, for events and errors, whose texts never contain them (rule 32): one that is
// borrowed, one that is owned.

#include <cacheflight/detail/language.hpp>
#include <cacheflight/detail/type_identity.hpp>

#include <concepts>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1::detail {

template <class T>
concept character = std::same_as<T, char> || std::same_as<T, wchar_t> || std::same_as<T, char8_t> ||
                    std::same_as<T, char16_t> || std::same_as<T, char32_t>;
template <class T>
concept key_number = std::integral<T> && !std::same_as<T, bool> && !character<T>;

/// Keys that are text: looked up as `std::string_view`, hashed with the group's secret seed.
template <class Key>
concept string_like = std::convertible_to<Key const&, std::string_view>;

/// A key that is somebody else's, seen without its type.
struct CACHEFLIGHT_VISIBLE key_view {
  void const* object = nullptr;
  std::type_info const* type = nullptr;
  std::string_view text;

  template <class Key>
  [[nodiscard]] static key_view of(Key const& key) noexcept {
    if constexpr (string_like<Key>) return {std::addressof(key), &typeid(Key), key};
    else return {std::addressof(key), &typeid(Key), {}};
  }

  template <class Key>
  [[nodiscard]] Key const* as() const noexcept {
    return object && detail::same_type(*type, typeid(Key)) ? static_cast<Key const*>(object) : nullptr;
  }
};

/// A key that an exception owns. Making one never throws: out of memory, or with a key that cannot be copied,
/// it is empty.
struct CACHEFLIGHT_VISIBLE key_copy {
  std::shared_ptr<void const> owner;
  key_view view;

  template <class Key>
  [[nodiscard]] static key_copy of(Key const& key) noexcept {
    key_copy copy;
    if constexpr (std::copy_constructible<Key>) {
      try {
        auto owner = std::make_shared<Key const>(key);
        copy.view = key_view::of(*owner);
        copy.owner = std::move(owner);
      } catch (...) {  // the error itself matters more than the key it names
      }
    }
    return copy;
  }
};

}  // namespace cacheflight::inline v1::detail
