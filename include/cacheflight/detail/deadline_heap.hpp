// SPDX-License-Identifier: MIT
#pragma once

#include <cstdint>
#include <utility>

namespace cacheflight::inline v1::detail {

/// Who a deadline belongs to. The order is rule 18's: at a tie the flight's fires first.
enum class deadline_of : std::uint8_t { flight, waiter };

template <class TimePoint>
struct deadline_node {
  TimePoint when = TimePoint::max();  ///< `max()`: no deadline.
  deadline_node* child = nullptr;
  deadline_node* next = nullptr;
  deadline_node* prev = nullptr;  ///< The elder sibling, or the parent of a first child.
  deadline_of of;
  bool armed = false;

  explicit deadline_node(deadline_of whose) noexcept : of(whose) {}
  deadline_node(deadline_node const&) = delete;
  deadline_node& operator=(deadline_node const&) = delete;

 protected:
  ~deadline_node() = default;
};

/// A pairing heap of nodes that live with their owners: nothing allocates or throws. Push is O(1), and so is removing
/// what has nothing below it, as deadlines mostly have that are armed in order and disarmed before they fire; otherwise
/// removal is O(log n) amortized.
template <class TimePoint>
class deadline_heap {
 public:
  using node = deadline_node<TimePoint>;

  [[nodiscard]] node* top() const noexcept { return root_; }

  void push(node& n) noexcept {
    n.child = nullptr;
    n.armed = true;
    root_ = root_ ? meld(root_, &n) : &n;
  }

  /// Does nothing if `n` is not armed.
  void remove(node& n) noexcept {
    if (!n.armed) return;
    n.armed = false;
    node* const below = merge_pairs(n.child);
    if (&n == root_) {
      root_ = below;
    } else {
      (n.prev->child == &n ? n.prev->child : n.prev->next) = n.next;
      if (n.next) n.next->prev = n.prev;
      if (below) root_ = meld(root_, below);
    }
  }

 private:
  [[nodiscard]] static bool before(node const& a, node const& b) noexcept {
    return a.when != b.when ? a.when < b.when : a.of < b.of;
  }

  /// Both are roots, whose own `next` and `prev` mean nothing.
  [[nodiscard]] static node* meld(node* a, node* b) noexcept {
    if (before(*b, *a)) std::swap(a, b);
    b->prev = a;
    b->next = a->child;
    if (a->child) a->child->prev = b;
    a->child = b;
    return a;
  }

  /// One root out of a row of siblings: in pairs from the left, then all of those from the right.
  [[nodiscard]] static node* merge_pairs(node* first) noexcept {
    node* pairs = nullptr;
    while (first) {
      node* const a = first;
      node* const b = a->next;
      first = b ? b->next : nullptr;
      node* const pair = b ? meld(a, b) : a;
      pair->next = pairs;
      pairs = pair;
    }
    node* root = nullptr;
    while (pairs) {
      node* const rest = pairs->next;
      root = root ? meld(root, pairs) : pairs;
      pairs = rest;
    }
    return root;
  }

  node* root_ = nullptr;
};

}  // namespace cacheflight::inline v1::detail
