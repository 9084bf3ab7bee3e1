// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

namespace bench {

/// What this thread has taken from the heap, by whatever way: `operator new`, `malloc`, `aligned_alloc`, …
struct heap_use {
  std::size_t allocations = 0;
  std::size_t bytes = 0;    ///< As asked for.
  std::ptrdiff_t held = 0;  ///< Taken minus given back, in usable bytes.
};

/// Counts this thread's allocations while it lives. Timed rounds run without one: then an allocation costs
/// them a branch and a call more, nothing else.
class heap_counter {
 public:
  heap_counter() noexcept;
  ~heap_counter();
  heap_counter(heap_counter const&) = delete;
  heap_counter& operator=(heap_counter const&) = delete;
  [[nodiscard]] heap_use now() const noexcept;
};

/// Throws if some way of allocating goes by uncounted: figures would be too low and look good.
void check_heap_counter();

}  // namespace bench
