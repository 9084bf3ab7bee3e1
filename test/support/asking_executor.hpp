// SPDX-License-Identifier: MIT
#pragma once

#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>

#include <type_traits>
#include <utility>

namespace cacheflight_test {

/// An executor of Asio's that asks first: what `ask()` throws refuses the function.
template <class Inner, class Ask>
struct asking {
  Inner inner;
  Ask ask;

  asking(Inner i, Ask a) noexcept : inner(std::move(i)), ask(std::move(a)) {}
  template <class F>
  void execute(F&& f) const {
    ask();
    inner.execute(std::forward<F>(f));
  }
  template <class Property>
    requires boost::asio::can_require_v<Inner const&, Property>
  auto require(Property p) const {
    return wrap(boost::asio::require(inner, p));
  }
  template <class Property>
    requires boost::asio::can_prefer_v<Inner const&, Property>
  auto prefer(Property p) const {
    return wrap(boost::asio::prefer(inner, p));
  }
  template <class Property>
    requires boost::asio::can_query_v<Inner const&, Property>
  decltype(auto) query(Property p) const {
    return boost::asio::query(inner, p);
  }
  template <class Other>
  asking<std::decay_t<Other>, Ask> wrap(Other&& other) const {
    return {std::forward<Other>(other), ask};
  }
  friend bool operator==(asking const& a, asking const& b) noexcept { return a.inner == b.inner; }
  friend bool operator!=(asking const& a, asking const& b) noexcept { return !(a == b); }
};

}  // namespace cacheflight_test
