// SPDX-License-Identifier: MIT
#pragma once

// If a header was forgotten, a call of its function is an error that names the header.

namespace cacheflight::inline v1 {

namespace detail {

struct wrap_header;
struct asio_header;

/// Those headers say so of themselves. `Arguments` only put the question off until there is a call.
template <class Header, class... Arguments>
inline constexpr bool included = false;

}  // namespace detail

/// @cond
template <class... Arguments>
  requires(!detail::included<detail::wrap_header, Arguments...>)
auto wrap(Arguments&&...) {
  static_assert(detail::included<detail::wrap_header, Arguments...>,
                "cacheflight: wrap is in a header that is not included: #include <cacheflight/wrap.hpp>");
}

template <class... Arguments>
  requires(!detail::included<detail::asio_header, Arguments...>)
auto async_run(Arguments&&...) {
  static_assert(
      detail::included<detail::asio_header, Arguments...>,
      "cacheflight: async_run is in a header that is not included: #include <cacheflight/asio.hpp>");
}

template <class... Arguments>
  requires(!detail::included<detail::asio_header, Arguments...>)
auto offload(Arguments&&...) {
  static_assert(detail::included<detail::asio_header, Arguments...>,
                "cacheflight: offload is in a header that is not included: #include <cacheflight/asio.hpp>");
}
/// @endcond

}  // namespace cacheflight::inline v1
