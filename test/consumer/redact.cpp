// SPDX-License-Identifier: MIT
// A program that hides its keys.
#include <cacheflight/keys.hpp>
#include <cacheflight/redact.hpp>

int main() {
  cacheflight::redactor const redact("a secret of 16 bytes or more");
  return redact(cacheflight::make_key("user", 42)) == redact("user:42") ? 0 : 1;
}
