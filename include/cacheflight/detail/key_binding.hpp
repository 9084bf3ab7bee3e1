// SPDX-License-Identifier: MIT
#pragma once

// What a call does with the key that it was given: looks it up, keeps it until it enters, names it in an
// error. What may be given at all is `key_rules` in key_conversion.hpp (rule 36).

#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/key_conversion.hpp>

#include <concepts>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail {

template <class Key, class Hash, class Equal>
class key_binding {
  using rules = key_rules<Key, Hash, Equal>;

 public:
  /// `f` of what `key` is looked up by; false if no key of the group can be equal to it.
  template <class K, class F>
  static bool with_probe(K const& key, F&& f) {
    rules::template require_route<K const&>();
    constexpr auto route = rules::template route<K const&>();
    if constexpr (route == key_route::text) return f(detail::text_of_key(key));
    else if constexpr (route == key_route::same) return f(key);
    else if constexpr (route == key_route::number)
      return fits<Key>(key) && f(static_cast<Key const&>(static_cast<Key>(key)));
    else if constexpr (route == key_route::as_it_is) return f(static_cast<std::decay_t<K> const&>(key));
    else if constexpr (route == key_route::converted)
      return f(static_cast<Key const&>(detail::made_key<Key>(key)));
    else return false;
  }

  /// The key as a call owns it, or borrows it, until it enters.
  template <class K>
  [[nodiscard]] static auto bind(K&& key) {
    rules::template require_route<K>();
    constexpr auto route = rules::template route<K>();
    using given = std::remove_cvref_t<K>;
    if constexpr (std::same_as<given, Key>) {
      static_assert(std::constructible_from<Key, K>,
                    "cacheflight: this key cannot be copied into the call: move it");
      return Key(std::forward<K>(key));
    } else if constexpr (route == key_route::number) {
      if (!fits<Key>(key)) detail::refuse_number();
      return static_cast<Key>(key);
    } else if constexpr (route == key_route::text) {
      constexpr bool of_views = makes_key<Key, std::string_view>;
      [[maybe_unused]] std::string_view const text = detail::text_of_key(key);
      if constexpr (of_views && borrowed_text<K>) return text;
      else if constexpr (of_views) return detail::made_key<Key>(text);
      else if constexpr (converts_to_key<Key, K>) return detail::made_key<Key>(std::forward<K>(key));
      else require_key_of<std::string_view>();
    } else if constexpr (route == key_route::as_it_is) {
      using bound = std::decay_t<K>;
      require_key_of<bound>();
      // An array that is not constant is a buffer: a pointer to it would borrow.
      if constexpr (std::is_array_v<given> && !std::is_const_v<std::remove_pointer_t<bound>>)
        return detail::made_key<Key>(static_cast<bound>(key));
      else return bound(std::forward<K>(key));
    } else if constexpr (route == key_route::converted) {
      return detail::made_key<Key>(std::forward<K>(key));
    }
  }

  /// What a bound key is looked up by.
  template <class K>
  [[nodiscard]] static decltype(auto) probe_of(K const& key) {
    if constexpr (rules::by_text && string_like<K>) return detail::text_of_key(key);
    else return (key);
  }

  /// For an error.
  template <class K>
  [[nodiscard]] static key_copy copy(K const& key) noexcept {
    if constexpr (std::same_as<K, Key>) return key_copy::of(key);
    else {
      try {
        return key_copy::of(detail::made_key<Key>(key));
      } catch (...) {  // the error itself matters more than the key it names
        return {};
      }
    }
  }

 private:
  template <class Bound>
  static consteval void require_key_of() {
    static_assert(
        makes_key<Key, Bound>,
        "cacheflight: this can be looked up in the group, but no key can be made of it; pass a key");
  }
};

}  // namespace cacheflight::inline v1::detail
