// SPDX-License-Identifier: MIT
#pragma once

// The program's allocator, for tests in which a thread runs out of memory or counts.

namespace memory {

struct of_thread {
  bool none = false;              ///< There is none.
  void (*once)(void*) = nullptr;  ///< Called in the next allocation,
  void* with = nullptr;           ///< with this.
  int refused = 0, allocated = 0, freed = 0;
};
extern thread_local constinit of_thread mine;

/// No memory for this thread as long as this lives.
struct shortage {
  shortage() {
    mine.none = true;
    mine.refused = 0;
  }
  shortage(shortage const&) = delete;
  shortage& operator=(shortage const&) = delete;
  ~shortage() { mine.none = false; }
};

/// What this thread has asked for, and freed, since this was made.
class counting {
 public:
  [[nodiscard]] int allocations() const { return mine.allocated - before_.allocated; }
  [[nodiscard]] int frees() const { return mine.freed - before_.freed; }

 private:
  of_thread before_ = mine;
};

}  // namespace memory
