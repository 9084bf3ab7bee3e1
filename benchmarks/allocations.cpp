// SPDX-License-Identifier: MIT
#include "allocations.hpp"

#include <malloc.h>

#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <stdexcept>
#include <vector>

// glibc's allocator under its other names. `operator new` of libstdc++ calls malloc or aligned_alloc, so
// wrapping this family counts it as well; wrapping both would count it twice.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): glibc's names
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
void __libc_free(void*);
// NOLINTEND(bugprone-reserved-identifier)
}

namespace {

thread_local bool counting = false;
thread_local bench::heap_use use;

void* taken(void* p, std::size_t size) noexcept {
  if (counting && p) {
    ++use.allocations;
    use.bytes += size;
    use.held += static_cast<std::ptrdiff_t>(malloc_usable_size(p));
  }
  return p;
}

void given_back(void* p) noexcept {
  if (counting && p) use.held -= static_cast<std::ptrdiff_t>(malloc_usable_size(p));
}

}  // namespace

extern "C" {
void* malloc(std::size_t size) noexcept { return taken(__libc_malloc(size), size); }
void* calloc(std::size_t count, std::size_t size) noexcept {
  return taken(__libc_calloc(count, size), count * size);
}
void* realloc(void* old, std::size_t size) noexcept {
  given_back(old);
  return taken(__libc_realloc(old, size), size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return taken(__libc_memalign(alignment, size), size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept {
  return taken(__libc_memalign(alignment, size), size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) noexcept {
  void* const p = taken(__libc_memalign(alignment, size), size);
  if (!p) return ENOMEM;
  *out = p;
  return 0;
}
void free(void* p) noexcept {
  given_back(p);
  __libc_free(p);
}
}

namespace bench {

heap_counter::heap_counter() noexcept {
  use = {};
  counting = true;
}
heap_counter::~heap_counter() { counting = false; }
heap_use heap_counter::now() const noexcept { return use; }

void check_heap_counter() {
  struct alignas(128) wide {
    char bytes[128];
  };
  heap_counter const counter;
  std::vector<void*> kept;
  kept.reserve(8);
  std::size_t const before = counter.now().allocations;
  auto const one = std::make_unique<int>(1);
  auto const two = std::make_unique<wide>();
  kept = {std::malloc(10), std::calloc(2, 5), std::aligned_alloc(64, 128)};
  void* last = nullptr;
  if (posix_memalign(&last, 64, 10) == 0) kept.push_back(last);
  asm volatile("" : : "r"(one.get()), "r"(two.get()), "r"(kept.data()) : "memory");  // not to be left out
  std::size_t const seen = counter.now().allocations - before;
  for (void* p : kept) std::free(p);
  if (seen != 6) throw std::runtime_error("the heap counter does not count every way of allocating");
}

}  // namespace bench
