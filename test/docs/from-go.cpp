// SPDX-License-Identifier: MIT
//
// docs/guides/from-go.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <chrono>
#include <memory>
#include <stop_token>

namespace docs::from_go {
using namespace std::chrono_literals;

struct pool_executor {
  std::shared_ptr<pool> workers = std::make_shared<pool>();
  void operator()(cacheflight::work w) const { workers->push(w); }
};

#include "from-go/from-gos-singleflight.inc"

user users::load(std::string id) { return {id, "Ada"}; }

TEST(docs_from_go, users) {
  users all;
  EXPECT_EQ(all.get({}, "42")->name, "Ada");
  std::stop_source stopped;
  stopped.request_stop();
  EXPECT_THROW((void)all.get(stopped.get_token(), "42"), cacheflight::caller_stopped_error);
}
}  // namespace docs::from_go
