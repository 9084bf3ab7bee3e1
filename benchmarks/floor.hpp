// SPDX-License-Identifier: MIT
#pragma once

// The least that any coalescer does: hash the key with a secret, lock, probe a flat table, insert, unlock,
// run the task, lock, erase, unlock, and one allocation for what is in flight. No errors, no leaving, no
// books, no events.

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bench {

/// SipHash-1-3, with everything in registers. For little-endian machines.
class floor_hash {
 public:
  floor_hash() {
    std::random_device entropy;
    for (auto* half : {&seed0_, &seed1_}) *half = (std::uint64_t{entropy()} << 32) | entropy();
  }
  [[nodiscard]] std::uint64_t operator()(std::string_view text) const noexcept {
    std::uint64_t a = seed0_ ^ 0x736f6d6570736575, b = seed1_ ^ 0x646f72616e646f6d;
    std::uint64_t c = seed0_ ^ 0x6c7967656e657261, d = seed1_ ^ 0x7465646279746573;
    auto const turn = [&]() __attribute__((always_inline)) {
      a += b, b = std::rotl(b, 13) ^ a, a = std::rotl(a, 32);
      c += d, d = std::rotl(d, 16) ^ c;
      a += d, d = std::rotl(d, 21) ^ a;
      c += b, b = std::rotl(b, 17) ^ c, c = std::rotl(c, 32);
    };
    auto const load = []<class Word>(char const* from, Word word) __attribute__((always_inline)) {
      std::memcpy(&word, from, sizeof word);
      return std::uint64_t{word};
    };
    char const* at = text.data();
    std::size_t left = text.size();
    for (; left >= 8; at += 8, left -= 8) {
      std::uint64_t const word = load(at, std::uint64_t{});
      d ^= word, turn(), a ^= word;
    }
    std::uint64_t last = std::uint64_t{text.size()} << 56;
    unsigned shift = 0;
    if (left & 4) last |= load(at, std::uint32_t{}), at += 4, shift = 32;
    if (left & 2) last |= load(at, std::uint16_t{}) << shift, at += 2, shift += 16;
    if (left & 1) last |= load(at, std::uint8_t{}) << shift;
    d ^= last, turn(), a ^= last;
    c ^= 0xff, turn(), turn(), turn();
    return a ^ b ^ c ^ d;
  }

 private:
  std::uint64_t seed0_ = 0, seed1_ = 0;
};

/// Open addressing, linear probing, a table of pointers beside their hashes; at most 3/4 full. Erasing moves
/// the followers back.
template <class T>
class flat_table {
 public:
  [[nodiscard]] T* find(std::uint64_t hash, std::string_view key) const {
    for (std::size_t i = hash & mask(); slots_[i].item; i = (i + 1) & mask())
      if (slots_[i].hash == hash && slots_[i].item->key == key) return slots_[i].item;
    return nullptr;
  }

  void insert(std::uint64_t hash, T* item) {
    if (++size_ * 4 > slots_.size() * 3) grow();
    put(hash, item);
  }

  void erase(std::uint64_t hash, T const* item) {
    std::size_t hole = hash & mask();
    while (slots_[hole].item != item) hole = (hole + 1) & mask();
    for (std::size_t i = (hole + 1) & mask(); slots_[i].item; i = (i + 1) & mask()) {
      std::size_t const home = slots_[i].hash & mask();
      if (((i - home) & mask()) >= ((i - hole) & mask())) slots_[std::exchange(hole, i)] = slots_[i];
    }
    slots_[hole].item = nullptr;
    --size_;
  }

 private:
  struct slot {
    std::uint64_t hash = 0;
    T* item = nullptr;
  };
  [[nodiscard]] std::size_t mask() const noexcept { return slots_.size() - 1; }
  void put(std::uint64_t hash, T* item) {
    std::size_t i = hash & mask();
    while (slots_[i].item) i = (i + 1) & mask();
    slots_[i] = {hash, item};
  }
  void grow() {
    std::vector<slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (slot const& s : old)
      if (s.item) put(s.hash, s.item);
  }

  std::vector<slot> slots_ = std::vector<slot>(16);
  std::size_t size_ = 0;
};

/// What is in flight: its key, who waits, how it ended.
struct floor_flight {
  explicit floor_flight(std::string_view k) : key(k) {}
  std::string key;
  int value = 0;
  int references = 1;
  void* waiters = nullptr;
  std::size_t place = 0;  // in floor_deadlines
  std::chrono::steady_clock::time_point deadline{};
};

/// Deadlines in a binary heap whose items know their place.
class floor_deadlines {
 public:
  void push(floor_flight& f) {
    heap_.push_back(&f);
    up(heap_.size() - 1);
  }
  void remove(floor_flight& f) {
    std::size_t const at = f.place;
    floor_flight* const last = heap_.back();
    heap_.pop_back();
    if (last == &f) return;
    heap_[at] = last;
    up(at);
    down(last->place);
  }

 private:
  void up(std::size_t i) {
    floor_flight* const f = heap_[i];
    for (; i && f->deadline < heap_[(i - 1) / 2]->deadline; i = (i - 1) / 2) set(i, heap_[(i - 1) / 2]);
    set(i, f);
  }
  void down(std::size_t i) {
    floor_flight* const f = heap_[i];
    for (;;) {
      std::size_t child = 2 * i + 1;
      if (child >= heap_.size()) break;
      if (child + 1 < heap_.size() && heap_[child + 1]->deadline < heap_[child]->deadline) ++child;
      if (f->deadline <= heap_[child]->deadline) break;
      set(i, heap_[child]);
      i = child;
    }
    set(i, f);
  }
  void set(std::size_t i, floor_flight* f) { (heap_[i] = f)->place = i; }

  std::vector<floor_flight*> heap_;
};

/// The table with one lock.
class alignas(64) floor_group {
 public:
  /// The flight of the key; `second`: this caller leads it.
  std::pair<floor_flight*, bool> enter(std::uint64_t hash, std::string_view key, bool timed = false) {
    auto const deadline = timed ? std::chrono::steady_clock::now() + std::chrono::seconds(5)
                                : std::chrono::steady_clock::time_point{};
    std::scoped_lock const lock(mutex_);
    if (floor_flight* const f = table_.find(hash, key)) return {f, false};
    auto* const f = new floor_flight(key);
    table_.insert(hash, f);
    if (timed) f->deadline = deadline, deadlines_.push(*f);
    return {f, true};
  }

  void end(std::uint64_t hash, floor_flight* f, bool timed = false) {
    {
      std::scoped_lock const lock(mutex_);
      table_.erase(hash, f);
      if (timed) deadlines_.remove(*f);
    }
    delete f;
  }

  /// Runs `with(flight)` under the lock if the key has one.
  template <class With>
  bool joined(std::uint64_t hash, std::string_view key, With&& with) {
    std::scoped_lock const lock(mutex_);
    floor_flight* const f = table_.find(hash, key);
    if (f) with(*f);
    return f != nullptr;
  }

 private:
  std::mutex mutex_;
  flat_table<floor_flight> table_;
  floor_deadlines deadlines_;
};

/// The same, in parts with a lock each.
class sharded_floor {
 public:
  [[nodiscard]] floor_group& of(std::uint64_t hash) { return shards_[hash >> 60]; }

 private:
  std::array<floor_group, 16> shards_;
};

}  // namespace bench
