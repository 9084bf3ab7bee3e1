// SPDX-License-Identifier: MIT
#pragma once

// Memory of flights, results and of the coroutines that drive tasks: each thread keeps the last few blocks that it gave
// back, and takes those first. A call that misses then need not ask the allocator for anything.
//
// Not under the sanitizers, which could not tell a block's lives apart; nor where CACHEFLIGHT_NO_RECYCLING is defined, in
// all translation units of a program or in none.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#if !defined(CACHEFLIGHT_NO_RECYCLING) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__))
#define CACHEFLIGHT_NO_RECYCLING
#elif !defined(CACHEFLIGHT_NO_RECYCLING) && defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define CACHEFLIGHT_NO_RECYCLING
#endif
#endif

namespace cacheflight::inline v1::detail {

/// A thread's blocks: at most `depth` of each size.
class block_cache {
 public:
  static constexpr std::size_t step = 16, sizes = 32, depth = 4;
  static constexpr std::size_t largest = sizes * step - step / 2;

  /// Room for `size` bytes, at most `largest`, aligned for all that needs no `std::align_val_t`. Throws `std::bad_alloc`.
  [[nodiscard]] static void* take(std::size_t size) {
    stack& s = mine.of[index(size)];
    if (!s.top) return ::operator new(index(size) * step + step / 2);
    --s.count;
    return std::exchange(s.top, s.top->below);
  }

  /// What `take` gave for the same size, on any thread.
  static void give_back(void* block, std::size_t size) noexcept {
    stack& s = mine.of[index(size)];
    if (s.count == depth || mine.state != open) [[unlikely]] {
      if (s.count == depth || !mine.begin()) return ::operator delete(block);
    }
    s.top = ::new (block) link{s.top};
    ++s.count;
  }

 private:
  struct link {
    link* below;
  };
  struct stack {
    link* top = nullptr;
    std::uint32_t count = 0;
  };
  enum phase : std::uint8_t { fresh, open, over };

  /// Frees what is left when the thread ends. Blocks that are given back even later are freed at once.
  struct closer {
    ~closer() {
      mine.state = over;
      for (stack& s : mine.of) {
        while (s.top) ::operator delete(std::exchange(s.top, s.top->below));
        s.count = 0;
      }
    }
  };

  /// The thread's first block. False: the thread is about to end.
  [[nodiscard]] bool begin() noexcept {
    if (state == over) return false;
    static thread_local closer at_exit;
    (void)&at_exit;
    state = open;
    return true;
  }

  /// Blocks have 8, 24, 40 … bytes, which is what the C library gives anyway.
  [[nodiscard]] static constexpr std::size_t index(std::size_t size) noexcept { return (size + step / 2 - 1) / step; }

  std::array<stack, sizes> of{};
  phase state = fresh;

  static thread_local constinit block_cache mine;
};
inline thread_local constinit block_cache block_cache::mine{};

#ifdef CACHEFLIGHT_NO_RECYCLING
inline constexpr bool recycles = false;
#else
inline constexpr bool recycles = true;
#endif

[[nodiscard]] constexpr bool recyclable(std::size_t size) noexcept {
  return recycles && size != 0 && size <= block_cache::largest;
}

/// Base of what is made with `new` and worth recycling.
struct recycled {
  [[nodiscard]] static void* operator new(std::size_t size) {
    return recyclable(size) ? block_cache::take(size) : ::operator new(size);
  }
  static void operator delete(void* block, std::size_t size) noexcept {
    if (recyclable(size)) block_cache::give_back(block, size);
    else ::operator delete(block);
  }
  [[nodiscard]] static void* operator new(std::size_t size, std::align_val_t alignment) {
    return ::operator new(size, alignment);
  }
  static void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept {
    ::operator delete(block, alignment);
  }
};

/// The same for `std::allocate_shared`.
template <class T>
struct recycling_allocator {
  using value_type = T;

  recycling_allocator() = default;
  template <class U>
  recycling_allocator(recycling_allocator<U> const&) noexcept {}

  [[nodiscard]] T* allocate(std::size_t count) {
    if constexpr (small) {
      if (count == 1) return static_cast<T*>(block_cache::take(sizeof(T)));
    }
    return std::allocator<T>().allocate(count);
  }
  void deallocate(T* block, std::size_t count) noexcept {
    if constexpr (small) {
      if (count == 1) return block_cache::give_back(block, sizeof(T));
    }
    std::allocator<T>().deallocate(block, count);
  }
  friend bool operator==(recycling_allocator const&, recycling_allocator const&) noexcept { return true; }

 private:
  static constexpr bool small = recyclable(sizeof(T)) && alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__;
};

/// `std::make_shared`, recycled.
template <class T, class... Args>
[[nodiscard]] std::shared_ptr<T> make_shared_recycled(Args&&... args) {
  return std::allocate_shared<T>(recycling_allocator<std::remove_cv_t<T>>(), std::forward<Args>(args)...);
}

}  // namespace cacheflight::inline v1::detail
