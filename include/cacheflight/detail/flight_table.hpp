// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

namespace cacheflight::inline v1::detail {

/// What a flight needs to be in a table.
template <class Flight>
struct table_links {
  std::uint64_t hash = 0;
  Flight* next_in_bucket = nullptr;
  Flight** link = nullptr;  ///< What points at this flight; null: not in a table.
};

/// A hash table of flights, which are its nodes: inserting cannot fail, and unlinking goes by address, in O(1), without
/// hashing or comparing. When memory for more buckets is short the chains grow instead.
template <class Flight>
class flight_table {
 public:
  /// `shift`: how many low bits of the hash somebody else uses.
  explicit flight_table(unsigned shift) noexcept : shift_(shift) {}
  flight_table(flight_table const&) = delete;  // buckets_ may point at first_
  flight_table& operator=(flight_table const&) = delete;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }

  /// Throws what `same` throws.
  template <class Same>
  [[nodiscard]] Flight* find(std::uint64_t hash, Same&& same) const {
    for (Flight* f = *bucket(hash); f; f = f->next_in_bucket)
      if (f->hash == hash && same(*f)) return f;
    return nullptr;
  }

  void insert(Flight& f) noexcept {
    if (size_ > mask_) grow();
    push(bucket(f.hash), f);
    ++size_;
  }

  void unlink(Flight& f) noexcept {
    *f.link = f.next_in_bucket;
    if (f.next_in_bucket) f.next_in_bucket->link = f.link;
    f.link = nullptr;
    --size_;
  }

  /// `visit` may unlink the flight it is given, and no other.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::size_t i = 0; i <= mask_; ++i)
      for (Flight* f = buckets_[i]; f;) visit(*std::exchange(f, f->next_in_bucket));
  }

 private:
  [[nodiscard]] Flight** bucket(std::uint64_t hash) const noexcept { return &buckets_[(hash >> shift_) & mask_]; }

  static void push(Flight** at, Flight& f) noexcept {
    f.next_in_bucket = *at;
    f.link = at;
    if (*at) (*at)->link = &f.next_in_bucket;
    *at = &f;
  }

  void grow() noexcept {
    std::size_t const count = (mask_ + 1) * 2 < 8 ? 8 : (mask_ + 1) * 2;
    std::unique_ptr<Flight*[]> larger(new (std::nothrow) Flight*[count]());
    if (!larger) return;
    std::size_t const old_mask = std::exchange(mask_, count - 1);
    Flight** const old = std::exchange(buckets_, larger.get());
    for (std::size_t i = 0; i <= old_mask; ++i)
      for (Flight* f = old[i]; f;) {
        Flight* const next = f->next_in_bucket;
        push(bucket(f->hash), *f);
        f = next;
      }
    owned_ = std::move(larger);
  }

  unsigned shift_;
  std::size_t size_ = 0;
  std::size_t mask_ = 0;
  Flight* first_ = nullptr;  // the only bucket of a table that never grew
  Flight** buckets_ = &first_;
  std::unique_ptr<Flight*[]> owned_;
};

}  // namespace cacheflight::inline v1::detail
