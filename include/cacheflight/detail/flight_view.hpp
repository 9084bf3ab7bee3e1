// SPDX-License-Identifier: MIT
#pragma once

// What a task reads of its flight, and how that is cut off when the task ends (rule 48).

#include <cacheflight/detail/recycling.hpp>
#include <cacheflight/detail/short_mutex.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>

namespace cacheflight::inline v1::detail {

/// What is known of those who wait.
struct flight_reading {
  std::size_t waiters = 0;
  std::optional<std::chrono::steady_clock::time_point> deadline{};
};

/// One for a task, shared with its contexts. Its lock is taken before the shard's.
class flight_view {
 public:
  template <class Core, class Flight>
  flight_view(std::type_identity<Core>, Flight& f) noexcept
      : id_(f.id()),
        core_(Core::owner_of(f)),
        flight_(std::addressof(f)),
        read_([](void* of) noexcept { return Core::read(*static_cast<Flight*>(of)); }) {}
  flight_view(flight_view const&) = delete;
  flight_view& operator=(flight_view const&) = delete;
  ~flight_view() = default;

  [[nodiscard]] std::uint64_t id() const noexcept { return id_; }
  /// Whether its task runs, and its group has that core.
  [[nodiscard]] bool is_of(void const* core) noexcept {
    std::scoped_lock lock(mutex_);
    return flight_ && core_ == core;
  }
  [[nodiscard]] flight_reading read() noexcept {
    std::scoped_lock lock(mutex_);
    return flight_ ? read_(flight_) : flight_reading();
  }
  /// The flight may go from here on.
  void cut() noexcept {
    std::scoped_lock lock(mutex_);
    flight_ = nullptr;
  }

 private:
  std::uint64_t const id_;
  void const* const core_;
  short_mutex mutex_;
  void* flight_;
  flight_reading (*const read_)(void*) noexcept;
};

/// Of a flight: the view that its task has.
template <class Core>
class given_view {
 public:
  /// Throws `std::bad_alloc`.
  template <class Flight>
  [[nodiscard]] std::shared_ptr<flight_view> of(Flight& f) {
    return view_ = detail::make_shared_recycled<flight_view>(std::type_identity<Core>(),
                                                             static_cast<typename Core::flight_type&>(f));
  }
  void cut() noexcept {
    if (view_) view_->cut();
  }

 private:
  std::shared_ptr<flight_view> view_;
};
/// Of one whose task takes none.
struct no_view {
  template <class Flight>
  [[nodiscard]] static std::nullptr_t of(Flight&) noexcept {
    return nullptr;
  }
  static void cut() noexcept {}
};

}  // namespace cacheflight::inline v1::detail
