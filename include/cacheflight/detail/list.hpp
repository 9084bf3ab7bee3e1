// SPDX-License-Identifier: MIT
#pragma once

// A list whose nodes belong to their owners.

namespace cacheflight::inline v1::detail {

/// A place in a circular list whose nodes live with their owners. A node can be unlinked without knowing the
/// list it is in.
struct list_node {
  list_node* next = nullptr;
  list_node* prev = nullptr;

  list_node() = default;
  list_node(list_node const&) = delete;
  list_node& operator=(list_node const&) = delete;

  [[nodiscard]] bool linked() const noexcept { return next != nullptr; }

  void unlink() noexcept {
    next->prev = prev;
    prev->next = next;
    next = prev = nullptr;
  }

 protected:
  ~list_node() = default;
};

template <class T>
class list : list_node {
 public:
  list() noexcept { next = prev = this; }

  [[nodiscard]] bool empty() const noexcept { return next == this; }
  [[nodiscard]] T& front() noexcept { return *static_cast<T*>(next); }

  void push_back(list_node& node) noexcept {
    node.next = this;
    node.prev = prev;
    prev->next = &node;
    prev = &node;
  }

  void push_front(list_node& node) noexcept {
    node.next = next;
    node.prev = this;
    next->prev = &node;
    next = &node;
  }

  /// Moves all nodes of `other` to the end of this list.
  void splice(list& other) noexcept {
    other.next->prev = prev;
    prev->next = other.next;
    prev = other.prev;
    prev->next = this;
    other.next = other.prev = &other;
  }

  /// `visit` must not change the list.
  template <class Visit>
  void for_each(Visit&& visit) const {
    for (list_node const* node = next; node != this; node = node->next) visit(*static_cast<T const*>(node));
  }

  /// The first node, unlinked; null if there is none.
  [[nodiscard]] T* pop_front() noexcept {
    if (empty()) return nullptr;
    T* first = &front();
    first->unlink();
    return first;
  }
};

}  // namespace cacheflight::inline v1::detail
