// SPDX-License-Identifier: MIT
//
// docs/guides/observability.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <any>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#ifdef WITH_PROMETHEUS
#include <cacheflight/prometheus.hpp>
#endif

namespace docs::observability {
using namespace std::chrono_literals;

user load_user(std::string const& id) {
  if (id == "0") throw std::runtime_error("no such user");
  return {id, "Ada"};
}
std::string logged;
template <class... Ts>
void log(char const*, Ts const&... values) {
  std::ostringstream line;
  ((line << values << ' '), ...);
  logged += line.str() + '\n';
}

#include "observability/the-books.inc"
#include "observability/events.inc"

TEST(docs_observability, books) {
  cacheflight::group shared;
  {
    std::vector<std::jthread> callers;
    auto const load = [&] {
      await_waiters(shared, 3);
      return 1;
    };
    for (int i = 0; i < 3; ++i) callers.emplace_back([&] { (void)shared.run("key", load); });
  }
  (void)shared.run("key", [] { return 1; });
  printed out;
  print_books(shared);
  EXPECT_EQ(out.text(), page_says("observability/the-books.out"));
}

TEST(docs_observability, events) {
  handle("request-7", "42");
  EXPECT_EQ(logged, "");
  EXPECT_THROW(handle("request-8", "0"), std::runtime_error);
  EXPECT_NE(logged.find("task_rejected"), std::string::npos);
  EXPECT_NE(logged.find("request-8"), std::string::npos);
  EXPECT_EQ(logged.find("user:"), std::string::npos);
}

#ifdef WITH_PROMETHEUS
namespace with_prometheus {
#include "observability/metrics.inc"

TEST(docs_observability, metrics) {
  watch();
  (void)users.run("42", [] { return 1; });
  bool found = false;
  for (auto const& family : metrics->Collect())
    found = found || (family.name == "cacheflight_task_duration_ms" && family.metric.size() == 1);
  EXPECT_TRUE(found);
}
}  // namespace with_prometheus
#endif
}  // namespace docs::observability
