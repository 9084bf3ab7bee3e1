// SPDX-License-Identifier: MIT
//
// docs/guides/background.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>

#include <atomic>
#include <latch>
#include <memory>
#include <string>

namespace docs::background {
struct page {
  std::string name;
};
std::latch* held = nullptr;
std::atomic<int> loads = 0, failures = 0;
page load_page(std::string const& name) {
  ++loads;
  held->wait();
  return {name};
}

#include "background/work-that-nobody-waits-for.inc"

TEST(docs_background, who_asks_meanwhile_waits_for_the_same_load) {
  std::latch go(1);
  held = &go;
  cacheflight::group flights;
  {
    pool workers;
    warm_up(flights, workers, "home");
    std::jthread reader([&] { EXPECT_EQ(flights.run("page:home", [] { return page(); })->name, "home"); });
    await_waiters(flights, 2);
    go.count_down();
  }
  EXPECT_EQ(loads, 1);
  EXPECT_EQ(failures, 0);
}
}  // namespace docs::background
