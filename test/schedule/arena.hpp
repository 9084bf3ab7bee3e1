// SPDX-License-Identifier: MIT
#pragma once

// The heap of one run: each fiber takes memory from its own region, one block after the other; freed blocks
// are filled with garbage that is always the same, and used again when the region is empty. So what is at an
// address depends on its fiber's own recent history alone, and states that are equal look equal, byte for
// byte. (Under the address sanitizer memory comes from its own heap instead.)

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define CACHEFLIGHT_TEST_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CACHEFLIGHT_TEST_ASAN 1
#endif
#endif

namespace schedule {

struct arena {
  static constexpr std::size_t count = 23;  // one for each fiber, and one for what runs outside of them
  static constexpr std::size_t outside = count - 1;
  static constexpr std::size_t size = 64 * 1024;

  static inline std::size_t current = outside;
  static inline bool active = false;  // during a run

  /// Memory in between is not from here.
  class pause {
   public:
    pause() : before_(active) { active = false; }
    pause(pause const&) = delete;
    pause& operator=(pause const&) = delete;
    ~pause() { active = before_; }

   private:
    bool before_;
  };

  [[nodiscard]] static void* take(std::size_t bytes, std::size_t alignment = 16) {
    std::size_t& next = next_[current];
    std::size_t const rounded = (bytes + 15) / 16 * 16;
    std::size_t const at = (next + 16 + alignment - 1) / alignment * alignment;
    if (at + rounded > size) std::abort();
    char* const block = memory_ + current * size + at;
    std::memset(memory_ + current * size + next, 0, at + rounded - next);
    next = at + rounded;
    ++live_[current];
    std::memcpy(block - 16, &rounded, sizeof rounded);
    return block;
  }
  /// False: not from here.
  [[nodiscard]] static bool give_back(void* p) {
    auto* const block = static_cast<char*>(p);
    if (block < memory_ || block >= memory_ + sizeof memory_) return false;
    std::size_t rounded;
    std::memcpy(&rounded, block - 16, sizeof rounded);
    std::memset(block - 16, 0xdf, rounded + 16);
    auto const region = static_cast<std::size_t>(block - memory_) / size;
    if (--live_[region] == 0) next_[region] = 0;
    return true;
  }
  static void reset() {
    for (std::size_t i = 0; i < count; ++i) {
      std::memset(memory_ + i * size, 0, next_[i]);
      next_[i] = live_[i] = 0;
    }
  }
  [[nodiscard]] static char const* begin(std::size_t i) { return memory_ + i * size; }
  [[nodiscard]] static std::size_t used(std::size_t i) { return next_[i]; }

  template <class Writer>
  static void save(Writer& to) {
    to.write(next_.data(), sizeof next_);
    to.write(live_.data(), sizeof live_);
    for (std::size_t i = 0; i < count; ++i) to.write(begin(i), next_[i]);
  }
  template <class Reader>
  static void restore(Reader& from) {
    auto const before = next_;
    from.read(next_.data(), sizeof next_);
    from.read(live_.data(), sizeof live_);
    for (std::size_t i = 0; i < count; ++i) {
      from.read(memory_ + i * size, next_[i]);
      if (before[i] > next_[i]) std::memset(memory_ + i * size + next_[i], 0, before[i] - next_[i]);
    }
  }

 private:
  alignas(64) static inline char memory_[count * size] = {};
  static inline std::array<std::size_t, count> next_{}, live_{};
};

/// Quick; collisions are about as likely as for random 64-bit numbers. Four lanes, so that multiplications
/// overlap.
class hasher {
 public:
  void add(void const* memory, std::size_t bytes) {
    auto const* p = static_cast<char const*>(memory);
    std::array<std::uint64_t, 4> lanes = lanes_;
    std::array<std::uint64_t, 8> words;
    for (; bytes >= 64; bytes -= 64, p += 64) {
      std::memcpy(words.data(), p, 64);
      for (std::size_t i = 0; i < 4; ++i) lanes[i] = mix(words[2 * i] ^ lanes[i], words[2 * i + 1] ^ odd[i]);
    }
    if (bytes) {
      words.fill(bytes);
      std::memcpy(words.data(), p, bytes);
      for (std::size_t i = 0; 16 * i < bytes; ++i)
        lanes[i] = mix(words[2 * i] ^ lanes[i], words[2 * i + 1] ^ odd[i]);
    }
    lanes_ = lanes;
  }
  [[nodiscard]] std::uint64_t value() const {
    std::uint64_t const v =
        mix(mix(lanes_[0] ^ odd[0], lanes_[1] ^ odd[1]) ^ odd[2], mix(lanes_[2], lanes_[3] ^ odd[3]));
    return v ? v : 1;
  }

 private:
  [[nodiscard]] static std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    __extension__ using wide = unsigned __int128;
    wide const product = static_cast<wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  static constexpr std::array<std::uint64_t, 4> odd{0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9,
                                                    0x94d049bb133111eb, 0xd6e8feb86659fd93};
  std::array<std::uint64_t, 4> lanes_{0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0,
                                      0x082efa98ec4e6c89};
};

}  // namespace schedule
