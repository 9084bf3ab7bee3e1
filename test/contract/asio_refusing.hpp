// SPDX-License-Identifier: MIT
#pragma once

#include "../support/asking_executor.hpp"

#include <new>
#include <utility>

namespace cacheflight_test {

/// An executor that refuses the next `*refusals` functions, as one does that is out of memory.
template <class Inner>
auto refusing(Inner inner, int* refusals) {
  auto const ask = [refusals] {
    if (*refusals == 0) return;
    --*refusals;
    throw std::bad_alloc();
  };
  return asking(std::move(inner), ask);
}

}  // namespace cacheflight_test
