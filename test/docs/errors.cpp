// SPDX-License-Identifier: MIT
//
// docs/guides/errors.md
#include "docs/harness.hpp"
#include <cacheflight/blocking.hpp>

#include <stdexcept>
#include <string_view>

namespace docs::errors {

struct no_such_user {};
user load_user(std::string id) {
  if (id == "0") throw no_such_user();
  if (id == "1") throw cacheflight::timeout_error(cacheflight::timeout_scope::flight);
  if (id == "2") throw cacheflight::type_mismatch_error();
  if (id == "3") throw cacheflight::max_keys_error();
  return {id, "Ada"};
}
int attempts = 0;
std::string audited;
void audit(std::string text) { audited = std::move(text); }

#include "errors/errors-and-secrets.inc"
#include "errors/handling-them.inc"
#include "errors/one-failure-many-callers.inc"

TEST(docs_errors, handling) {
  cacheflight::group flights;
  EXPECT_EQ(status_of(flights, "42"), 200);
  EXPECT_EQ(status_of(flights, "0"), 404);
  EXPECT_EQ(status_of(flights, "1"), 504);
  EXPECT_EQ(status_of(flights, "2"), 500);
  EXPECT_EQ(status_of(flights, "3"), 503);
}

TEST(docs_errors, one_failure) {
  printed out;
  cacheflight::group flights;
  ask_twice(flights);
  EXPECT_EQ(out.text(), page_says("errors/one-failure-many-callers.out"));
}

TEST(docs_errors, secrets) {
  cacheflight::group flights(cacheflight::options().max_keys(1));
  testing::internal::CaptureStderr();
  (void)flights.run("first", [&] {
    try {
      (void)flights.run("secret", [] { return 1; });
    } catch (cacheflight::error const& error) {
      report(error);
    }
    return 0;
  });
  EXPECT_EQ(testing::internal::GetCapturedStderr().find("secret"), std::string::npos);
  EXPECT_EQ(audited, "failed key: secret");
}
}  // namespace docs::errors
