// SPDX-License-Identifier: MIT
#include "unit/memory.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

namespace memory {
thread_local constinit of_thread mine;

namespace {
void* get(std::size_t size) noexcept {
  if (auto* const call = std::exchange(mine.once, nullptr)) call(mine.with);
  if (mine.none) return ++mine.refused, nullptr;
  ++mine.allocated;
  return std::malloc(size ? size : 1);
}
void give_back(void* block) noexcept {
  if (block) ++mine.freed;
  std::free(block);
}
}  // namespace
}  // namespace memory

void* operator new(std::size_t size) {
  if (void* const block = memory::get(size)) return block;
  throw std::bad_alloc();
}
void* operator new(std::size_t size, std::nothrow_t const&) noexcept { return memory::get(size); }
void operator delete(void* block) noexcept { memory::give_back(block); }
void operator delete(void* block, std::size_t) noexcept { memory::give_back(block); }
