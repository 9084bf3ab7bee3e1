// SPDX-License-Identifier: MIT
// What clang's -Wthread-safety must refuse: run by meta.thread_safety.
#include <mutex>

void locked_twice(std::mutex& mutex) {
  std::scoped_lock const once(mutex);
  std::scoped_lock const twice(mutex);
}
