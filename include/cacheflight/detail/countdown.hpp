// SPDX-License-Identifier: MIT
#pragma once

// Tells when all that began has ended, once no more can begin; beginning costs nothing.

#include <atomic>
#include <cstdint>

namespace cacheflight::inline v1::detail {

/// Only ends are counted here. What begins is counted by its owner, under a lock, where it costs no atomic
/// operation, and told by `close`.
class countdown {
 public:
  /// Nothing begins any more; so many did. Once. True: nothing is under way.
  [[nodiscard]] bool close(std::uint64_t begun) noexcept {
    auto const count = static_cast<std::int64_t>(begun);
    return left_.fetch_add(count, std::memory_order_acq_rel) == -count;
  }

  /// On any thread. True: it is closed, and this was the last.
  [[nodiscard]] bool end() noexcept { return left_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  std::atomic<std::int64_t> left_{0};  // less what has ended; what had begun is added when it closes
};

}  // namespace cacheflight::inline v1::detail
