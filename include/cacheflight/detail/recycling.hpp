// SPDX-License-Identifier: MIT
#pragma once

// Memory of flights, results and of the coroutines that drive tasks: each thread keeps the last few blocks
// that it gave back, and takes those first. A call that misses then need not ask the allocator for anything.
//
// Not under the sanitizers, which could not tell a block's lives apart; nor where CACHEFLIGHT_NO_RECYCLING is
// defined, in all translation units of a program or in none.

#include <cacheflight/detail/process.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
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

/// A thread's blocks: at most `depth` of each size. Sizes are multiples of 8, so that what is aligned to 16
/// bytes, whose size is a multiple of 16, only meets blocks that were asked for with such a size, which have
/// that alignment.
///
/// A thread has a cache from the first block that it gives back until its thread-locals have been destroyed,
/// if there is memory for one. Neither taking nor giving back fails for want of it, and giving back does not
/// ask the program's own `operator new`, whose new-handler may be the end of it. Hence no `thread_local` with
/// a destructor: the C library ends the process if it cannot note it.
class block_cache {
 public:
  static constexpr std::size_t step = 8, largest = 512, depth = 4;

  /// What is asked for, and so what a block has, for an object of `size` bytes.
  [[nodiscard]] static constexpr std::size_t rounded(std::size_t size) noexcept {
    return (size + step - 1) / step * step;
  }

  /// Room for `size` bytes, at most `largest`, aligned for what needs no `std::align_val_t`. Throws
  /// `std::bad_alloc`.
  [[nodiscard]] static void* take(std::size_t size) {
    stack& s = mine->of_size(size);
    if (!s.top) return ::operator new(rounded(size));
    --s.count;
    return std::exchange(s.top, s.top->below);
  }

  /// What `take` gave for the same size, on any thread.
  static void give_back(void* block, std::size_t size) noexcept {
    block_cache* cache = mine;
    if (cache->of_size(size).count == depth) [[unlikely]] {
      if (cache != &none || !(cache = begin())) return ::operator delete(block);
    }
    stack& s = cache->of_size(size);
    s.top = ::new (block) link{s.top};
    ++s.count;
  }

 private:
  struct link {
    link* below;
  };
  struct stack {
    link* top = nullptr;
    std::size_t count = 0;
  };

  block_cache() = default;
  struct full {};
  /// Has nothing, and takes nothing.
  constexpr explicit block_cache(full) noexcept {
    for (stack& s : of) s.count = depth;
  }
  block_cache(block_cache const&) = delete;
  block_cache& operator=(block_cache const&) = delete;
  ~block_cache() = default;

  /// The thread's first block. Null: there is no memory for a cache, or the program is about to end.
  [[nodiscard, gnu::noinline, gnu::cold]] static block_cache* begin() noexcept {
    void* const memory = std::malloc(sizeof(block_cache));
    if (!memory) return nullptr;
    auto* const fresh = ::new (memory) block_cache;
    if (!thread_end<end>::note(fresh)) return std::free(memory), nullptr;
    return mine = fresh;
  }

  /// When the thread ends: frees what is left. Blocks that are given back even later are freed at once.
  static void end(void* cache) noexcept {
    auto* const ending = static_cast<block_cache*>(cache);
    if (mine == ending) mine = &closed;
    for (stack& s : ending->of)
      while (s.top) ::operator delete(std::exchange(s.top, s.top->below));
    std::free(cache);
  }

  [[nodiscard]] stack& of_size(std::size_t size) noexcept { return of[(size - 1) / step]; }

  std::array<stack, largest / step> of{};

  static block_cache none, closed;  // of a thread that has no cache yet, or no longer
  static thread_local constinit block_cache* mine;
};
inline constinit block_cache block_cache::none{block_cache::full()};
inline constinit block_cache block_cache::closed{block_cache::full()};
CACHEFLIGHT_STATIC_TLS inline thread_local constinit block_cache* block_cache::mine = &block_cache::none;

#ifdef CACHEFLIGHT_NO_RECYCLING
inline constexpr bool recycles = false;
#else
inline constexpr bool recycles = true;
#endif

/// A block for an object of `size` bytes, which is not zero. Its size is the same where nothing is recycled:
/// so nothing breaks if part of a program is built with a sanitizer.
[[nodiscard]] inline void* allocate_block(std::size_t size) {
  if (size > block_cache::largest) return ::operator new(size);
  return recycles ? block_cache::take(size) : ::operator new(block_cache::rounded(size));
}
inline void free_block(void* block, std::size_t size) noexcept {
  if (recycles && size <= block_cache::largest) block_cache::give_back(block, size);
  else ::operator delete(block);
}

/// Base of what is made with `new` and worth recycling.
struct recycled {
  [[nodiscard]] static void* operator new(std::size_t size) { return allocate_block(size); }
  static void operator delete(void* block, std::size_t size) noexcept { free_block(block, size); }
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
    if constexpr (plainly_aligned) {
      if (count == 1) return static_cast<T*>(allocate_block(sizeof(T)));
    }
    return std::allocator<T>().allocate(count);
  }
  void deallocate(T* block, std::size_t count) noexcept {
    if constexpr (plainly_aligned) {
      if (count == 1) return free_block(block, sizeof(T));
    }
    std::allocator<T>().deallocate(block, count);
  }
  friend bool operator==(recycling_allocator const&, recycling_allocator const&) noexcept { return true; }

 private:
  static constexpr bool plainly_aligned = alignof(T) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__;
};

/// `std::make_shared`, recycled.
template <class T, class... Args>
[[nodiscard]] std::shared_ptr<T> make_shared_recycled(Args&&... args) {
  return std::allocate_shared<T>(recycling_allocator<std::remove_cv_t<T>>(), std::forward<Args>(args)...);
}

}  // namespace cacheflight::inline v1::detail
