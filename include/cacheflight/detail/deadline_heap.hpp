// SPDX-License-Identifier: MIT
#pragma once

// The deadlines of one shard, the earliest on top (rules 18 and 20).

#include <cacheflight/detail/retired.hpp>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

namespace cacheflight::inline v1::detail {

/// Who a deadline belongs to. The order is rule 18's: at a tie the flight's fires first.
enum class deadline_of : std::uint8_t { flight, waiter };

/// Lives with its owner, and knows its place in the heap.
struct deadline_node {
  std::uint32_t place = 0;  ///< 1 for the root; 0: not armed.
  deadline_of of;

  explicit deadline_node(deadline_of whose) noexcept : of(whose) {}
  deadline_node(deadline_node const&) = delete;
  deadline_node& operator=(deadline_node const&) = delete;

  [[nodiscard]] bool armed() const noexcept { return place != 0; }

 protected:
  ~deadline_node() = default;
};

/// A binary heap of deadlines. All is O(log n), and O(1) for what is armed in order and disarmed before
/// others.
///
/// It neither allocates nor frees while it is changed, that is, under its owner's lock (rule 41): its owner
/// gives it room, and the first few deadlines need none. When it becomes empty it retires its room, if that
/// is very large.
template <class TimePoint>
class deadline_heap {
 public:
  struct entry {
    TimePoint when;
    deadline_node* node = nullptr;
  };

  using storage_type = storage<entry>;

  explicit deadline_heap(retired_memory& retired) noexcept : retired_(&retired) {}
  deadline_heap(deadline_heap const&) = delete;  // entries_ may point at first_
  deadline_heap& operator=(deadline_heap const&) = delete;
  ~deadline_heap() {
    if (entries_ != first_) ::operator delete(entries_);
  }

  /// Null if there is none.
  [[nodiscard]] entry const* top() const noexcept { return size_ == 0 ? nullptr : entries_; }

  /// `max()` if the node is not armed.
  [[nodiscard]] TimePoint when(deadline_node const& node) const noexcept {
    return node.armed() ? entries_[node.place - 1].when : (TimePoint::max)();
  }

  [[nodiscard]] bool has_room(std::size_t more) const noexcept { return capacity_ - size_ >= more; }

  /// Whether its room is neither too small for `more` nor far too large.
  [[nodiscard]] bool fits(std::size_t more) const noexcept {
    return has_room(more) && (capacity_ < large || size_ >= capacity_ / sparse);
  }

  /// How much room it should have for `more`; 0: as much as it has.
  [[nodiscard]] std::size_t wanted(std::size_t more) const noexcept {
    if (fits(more)) return 0;
    return std::bit_ceil(size_ + more) * (has_room(more) ? 2 : 1);
  }

  /// Takes over the room, which suffices, and leaves the old one in its place.
  void use(storage_type& room) noexcept {
    capacity_ = room.count();
    entry* const old = std::exchange(entries_, room.release());
    std::copy_n(old, size_, entries_);
    if (old != first_) room.reset(old);
  }

  /// There is room.
  void push(TimePoint when, deadline_node& node) noexcept { rise(size_++, {when, &node}); }

  /// Does nothing if the node is not armed.
  void remove(deadline_node& node) noexcept {
    if (node.armed()) take_out(node);
  }

  /// All that are armed are so no longer.
  void clear() noexcept {
    while (size_ != 0) entries_[--size_].node->place = 0;
  }

 private:
  void take_out(deadline_node& node) noexcept {
    std::size_t const hole = node.place - 1;
    node.place = 0;
    entry const last = entries_[--size_];
    if (size_ == 0 && capacity_ >= very_large) [[unlikely]]
      retire();
    if (hole == size_) return;
    if (hole != 0 && before(last, entries_[(hole - 1) / 2])) rise(hole, last);
    else sink(hole, last);
  }

  [[gnu::noinline, gnu::cold]] void retire() noexcept {
    retired_->retire(std::exchange(entries_, first_));
    capacity_ = first_count;
  }

  [[nodiscard]] static bool before(entry const& a, entry const& b) noexcept {
    return a.when != b.when ? a.when < b.when : a.node->of < b.node->of;
  }

  void set(std::size_t at, entry const& e) noexcept {
    entries_[at] = e;
    e.node->place = static_cast<std::uint32_t>(at + 1);
  }

  void rise(std::size_t at, entry const e) noexcept {
    for (; at != 0 && before(e, entries_[(at - 1) / 2]); at = (at - 1) / 2) set(at, entries_[(at - 1) / 2]);
    set(at, e);
  }

  void sink(std::size_t at, entry const e) noexcept {
    for (;;) {
      std::size_t child = 2 * at + 1;
      if (child >= size_) break;
      if (child + 1 < size_ && before(entries_[child + 1], entries_[child])) ++child;
      if (!before(entries_[child], e)) break;
      set(at, entries_[child]);
      at = child;
    }
    set(at, e);
  }

  static constexpr std::size_t first_count = 4;
  static constexpr std::size_t large = 1024, sparse = 8;  // what is worth giving back
  static constexpr std::size_t very_large = goes_when_empty / sizeof(entry);

  entry* entries_ = first_;
  std::size_t size_ = 0, capacity_ = first_count;
  entry first_[first_count] = {};  // until there are more
  retired_memory* retired_;
};

}  // namespace cacheflight::inline v1::detail
