// SPDX-License-Identifier: MIT
// A program that hides its keys.
#ifdef SINGLE_HEADER
#include SINGLE_HEADER
#else
#include <cacheflight/keys.hpp>
#include <cacheflight/redact.hpp>
#endif

int main() {
  cacheflight::redactor const redact("a secret of 16 bytes or more");
  return redact(cacheflight::make_key("user", 42)) == redact("user:42") ? 0 : 1;
}
