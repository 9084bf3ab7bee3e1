// SPDX-License-Identifier: MIT
#pragma once

#include "asio_fronts.hpp"

#include <new>
#include <type_traits>
#include <utility>

namespace cacheflight_test {

/// An executor that refuses the next `*refusals` functions, as one does that is out of memory.
template <class Inner>
struct refusing {
  Inner inner;
  int* refusals;

  refusing(Inner i, int* r) : inner(i), refusals(r) {}
  template <class F>
  void execute(F&& f) const {
    if (*refusals > 0) {
      --*refusals;
      throw std::bad_alloc();
    }
    inner.execute(std::forward<F>(f));
  }
  template <class Property>
    requires net::can_require_v<Inner const&, Property>
  auto require(Property p) const {
    return wrap(net::require(inner, p));
  }
  template <class Property>
    requires net::can_prefer_v<Inner const&, Property>
  auto prefer(Property p) const {
    return wrap(net::prefer(inner, p));
  }
  template <class Property>
    requires net::can_query_v<Inner const&, Property>
  decltype(auto) query(Property p) const {
    return net::query(inner, p);
  }
  template <class Other>
  refusing<std::decay_t<Other>> wrap(Other&& other) const {
    return {std::forward<Other>(other), refusals};
  }
  friend bool operator==(refusing const& a, refusing const& b) noexcept { return a.inner == b.inner; }
  friend bool operator!=(refusing const& a, refusing const& b) noexcept { return !(a == b); }
};

}  // namespace cacheflight_test
