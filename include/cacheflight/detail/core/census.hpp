// SPDX-License-Identifier: MIT
#pragma once

// What is read of a part of the table without changing it: its books, and the flights that can be joined.

#include <cacheflight/detail/core/shard.hpp>
#include <cacheflight/detail/core/telling.hpp>
#include <cacheflight/statistics.hpp>

#include <cstddef>
#include <mutex>
#include <vector>

namespace cacheflight::inline v1::detail {

template <class P>
struct census {
  /// What is known of a flight at one moment, and what keeps it.
  struct sighting {
    typename telling<P>::flight_reference flight;
    std::size_t waiters;
    typename shard<P>::time_point until;
    bool superseded;
  };

  static void add_books(shard<P>& s, statistics& sum) noexcept {
    std::scoped_lock lock(s.mutex);
    sum.hits += s.hits, sum.misses += s.misses,
        sum.started += s.misses - s.max_keys_rejected - s.closed_rejected;
    sum.resolved += s.resolved, sum.rejected += s.rejected;
    sum.timed_out += s.timed_out, sum.cancelled += s.cancelled;
    sum.max_keys_rejected += s.max_keys_rejected, sum.type_mismatches += s.type_mismatches;
    sum.closed_rejected += s.closed_rejected;
    sum.waiters += s.waiters, sum.detached += s.detached;
    sum.in_flight += s.table.size() - s.table.hidden(), sum.superseded += s.table.hidden();
  }

  /// Calls `visit(sighting, now)` for each flight that is up, outside of locks. Throws what `visit` and memory
  /// throw.
  template <class Visit>
  static void for_each_flight(shard<P>& s, Visit&& visit) {
    std::vector<sighting> seen;
    for (std::size_t room = s.table.size(); seen.empty() && room != 0;) {
      seen.reserve(room);
      std::scoped_lock lock(s.mutex);
      room = s.table.size();
      if (room > seen.capacity()) continue;
      s.table.for_each([&](flight<P>& f) {
        telling<P>::retain(f);
        seen.push_back(
            {typename telling<P>::flight_reference(&f), f.waiters_, s.deadlines.when(f), f.superseded_});
      });
    }
    if (seen.empty()) return;
    auto const now = P::clock::now();
    for (sighting const& one : seen) visit(one, now);
  }
};

}  // namespace cacheflight::inline v1::detail
