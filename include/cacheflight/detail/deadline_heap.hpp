// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

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

/// A binary heap of deadlines. All is O(log n), and O(1) for what is armed in order and disarmed before others.
template <class TimePoint>
class deadline_heap {
 public:
  struct entry {
    TimePoint when;
    deadline_node* node;
  };

  /// Null if there is none.
  [[nodiscard]] entry const* top() const noexcept { return entries_.empty() ? nullptr : entries_.data(); }

  /// `max()` if the node is not armed.
  [[nodiscard]] TimePoint when(deadline_node const& node) const noexcept {
    return node.armed() ? entries_[node.place - 1].when : (TimePoint::max)();
  }

  /// Makes room for `count` more. Throws `std::bad_alloc`.
  void reserve(std::size_t count) {
    if (entries_.capacity() - entries_.size() < count) entries_.reserve(entries_.size() * 2 + count);
  }

  /// Room was reserved.
  void push(TimePoint when, deadline_node& node) noexcept {
    entries_.push_back({when, &node});
    rise(entries_.size() - 1, {when, &node});
  }

  /// Does nothing if the node is not armed.
  void remove(deadline_node& node) noexcept {
    if (node.armed()) take_out(node);
  }

 private:
  void take_out(deadline_node& node) noexcept {
    std::size_t const hole = node.place - 1;
    node.place = 0;
    entry const last = entries_.back();
    entries_.pop_back();
    if (hole == entries_.size()) return;
    if (hole != 0 && before(last, entries_[(hole - 1) / 2])) rise(hole, last);
    else sink(hole, last);
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
      if (child >= entries_.size()) break;
      if (child + 1 < entries_.size() && before(entries_[child + 1], entries_[child])) ++child;
      if (!before(entries_[child], e)) break;
      set(at, entries_[child]);
      at = child;
    }
    set(at, e);
  }

  std::vector<entry> entries_;
};

}  // namespace cacheflight::inline v1::detail
