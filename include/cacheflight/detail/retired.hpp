// SPDX-License-Identifier: MIT
#pragma once

// Allocating runs the program's new-handler, and freeing may run code of its own, too: neither happens under
// a lock of ours (rule 41). Memory is allocated before the lock is taken, and freed after it is released.

#include <cacheflight/detail/language.hpp>

#include <cstddef>
#include <memory>
#include <new>
#include <utility>

namespace cacheflight::inline v1::detail {

struct block_deleter {
  void operator()(void* block) const noexcept { ::operator delete(block); }
};

/// Room for objects of a trivial type, value-initialized. It has none if there was no memory.
template <class T>
class storage {
 public:
  storage() = default;
  explicit storage(std::size_t count) noexcept {
    if (count != 0) objects_.reset(static_cast<T*>(::operator new(count * sizeof(T), std::nothrow)));
    if (objects_) count_ = count;
    for (std::size_t i = 0; i < count_; ++i) std::construct_at(objects_.get() + i);
  }

  [[nodiscard]] std::size_t count() const noexcept { return count_; }
  [[nodiscard]] T* release() noexcept { return objects_.release(); }
  /// Takes over what is to be freed; may be null.
  void reset(T* old) noexcept { objects_.reset(old); }

 private:
  std::unique_ptr<T, block_deleter> objects_;
  std::size_t count_ = 0;
};

/// A block of this size or more is freed when it becomes empty; a smaller one, when the next call comes.
/// glibc merges all its small free blocks when one of 64 KiB comes back, unless it had got that from the
/// system for itself, as it does from this size on; so a burst of 100,000 keys would pay for what it has left
/// behind while its last callers wait.
inline constexpr std::size_t goes_when_empty = 128 * 1024;

/// Memory that was given up under a lock.
class retired_memory {
 public:
  retired_memory() = default;
  retired_memory(retired_memory const&) = delete;
  retired_memory& operator=(retired_memory const&) = delete;

  /// Under the lock. `block`: of `operator new`, and large enough for a pointer.
  void retire(void* block) noexcept { last_ = ::new (block) link{last_}; }

 protected:
  ~retired_memory() = default;

  struct link {
    link* before;
  };
  link* last_ = nullptr;
};

/// A mutex that frees, when it has been given back, what was retired under it.
template <class Mutex>
class retiring_mutex : public retired_memory, public Mutex {
 public:
  void unlock() noexcept {
    link* const retired = last_;
    if (retired) [[unlikely]] {
      last_ = nullptr;
      Mutex::unlock();
      free_all(retired);
    } else {
      Mutex::unlock();
    }
  }

 private:
  [[gnu::noinline, gnu::cold]] static void free_all(link* retired) noexcept {
    while (retired) ::operator delete(std::exchange(retired, retired->before));
  }
};

}  // namespace cacheflight::inline v1::detail
