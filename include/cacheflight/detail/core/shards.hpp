// SPDX-License-Identifier: MIT
#pragma once

// The parts of a group's table, and the room that they have.

#include <cacheflight/detail/core/shard.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>

namespace cacheflight::inline v1::detail {

/// As many parts as the platform says, a power of two; and the lobby, where those wait who wait for all of
/// them (rule 59). They stay where they were made.
template <class P>
class shards {
 public:
  explicit shards(core<P>* owner)
      : count_(P::shards()),
        first_(static_cast<shard<P>*>(
            ::operator new((count_ + 1) * sizeof(shard<P>), std::align_val_t{alignof(shard<P>)}))) {
    for (std::size_t i = 0; i <= count_; ++i) ::new (static_cast<void*>(first_ + i)) shard<P>(owner);
  }
  shards(shards const&) = delete;
  shards& operator=(shards const&) = delete;
  ~shards() {
    for (shard<P>& s : with_lobby()) s.~shard<P>();
    ::operator delete(first_, std::align_val_t{alignof(shard<P>)});
  }

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] shard<P>* begin() const noexcept { return first_; }
  [[nodiscard]] shard<P>* end() const noexcept { return first_ + count_; }
  [[nodiscard]] shard<P>& operator[](std::size_t i) const noexcept { return first_[i]; }
  [[nodiscard]] shard<P>& lobby() const noexcept { return first_[count_]; }
  [[nodiscard]] std::span<shard<P>> with_lobby(bool with = true) const noexcept {
    return {first_, count_ + (with ? 1 : 0)};
  }
  [[nodiscard]] std::size_t index_of(std::uint64_t hash) const noexcept { return hash & (count_ - 1); }
  [[nodiscard]] shard<P>& of(std::uint64_t hash) const noexcept { return first_[index_of(hash)]; }

 private:
  std::size_t const count_;
  shard<P>* const first_;
};

/// Under the lock: whether there is room for one flight more. If room was made once already only the
/// deadlines need it.
template <class P>
[[nodiscard]] inline bool fits_another(shard<P> const& s, bool timed, bool tried_to_fit) noexcept {
  if (tried_to_fit) return !timed || s.deadlines.has_room(2);
  return s.table.fits() && (!timed || s.deadlines.fits(2));
}

/// Gives the table the buckets, and the deadlines the room, that fit if one flight and so many deadlines are
/// added; got and freed outside of the lock (rule 41). Throws `std::bad_alloc` if the deadlines have no room.
template <class P>
[[gnu::noinline, gnu::cold]] void make_room(shard<P>& s, std::size_t more) {
  std::unique_lock lock(s.mutex);
  std::size_t const buckets = s.table.wanted(), room = s.deadlines.wanted(more);
  lock.unlock();
  typename decltype(s.table)::storage_type for_flights(buckets);
  typename decltype(s.deadlines)::storage_type for_deadlines(room);
  lock.lock();
  if (for_flights.count() != 0 && s.table.wanted() == buckets) s.table.use(for_flights);
  if (for_deadlines.count() != 0 && s.deadlines.wanted(more) == room) s.deadlines.use(for_deadlines);
  bool const short_of_memory = room != 0 && for_deadlines.count() == 0 && !s.deadlines.has_room(more);
  lock.unlock();
  if (short_of_memory) throw std::bad_alloc();
}

}  // namespace cacheflight::inline v1::detail
