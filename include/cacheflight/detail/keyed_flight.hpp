// SPDX-License-Identifier: MIT
#pragma once

// A flight with its key.

#include <cacheflight/detail/flight.hpp>
#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/key_conversion.hpp>

#include <any>
#include <utility>

namespace cacheflight::inline v1::detail {

/// Fronts add the task.
template <class P, class Key>
class keyed_flight : public flight<P> {
 public:
  [[nodiscard]] key_view key() const noexcept final { return key_view::of(key_); }
  [[nodiscard]] key_copy copy_key() const noexcept final { return key_copy::of(key_); }
  [[nodiscard]] Key const& own_key() const noexcept { return key_; }

 protected:
  template <class K>
  keyed_flight(K&& key, std::any&& metadata)
      : flight<P>(std::move(metadata)), key_(detail::made_key<Key>(std::forward<K>(key))) {}

 private:
  Key key_;
};

}  // namespace cacheflight::inline v1::detail
