// SPDX-License-Identifier: MIT
#pragma once

// The flights of one shard that are up, by key.

#include <cacheflight/detail/retired.hpp>

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
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

/// A hash table of flights, which are its nodes: inserting cannot fail, and unlinking goes by address, in
/// O(1), without hashing or comparing. It looks at the upper half of the hash; the lower is somebody else's.
///
/// It neither allocates nor frees while it is changed, that is, under its owner's lock (rule 41). Its owner
/// asks whether it `fits`, and gives it other buckets; without them, the chains grow. When it becomes empty
/// it retires its buckets, if they are very many.
template <class Flight>
class flight_table {
 public:
  using storage_type = storage<Flight*>;

  explicit flight_table(retired_memory& retired) noexcept : retired_(&retired) {}
  flight_table(flight_table const&) = delete;  // buckets_ may point at first_
  flight_table& operator=(flight_table const&) = delete;
  ~flight_table() {
    if (!is_small()) ::operator delete(buckets_);
  }

  /// All that are in it. Can be read at any time by any thread.
  [[nodiscard]] std::size_t size() const noexcept { return size_.load(std::memory_order_relaxed); }

  /// Throws what `same` throws.
  template <class Same>
  [[nodiscard]] Flight* find(std::uint64_t hash, Same&& same) const {
    for (Flight* f = *bucket(hash); f; f = f->next_in_bucket)
      if (f->hash == hash && same(*f)) return f;
    return nullptr;
  }

  /// Whether the buckets are neither too few for one more nor far too many.
  [[nodiscard]] bool fits() const noexcept {
    return size() <= mask_ && (mask_ < many - 1 || size() >= mask_ / sparse);
  }

  /// How many buckets it should have for one more; 0: as many as it has.
  [[nodiscard]] std::size_t wanted() const noexcept {
    if (fits() || (size() > mask_ && mask_ >= largest_mask)) return 0;
    if (size() > mask_) return (std::size_t{mask_} + 1) * 2;
    return std::bit_ceil(size() + first_count) * 2;
  }

  /// Takes over the buckets, and leaves its old ones in their place.
  void use(storage_type& buckets) noexcept {
    std::size_t const old_mask = std::exchange(mask_, static_cast<std::uint32_t>(buckets.count() - 1));
    Flight** const old = std::exchange(buckets_, buckets.release());
    for (std::size_t i = 0; i <= old_mask; ++i)
      for (Flight* f = std::exchange(old[i], nullptr); f;) {
        Flight* const next = f->next_in_bucket;
        push(bucket(f->hash), *f);
        f = next;
      }
    if (old != first_) buckets.reset(old);
  }

  void insert(Flight& f) noexcept {
    push(bucket(f.hash), f);
    count(+1);
  }

  /// From here on `find` does not find it with its key; `for_each` does. It goes where `number` says, so that
  /// many of one key do not lie in the way of those who look for the key's next.
  void hide(Flight& f, std::uint64_t number) noexcept {
    take_out(f);
    f.hash = ((number * 0x9e3779b97f4a7c15) & ~std::uint64_t{1}) | (~f.hash & 1);  // not its own
    push(bucket(f.hash), f);
    hidden_.store(hidden_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  /// It is about to be unlinked.
  void unhide() noexcept {
    hidden_.store(hidden_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  }
  /// How many are hidden. Can be read at any time by any thread.
  [[nodiscard]] std::size_t hidden() const noexcept { return hidden_.load(std::memory_order_relaxed); }

  void unlink(Flight& f) noexcept {
    take_out(f);
    count(-1);
    if (mask_ >= very_many - 1 && size() == 0) [[unlikely]]
      retire();
  }

  /// `visit` may unlink the flight it is given, and no other.
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::size_t i = 0; i <= mask_; ++i)
      for (Flight* f = buckets_[i]; f;) visit(*std::exchange(f, f->next_in_bucket));
  }

 private:
  static constexpr std::uint32_t first_count = 8;
  static constexpr std::uint32_t many = 1024,
                                 sparse = 8;  // what is worth giving back: from `many` buckets on
  static constexpr std::uint32_t very_many = goes_when_empty / sizeof(Flight*);
  static constexpr std::uint32_t largest_mask = (std::numeric_limits<std::uint32_t>::max)() / 2;

  [[nodiscard]] Flight** bucket(std::uint64_t hash) const noexcept { return &buckets_[(hash >> 32) & mask_]; }

  void count(int change) noexcept {
    size_.store(size_.load(std::memory_order_relaxed) + static_cast<std::uint32_t>(change),
                std::memory_order_relaxed);
  }

  static void push(Flight** at, Flight& f) noexcept {
    f.next_in_bucket = *at;
    f.link = at;
    if (*at) (*at)->link = &f.next_in_bucket;
    *at = &f;
  }

  static void take_out(Flight& f) noexcept {
    *f.link = f.next_in_bucket;
    if (f.next_in_bucket) f.next_in_bucket->link = f.link;
  }

  [[nodiscard]] bool is_small() const noexcept { return mask_ < first_count; }

  [[gnu::noinline, gnu::cold]] void retire() noexcept {
    retired_->retire(std::exchange(buckets_, first_));
    mask_ = first_count - 1;
  }

  std::atomic<std::uint32_t> size_{0};
  std::uint32_t mask_ = first_count - 1;
  Flight** buckets_ = first_;
  Flight* first_[first_count] =
      {};  // until they are too few; no allocation's neighbour is in their cache line
  retired_memory* retired_;
  std::atomic<std::uint32_t> hidden_{0};
};

}  // namespace cacheflight::inline v1::detail
