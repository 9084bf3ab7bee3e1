// SPDX-License-Identifier: MIT

#include "injection.hpp"

#include <cxxabi.h>
#include <dlfcn.h>
#include <execinfo.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>

// The linker sends this program's calls of malloc and its family here (--wrap).
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names
void* __real_malloc(std::size_t);
void* __real_calloc(std::size_t, std::size_t);
void* __real_realloc(void*, std::size_t);
void* __real_aligned_alloc(std::size_t, std::size_t);
int __real_posix_memalign(void**, std::size_t, std::size_t);
void* __wrap_malloc(std::size_t);
void* __wrap_calloc(std::size_t, std::size_t);
void* __wrap_realloc(void*, std::size_t);
void* __wrap_aligned_alloc(std::size_t, std::size_t);
int __wrap_posix_memalign(void**, std::size_t, std::size_t);
// NOLINTEND(bugprone-reserved-identifier)
}

namespace faults {
namespace {

std::atomic<bool> armed{false};
std::atomic<long> seen_{0}, failed_{0}, spared_{0}, live_{0};
long nth_ = 0;
shortage how_ = shortage::once;
std::mutex failing_;  // guards what is below
std::array<void*, 64> stack_;
int depth_ = 0;

char const* symbol(void* address) noexcept {
  Dl_info info;
  return dladdr(address, &info) != 0 && info.dli_sname ? info.dli_sname : "";
}

/// The function's name without what is between angle brackets.
std::string readable(char const* mangled) {
  int status = 0;
  char* const text = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
  std::string name;
  int inside = 0;
  for (char const* c = text ? text : mangled; *c; ++c) {
    if (*c == '<') ++inside;
    if (inside == 0) name += *c;
    if (*c == '>') --inside;
  }
  std::free(text);
  return name;
}

/// Which of the limits' names a function has: bit 2i for `function`, 2i + 1 for `inner`. Looking that up is
/// slow.
unsigned names_of(void* address) {
  static std::unordered_map<void*, unsigned> known;
  if (auto const at = known.find(address); at != known.end()) return at->second;
  long const before = live_;
  auto const at = known.emplace(address, 0u).first;
  live_ = before;  // these stay
  char const* const name = symbol(address);
  for (std::size_t i = 0; i < injection::limits.size(); ++i) {
    known_limit const& each = injection::limits[i];
    if (std::strstr(name, each.function)) at->second |= 1u << (2 * i);
    if (each.inner && std::strstr(name, each.inner)) at->second |= 2u << (2 * i);
  }
  return at->second;
}

known_limit* limit_of(std::span<void* const> stack, std::size_t size) {
  unsigned passed = 0;  // names seen further inside
  for (void* const address : stack) {
    unsigned const names = names_of(address);
    for (std::size_t i = 0; i < injection::limits.size(); ++i) {
      known_limit& each = injection::limits[i];
      if ((each.size == 0 || each.size == size) && (names & 1u << (2 * i)) &&
          (!each.inner || ((passed | names) & 2u << (2 * i))))
        return &each;
    }
    passed |= names;
  }
  return nullptr;
}

bool fails(std::size_t size) noexcept {
  if (!armed.load(std::memory_order_relaxed) || !injection::watched || injection::paused > 0) return false;
  long const now = ++seen_;
  if (nth_ == 0 || (how_ == shortage::once ? now != nth_ : now < nth_)) return false;
  pause const own;
  std::scoped_lock const lock(failing_);
  std::array<void*, 64> stack;
  if (failed_ == 0 || !injection::limits.empty()) {
    int const depth = backtrace(stack.data(), static_cast<int>(stack.size()));
    if (known_limit* const limit = limit_of(std::span(stack).first(static_cast<std::size_t>(depth)), size)) {
      ++limit->spared;
      ++spared_;
      return false;
    }
    if (failed_ == 0) stack_ = stack, depth_ = depth;
  }
  ++failed_;
  return true;
}

void* obtain(std::size_t size, std::size_t alignment) noexcept {
  if (fails(size)) return nullptr;
  std::size_t const whole = size == 0 ? 1 : size;
  void* const p = alignment == 0
                      ? __real_malloc(whole)
                      : __real_aligned_alloc(alignment, (whole + alignment - 1) / alignment * alignment);
  if (p) live_.fetch_add(1, std::memory_order_relaxed);
  return p;
}
void* obtain_or_throw(std::size_t size, std::size_t alignment) {
  if (void* const p = obtain(size, alignment)) return p;
  throw std::bad_alloc();
}
void give_back(void* p) noexcept {
  if (!p) return;
  live_.fetch_sub(1, std::memory_order_relaxed);
  std::free(p);
}

}  // namespace

void injection::arm(long nth, shortage how) noexcept {
  nth_ = nth;
  how_ = how;
  seen_ = failed_ = spared_ = 0;
  depth_ = 0;
  armed = true;
}
void injection::disarm() noexcept { armed = false; }
long injection::seen() noexcept { return seen_; }
long injection::failed() noexcept { return failed_; }
long injection::spared() noexcept { return spared_; }
long injection::live() noexcept { return live_; }

std::string injection::where() {
  std::string text;
  for (int i = 0; i < depth_ && i < 24; ++i) {
    char const* const name = symbol(stack_[static_cast<std::size_t>(i)]);
    if (*name) text += "\n    " + readable(name).substr(0, 200);
  }
  return text;
}

}  // namespace faults

extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier): the linker's names, as above
void* __wrap_malloc(std::size_t size) { return faults::fails(size) ? nullptr : __real_malloc(size); }
void* __wrap_calloc(std::size_t count, std::size_t size) {
  return faults::fails(count * size) ? nullptr : __real_calloc(count, size);
}
void* __wrap_realloc(void* p, std::size_t size) {
  return faults::fails(size) ? nullptr : __real_realloc(p, size);
}
void* __wrap_aligned_alloc(std::size_t alignment, std::size_t size) {
  return faults::fails(size) ? nullptr : __real_aligned_alloc(alignment, size);
}
int __wrap_posix_memalign(void** p, std::size_t alignment, std::size_t size) {
  return faults::fails(size) ? ENOMEM : __real_posix_memalign(p, alignment, size);
}
// NOLINTEND(bugprone-reserved-identifier)
}

void* operator new(std::size_t n) { return faults::obtain_or_throw(n, 0); }
void* operator new[](std::size_t n) { return faults::obtain_or_throw(n, 0); }
void* operator new(std::size_t n, std::nothrow_t const&) noexcept { return faults::obtain(n, 0); }
void* operator new[](std::size_t n, std::nothrow_t const&) noexcept { return faults::obtain(n, 0); }
void* operator new(std::size_t n, std::align_val_t a) {
  return faults::obtain_or_throw(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return faults::obtain_or_throw(n, static_cast<std::size_t>(a));
}
void* operator new(std::size_t n, std::align_val_t a, std::nothrow_t const&) noexcept {
  return faults::obtain(n, static_cast<std::size_t>(a));
}
void* operator new[](std::size_t n, std::align_val_t a, std::nothrow_t const&) noexcept {
  return faults::obtain(n, static_cast<std::size_t>(a));
}
void operator delete(void* p) noexcept { faults::give_back(p); }
void operator delete[](void* p) noexcept { faults::give_back(p); }
void operator delete(void* p, std::size_t) noexcept { faults::give_back(p); }
void operator delete[](void* p, std::size_t) noexcept { faults::give_back(p); }
void operator delete(void* p, std::nothrow_t const&) noexcept { faults::give_back(p); }
void operator delete[](void* p, std::nothrow_t const&) noexcept { faults::give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { faults::give_back(p); }
void operator delete[](void* p, std::align_val_t) noexcept { faults::give_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { faults::give_back(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { faults::give_back(p); }
void operator delete(void* p, std::align_val_t, std::nothrow_t const&) noexcept { faults::give_back(p); }
void operator delete[](void* p, std::align_val_t, std::nothrow_t const&) noexcept { faults::give_back(p); }
