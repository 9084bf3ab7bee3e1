// SPDX-License-Identifier: MIT
#pragma once

// Makes the n-th allocation of a region fail, or the n-th and all that follow. Seen are: every form of
// operator new, and what this program's own code, Asio's headers included, asks of malloc's family (the
// program is linked with --wrap). Not seen: what the runtime keeps a reserve for (exception objects) and what
// it cannot live without (thread-local storage).

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace faults {

enum class shortage { once, lasting };

/// A step of somebody else's code that cannot stand a failure: counted, and spared.
struct known_limit {
  char const* function;  // on the stack of the allocation
  char const* inner;     // on the stack inside of it, or null for any
  std::size_t size;      // what is asked for, or 0 for any
  char const* why;
  long spared = 0;
};

class injection {
 public:
  /// From now on the allocations of watched threads are counted; the `nth` fails. 0: none does.
  static void arm(long nth, shortage how) noexcept;
  static void disarm() noexcept;

  static long seen() noexcept;    ///< Allocations since `arm`.
  static long failed() noexcept;  ///< How many of them failed,
  static long spared() noexcept;  ///< and how many would have, but are known limits.
  static long live() noexcept;    ///< Objects of operator new that are not deleted, of all threads.

  /// Where the first failure was, for messages.
  static std::string where();

  static inline std::span<known_limit> limits;
  static inline thread_local bool watched = false;  // this thread's allocations count
  static inline thread_local int paused = 0;        // ... but not while the test keeps its own books
};

/// The test's own bookkeeping: not part of what is tested.
class pause {
 public:
  pause() noexcept { ++injection::paused; }
  pause(pause const&) = delete;
  pause& operator=(pause const&) = delete;
  ~pause() { --injection::paused; }
};

}  // namespace faults
