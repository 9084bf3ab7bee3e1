// SPDX-License-Identifier: MIT
//
// docs/guides/processes.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <sys/wait.h>
#include <unistd.h>

namespace docs::processes {
#include "processes/fork-signals-exit.inc"

TEST(docs_processes, fork) { EXPECT_EQ(answer_in_a_child(), 42); }
}  // namespace docs::processes
