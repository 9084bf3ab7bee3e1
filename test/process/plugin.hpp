// SPDX-License-Identifier: MIT
#pragma once

// Uses of the library that a program can have, or what it loads: with nothing of the library in between.

#include <cstddef>

namespace plugin {

struct service;
enum class outcome { pending, value, no_memory, other };

struct uses {
  service* (*open)();  ///< One flight is up.
  void (*close)(service*);
  std::size_t (*waiters)(service*);
  int (*answer)(service*);      ///< Ends it with 5; how many turns were taken inside.
  int (*join)(service*);        ///< Blocks for it; what it yields, 0 for an exception.
  bool (*drop_last)(service*);  ///< Lets the last reference to a result go.
  outcome (*lead)(service*);    ///< A blocking call of another key.
  outcome (*start)(service*);   ///< A callback joins it.
  outcome (*await)(service*);   ///< A coroutine joins it.
};

extern uses const all;

}  // namespace plugin
