// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>

namespace cacheflight::inline v1::detail {

/// Counts what is under way, until no more can begin and all has ended. Beginning costs no atomic operation: it happens
/// under a lock of the owner's. Ending needs none.
class countdown {
 public:
  /// Under the lock; not after `close`.
  void begin() noexcept { ++begun_; }

  /// Nothing begins any more. Under the lock, once. True: nothing is under way.
  [[nodiscard]] bool close() noexcept { return left_.fetch_add(begun_, std::memory_order_acq_rel) == -begun_; }

  /// On any thread. True: it is closed, and this was the last.
  [[nodiscard]] bool end() noexcept { return left_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

 private:
  std::int64_t begun_ = 0;
  std::atomic<std::int64_t> left_{0};  // less what has ended; `begun_` is added when it closes
};

}  // namespace cacheflight::inline v1::detail
