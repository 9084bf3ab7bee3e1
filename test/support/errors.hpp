// SPDX-License-Identifier: MIT
#pragma once

#include <exception>

namespace cacheflight_test {

/// Whether what is thrown can be caught as `E`; false for null.
template <class E>
[[nodiscard]] bool is(std::exception_ptr const& error) {
  if (!error) return false;
  try {
    std::rethrow_exception(error);
  } catch (E const&) {
    return true;
  } catch (...) {
    return false;
  }
}

/// Whether `f` throws an `E`. Anything else goes through.
template <class E, class F>
[[nodiscard]] bool throws(F&& f) {
  try {
    f();
  } catch (E const&) {
    return true;
  }
  return false;
}

}  // namespace cacheflight_test
