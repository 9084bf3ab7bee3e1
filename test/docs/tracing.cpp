// SPDX-License-Identifier: MIT
//
// docs/guides/tracing.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <any>
#include <regex>
#include <string>
#include <thread>

namespace docs::tracing {
std::string load_page();

#include "tracing/tracing.inc"

std::string load_page() {
  await_waiters(flights, 2);
  return "page";
}

TEST(docs_tracing, two_requests) {
  printed out;
  {
    std::jthread a([] { (void)get("trace-a"); });
    while (out.text().find("begins") == std::string::npos) std::this_thread::yield();
    (void)get("trace-b");
  }
  std::string const text = std::regex_replace(out.text(), std::regex("flight [0-9]+"), "flight 1");
  EXPECT_EQ(text, page_says("tracing/tracing.out"));
}
}  // namespace docs::tracing
