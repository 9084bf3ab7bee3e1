// SPDX-License-Identifier: MIT
#pragma once

// Tells when all that began has ended, once no more can begin; beginning costs nothing.

#include <atomic>
#include <cstdint>

namespace cacheflight::inline v1::detail {

/// What an end was: one of more to come, or the last, after `close`; and whether it is watched.
enum class ending : std::uint8_t { more, last, watched, watched_last };

/// Only ends are counted here. What begins is counted by its owner, under a lock, where it costs no atomic
/// operation, and told by `close` and `watch`.
class countdown {
 public:
  /// Nothing begins any more; so many did. Once. True: nothing is under way.
  [[nodiscard]] bool close(std::uint64_t begun) noexcept {
    auto const count = static_cast<std::int64_t>(begun);
    std::int64_t const before = left_.fetch_add(count, std::memory_order_acq_rel);
    return before == -count || before == watching - count;
  }

  /// On any thread.
  [[nodiscard]] ending end() noexcept {
    std::int64_t const before = left_.fetch_sub(1, std::memory_order_acq_rel);
    if (before > watching / 2) [[unlikely]]
      return before == watching + 1 ? ending::watched_last : ending::watched;
    return before == 1 ? ending::last : ending::more;
  }

  /// From here on every `end` is watched. Before `close`, and not twice. Returns how many of those that have
  /// begun are under way: so many ends will be watched.
  [[nodiscard]] std::int64_t watch(std::uint64_t begun) noexcept {
    return static_cast<std::int64_t>(begun) + left_.fetch_add(watching, std::memory_order_acq_rel);
  }
  /// In a child process, where nobody watches. Returns how many ends would still have been watched.
  [[nodiscard]] std::int64_t stop_watching(std::uint64_t begun) noexcept {
    return static_cast<std::int64_t>(begun) + left_.fetch_sub(watching, std::memory_order_relaxed) - watching;
  }
  /// How many of those that have begun are under way, if none ends just now and nobody watches.
  [[nodiscard]] std::int64_t under_way(std::uint64_t begun) const noexcept {
    return static_cast<std::int64_t>(begun) + left_.load(std::memory_order_relaxed);
  }

 private:
  static constexpr std::int64_t watching = std::int64_t{1} << 62;
  std::atomic<std::int64_t> left_{0};  // less what has ended; what had begun is added when it closes
};

}  // namespace cacheflight::inline v1::detail
