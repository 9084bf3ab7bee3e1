// SPDX-License-Identifier: MIT
#include <cacheflight/blocking.hpp>
#include <cacheflight/group.hpp>
#include <cacheflight/redact.hpp>

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using cacheflight::redactor;
constexpr std::string_view secret = "0123456789abcdef";

// Said by: printf %s "user:42" | openssl dgst -sha256 -hmac 0123456789abcdef
TEST(redactor, token_is_the_beginning_of_hmac_sha256) {
  EXPECT_EQ(redactor(secret)("user:42"), "24c38d7f3f36267d550ce107");
}

// RFC 4231, test cases 2 (its secret is too short for us), 3 and 6.
TEST(redactor, tokens_of_rfc_4231) {
  EXPECT_EQ(redactor(std::string(20, '\xaa'))(std::string(50, '\xdd')), "773ea91e36800e46854db8eb");
  EXPECT_EQ(redactor(std::string(131, '\xaa'))("Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aa");
}

TEST(redactor, same_key_and_secret_same_token) {
  redactor const one(secret), other(secret);
  redactor const copy = one;
  EXPECT_EQ(one("user:42"), other("user:42"));
  EXPECT_EQ(one("user:42"), copy("user:42"));
  EXPECT_NE(one("user:42"), one("user:43"));
  EXPECT_EQ(one("").size(), 24U);
  EXPECT_NE(one(std::string_view("a\0b", 3)), one("a"));
}

TEST(redactor, another_secret_gives_another_token) {
  EXPECT_NE(redactor(secret)("user:42"), redactor("0123456789abcdeF")("user:42"));
  EXPECT_NE(redactor()("user:42"), redactor()("user:42"));
}

TEST(redactor, short_secrets_are_refused) {
  EXPECT_THROW(redactor("0123456789abcde"), std::invalid_argument);
  EXPECT_THROW(redactor(""), std::invalid_argument);
}

TEST(redactor, the_secret_need_not_outlive_the_call) {
  std::string gone(secret);
  redactor const redact(gone);
  gone.assign(gone.size(), '-');
  EXPECT_EQ(redact("user:42"), redactor(secret)("user:42"));
}

TEST(redactor, keeps_keys_out_of_a_log) {
  std::vector<std::string> log;
  redactor const redact;
  {
    cacheflight::group flights(cacheflight::options().on_event([&log, redact](cacheflight::event const& e) {
      log.push_back(std::string(to_string(e.type)) + ' ' + redact(e.key));
    }));
    (void)flights.run("user:42", [] { return 1; });
  }
  ASSERT_EQ(log.size(), 3U);
  EXPECT_EQ(log[0], "miss " + redact("user:42"));
  for (auto const& line : log) EXPECT_EQ(line.find("42:"), std::string::npos) << line;
}

}  // namespace
