// SPDX-License-Identifier: MIT
#pragma once

#include "harness.hpp"

#include <cstddef>

namespace bench {

/// How much of each scenario; `quick` is for trying out the benchmark itself.
struct sizes {
  bool quick = false;
  [[nodiscard]] std::size_t calls() const { return quick ? 20'000 : 50'000; }
  /// The most keys, or waiters of one key, at once.
  [[nodiscard]] std::size_t largest() const { return quick ? 100'000 : 1'000'000; }
};

void add_blocking(suite& all, sizes const& size);
void add_coroutines(suite& all, sizes const& size);
void add_asio(suite& all, sizes const& size);
void add_threads(suite& all, sizes const& size);

/// "1,000".
[[nodiscard]] std::string grouped(std::size_t n);

}  // namespace bench
