// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

namespace cacheflight::inline v1::detail {

/// What a flight needs to be in a table.
template <class Flight>
struct table_links {
  std::uint64_t hash = 0;
  Flight* next_in_bucket = nullptr;
  union {
    Flight** link = nullptr;  ///< In a table: what points at this flight.
    Flight* next_unlinked;    ///< In none: free for whoever has unlinked it.
  };
};

/// A hash table of flights, which are its nodes: inserting cannot fail, and unlinking goes by address, in O(1), without
/// hashing or comparing. When memory for more buckets is short the chains grow instead. It looks at the upper half of
/// the hash; the lower is somebody else's.
template <class Flight>
class flight_table {
 public:
  flight_table() = default;
  flight_table(flight_table const&) = delete;  // buckets_ may point at first_
  flight_table& operator=(flight_table const&) = delete;
  ~flight_table() {
    if (mask_ >= first_count) delete[] buckets_;
  }

  /// Can be read at any time by any thread.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  /// Throws what `same` throws.
  template <class Same>
  [[nodiscard]] Flight* find(std::uint64_t hash, Same&& same) const {
    for (Flight* f = *bucket(hash); f; f = f->next_in_bucket)
      if (f->hash == hash && same(*f)) return f;
    return nullptr;
  }

  void insert(Flight& f) noexcept {
    if (size() > mask_) grow();
    push(bucket(f.hash), f);
    count(+1);
  }

  void unlink(Flight& f) noexcept {
    *f.link = f.next_in_bucket;
    if (f.next_in_bucket) f.next_in_bucket->link = f.link;
    count(-1);
  }

  /// `visit` may unlink the flight it is given, and no other.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::size_t i = 0; i <= mask_; ++i)
      for (Flight* f = buckets_[i]; f;) visit(*std::exchange(f, f->next_in_bucket));
  }

 private:
  static constexpr std::uint32_t first_count = 8;
  static constexpr std::uint32_t largest_mask = (std::numeric_limits<std::uint32_t>::max)() / 2;

  [[nodiscard]] Flight** bucket(std::uint64_t hash) const noexcept { return &buckets_[(hash >> 32) & mask_]; }

  void count(int change) noexcept {
    size_.store(size_.load(std::memory_order_relaxed) + static_cast<std::uint32_t>(change), std::memory_order_relaxed);
  }

  static void push(Flight** at, Flight& f) noexcept {
    f.next_in_bucket = *at;
    f.link = at;
    if (*at) (*at)->link = &f.next_in_bucket;
    *at = &f;
  }

  void grow() noexcept {
    if (mask_ >= largest_mask) return;
    std::size_t const count = (std::size_t{mask_} + 1) * 2;
    Flight** const larger = new (std::nothrow) Flight*[count]();
    if (!larger) return;
    std::size_t const old_mask = std::exchange(mask_, static_cast<std::uint32_t>(count - 1));
    Flight** const old = std::exchange(buckets_, larger);
    for (std::size_t i = 0; i <= old_mask; ++i)
      for (Flight* f = old[i]; f;) {
        Flight* const next = f->next_in_bucket;
        push(bucket(f->hash), *f);
        f = next;
      }
    if (old_mask >= first_count) delete[] old;
  }

  std::atomic<std::uint32_t> size_{0};
  std::uint32_t mask_ = first_count - 1;
  Flight** buckets_ = first_;
  Flight* first_[first_count] = {};  // until they are too few; no allocation's neighbour is in their cache line
};

}  // namespace cacheflight::inline v1::detail
