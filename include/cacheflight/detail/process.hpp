// SPDX-License-Identifier: MIT
#pragma once

// What belongs to the process or to a thread and not to a group (rule 38): usable from the first initializer
// of a static object to the end of the program, and on a thread for which there is no memory.

#include <cacheflight/detail/language.hpp>

#include <atomic>
#include <cstdint>
#include <memory>

#if __has_include(<pthread.h>)
#include <pthread.h>
#define CACHEFLIGHT_THREAD_END
#endif

// Before each `thread_local` of ours, all of which are constant-initialized, trivially destructible and
// small. A shared object that is loaded later would otherwise get them from the allocator, when a thread
// first touches one, and the C library ends the process if it has no memory then. So they are part of what
// each thread has from its beginning.
#if defined(__ELF__) && defined(__GLIBC__)
#define CACHEFLIGHT_STATIC_TLS [[gnu::tls_model("initial-exec")]]
#else
#define CACHEFLIGHT_STATIC_TLS
#endif

namespace cacheflight::inline v1::detail {

/// Default-constructed, and never destroyed.
template <class T>
union lasting {
  T object;
  constexpr lasting() noexcept : object() {}
  lasting(lasting const&) = delete;
  lasting& operator=(lasting const&) = delete;
  constexpr ~lasting() {}
};

/// A `T` for those who have none to refer to.
template <class T>
inline lasting<T> const nothing{};

/// "You were cancelled": made when it is first asked for, outside of every lock, that of a static variable
/// included, and never destroyed. Making it allocates, so a call that can be cancelled asks for it before it
/// enters; the copies that are thrown then cannot turn into `std::bad_alloc` (rule 10).
template <class Error>
[[nodiscard]] Error const& ready_made() {
  static constinit std::atomic<Error const*> made{nullptr};
  if (Error const* const one = made.load(std::memory_order_acquire)) return *one;
  auto fresh = std::make_unique<Error const>();
  Error const* first = nullptr;
  if (made.compare_exchange_strong(first, fresh.get(), std::memory_order_acq_rel)) return *fresh.release();
  return *first;
}

/// Has `End` called with what was noted on a thread when that thread ends, after its thread-locals have been
/// destroyed. Not any more once static objects have been: a shared object that is unloaded takes `End` along.
template <void (*End)(void*) noexcept>
class thread_end {
 public:
  /// Once on each thread. False: there is no memory to note it, or the program is about to end.
  [[nodiscard]] static bool note([[maybe_unused]] void* what) noexcept {
#ifdef CACHEFLIGHT_THREAD_END
    (void)&at_unload;
    std::uintptr_t const name = key();
    return name < over && pthread_setspecific(static_cast<pthread_key_t>(name - 1), what) == 0;
#else
    return false;
#endif
  }

#ifdef CACHEFLIGHT_THREAD_END
 private:
  static constexpr std::uintptr_t over = UINTPTR_MAX;

  [[nodiscard]] static std::uintptr_t key() noexcept {
    std::uintptr_t name = known.load(std::memory_order_acquire);
    pthread_key_t fresh;
    if (name != 0) return name;
    if (pthread_key_create(&fresh, [](void* what) { End(what); }) != 0) return over;
    if (known.compare_exchange_strong(name, std::uintptr_t{fresh} + 1, std::memory_order_acq_rel))
      return std::uintptr_t{fresh} + 1;
    pthread_key_delete(fresh);
    return name;
  }

  struct unload {
    ~unload() {
      std::uintptr_t const name = known.exchange(over, std::memory_order_acq_rel);
      if (name != 0) pthread_key_delete(static_cast<pthread_key_t>(name - 1));
    }
  };

  static inline constinit std::atomic<std::uintptr_t> known{0};  // plus 1; 0: none yet
  static inline unload const at_unload{};
#endif
};

}  // namespace cacheflight::inline v1::detail
