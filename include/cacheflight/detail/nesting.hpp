// SPDX-License-Identifier: MIT
#pragma once

// Scopes that the code inside of them finds, on threads with more than one stack: the turns of rule 42.

#include <cacheflight/detail/process.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>

#if defined(__linux__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace cacheflight::inline v1::detail {

using stack_address = std::uintptr_t;

/// Where the caller's frame is. Stacks grow down.
#if defined(__GNUC__)
[[nodiscard, gnu::always_inline]] inline stack_address here() noexcept {
  return reinterpret_cast<stack_address>(__builtin_frame_address(0));
}
#else
[[nodiscard]] inline stack_address here() noexcept {
  char volatile local = 0;
  return reinterpret_cast<stack_address>(&local);
}
#endif

/// The stack that the system gave to this thread: from `low` to `high`.
struct thread_stack {
  stack_address low = 0, high = 0;

  [[nodiscard]] bool has(stack_address at) const noexcept { return low <= at && at < high; }

  /// Whether both are on this thread's. No, where that cannot be learned. The first time on a thread is slow.
  [[nodiscard, gnu::noinline]] static bool has_both(stack_address one, stack_address other) noexcept {
    CACHEFLIGHT_STATIC_TLS static thread_local constinit thread_stack own{};
    if (own.high == 0) own.learn();
    return own.has(one) && own.has(other);
  }

 private:
  void learn() noexcept {
    low = high = 1;  // empty, and known
#if defined(__linux__) && !defined(__ANDROID__)
    pthread_attr_t attributes{};
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
    void* bottom = nullptr;
    std::size_t size = 0;
    if (pthread_attr_getstack(&attributes, &bottom, &size) == 0) {
      low = reinterpret_cast<stack_address>(bottom);
      high = low + size;
    }
    pthread_attr_destroy(&attributes);
#elif defined(__APPLE__)
    high = reinterpret_cast<stack_address>(pthread_get_stackaddr_np(pthread_self()));
    low = high - pthread_get_stacksize_np(pthread_self());
#endif
  }
};

/// Base of an object on the stack that the code inside its scope finds through a thread-local variable,
/// without being given it: `T::around()`.
///
/// A thread can have several stacks: fibers. One may be suspended inside such a scope while its thread runs
/// other code for any time, and may be continued by another thread. Then the variable can point to a scope on
/// another stack, on another thread, or to one that has ended. So it is believed only by code that is deeper
/// on the same stack: both are on the thread's own, where scopes end in order; or they are so near to each
/// other that a fiber would have to be suspended with less than that left of its stack for them not to be on
/// one. Code that does not believe it finds none, which must be safe.
template <class T>
class nesting {
 public:
  nesting(nesting const&) = delete;
  nesting& operator=(nesting const&) = delete;

  /// The innermost that the caller is inside of, on its stack. Null if there is none.
  [[nodiscard, gnu::noinline]] static T* around() noexcept {
    remembered const& last = mine();
    return last.innermost && last.is_around(here()) ? last.innermost : nullptr;
  }

  /// The next one around this. Only for who is inside of this.
  [[nodiscard]] T* outer() const noexcept { return nested_ ? before_.innermost : nullptr; }

 protected:
  nesting() = default;
  ~nesting() {
    if (entered_) leave();
  }

  // Not inlined, as `around`, because of the thread-local variable: a function that is suspended, and
  // continued on another thread, must not go on with the variable of the first.

  /// From now on it is found. `at`: where its scope is.
  [[gnu::noinline]] void enter(stack_address at) noexcept {
    remembered& last = mine();
    enter(at, last, last.innermost && last.is_around(at));
  }

  /// `around`, and if that is null or `does` does not hold for it, then `enter`, and returns null.
  template <class Does>
  [[nodiscard, gnu::noinline]] T* around_or_enter(stack_address at, Does does) noexcept {
    remembered& last = mine();
    bool const nested = last.innermost && last.is_around(at);
    if (nested && does(*last.innermost)) return last.innermost;
    enter(at, last, nested);
    return nullptr;
  }

 private:
  /// Less than what is left of a fiber's stack wherever it is suspended.
  static constexpr stack_address window = 8 * 1024;

  struct remembered {
    T* innermost;
    stack_address at;
    std::uint64_t order;  // `disordered` when it entered

    [[nodiscard]] bool is_around(stack_address where) const noexcept {
      if (where > at) return false;
      if (at - where <= window && order == disordered.load(std::memory_order_acquire)) [[likely]]
        return true;
      return thread_stack::has_both(where, at);
    }
  };

  void enter(stack_address at, remembered& last, bool nested) noexcept {
    before_ = last;
    nested_ = nested;
    order_ = disordered.load(std::memory_order_acquire);
    last = {static_cast<T*>(this), at, order_};
    entered_ = true;
  }

  [[gnu::noinline]] void leave() noexcept {
    remembered& last = mine();
    if (last.innermost != static_cast<T*>(this) || last.order != order_) {
      // Not the last of this thread: there are fibers. What other threads remember of this cannot be mended
      // from here.
      disordered.fetch_add(1, std::memory_order_acq_rel);
    } else if (!before_.innermost || nested_ || disordered.load(std::memory_order_acquire) == order_) {
      last = before_;
    } else {
      last = remembered();  // what was before may be gone
    }
  }

  [[nodiscard]] static remembered& mine() noexcept {
    CACHEFLIGHT_STATIC_TLS static thread_local constinit remembered own{};
#if defined(__GNUC__)
    asm volatile("");  // who calls one of the above twice must not be given the first answer again
#endif
    return own;
  }

  static inline std::atomic<std::uint64_t> disordered{
      0};  // how many left that were not the last to enter on their thread

  bool entered_ = false, nested_ = false;
  remembered before_;  // this and the next: once it has entered
  std::uint64_t order_;
};

}  // namespace cacheflight::inline v1::detail
