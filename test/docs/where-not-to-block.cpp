// SPDX-License-Identifier: MIT
//
// docs/guides/where-not-to-block.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <memory>
#include <string>

namespace docs::where_not_to_block {
user load_user(std::string id) { return {id, "Ada"}; }

#include "where-not-to-block/where-not-to-block.inc"

TEST(docs_where_not_to_block, two_pools) {
  printed out;
  {
    cacheflight::group flights;
    pool work, requests;
    serve(requests, work, flights, "42");
    serve(requests, work, flights, "43");
  }
  EXPECT_EQ(out.text(), page_says("where-not-to-block/where-not-to-block.out"));
}
}  // namespace docs::where_not_to_block
