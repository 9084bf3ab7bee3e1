// SPDX-License-Identifier: MIT
#pragma once

// The handler of a coroutine that is suspended, kept in place: it is small, and memory may be short.

#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// Empty until `keep`, and again after `call` or `drop`, one of which must follow.
class suspended_handler {
 public:
  suspended_handler() = default;
  suspended_handler(suspended_handler const&) = delete;
  suspended_handler& operator=(suspended_handler const&) = delete;

  /// Returns it where it is kept.
  template <class Handler>
  [[nodiscard]] auto& keep(Handler&& handler) noexcept {
    using stored = std::decay_t<Handler>;
    static_assert(sizeof(stored) <= sizeof(storage_) && alignof(stored) <= alignof(std::max_align_t));
    auto* const at = ::new (static_cast<void*>(storage_)) stored(std::forward<Handler>(handler));
    end_ = [](void* from, bool call) {
      auto* const source = static_cast<stored*>(from);
      stored taken(std::move(*source));
      source->~stored();
      if (call) std::move(taken)();  // whoever keeps it may be gone from here on
    };
    return *at;
  }
  void call() { std::exchange(end_, nullptr)(storage_, true); }
  /// The coroutine is destroyed.
  void drop() noexcept {
    if (end_) std::exchange(end_, nullptr)(storage_, false);
  }

 private:
  // Asio's handler of a coroutine is one or two pointers. Together a cache line, without padding.
  alignas(std::max_align_t) std::byte storage_[56];
  void (*end_)(void*, bool) = nullptr;
};

}  // namespace cacheflight::inline v1::detail::asio_front
