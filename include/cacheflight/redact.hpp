// SPDX-License-Identifier: MIT
#pragma once

/// Stands-in for keys in logs, traces and pages: `cacheflight::redactor`. Needs OpenSSL's libcrypto: link
/// `cacheflight::redact`.

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include <array>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace cacheflight::inline v1 {

/// Turns a key into a token that is the same for the same key and secret, and tells who has no secret nothing about the
/// key, not even whether it is a certain one: guessing keys does not help.
///
/// The token is the first 24 hexadecimal digits (96 bits) of HMAC-SHA-256 under the secret, so whoever has the secret
/// can find a known key in the logs with any tool: `printf %s "$key" | openssl dgst -sha256 -hmac "$secret"`.
///
///     options.on_event([redact = cacheflight::redactor()](cacheflight::event const& e) {
///       log(to_string(e.type), redact(e.key));
///     });
///
/// What it does not hide: that two entries are about the same key, and how often it occurs.
///
/// Thread safety: one object may be used by any number of threads. Copies share the secret, which is wiped when the
/// last of them is destroyed.
class redactor {
 public:
  /// A random secret of its own: tokens can be compared within the life of this object and its copies. Throws
  /// `std::runtime_error` if the operating system has no randomness to give.
  redactor() {
    std::array<unsigned char, 32> random{};
    if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
      throw std::runtime_error("cacheflight: no random secret to be had");
    secret_ = std::make_shared<secret const>(random.data(), random.size());
    OPENSSL_cleanse(random.data(), random.size());
  }

  /// The same secret gives the same tokens in every process and run. Throws `std::invalid_argument` if it is shorter
  /// than 16 bytes: it must be random, not a password. The caller wipes its own copy.
  explicit redactor(std::string_view secret_bytes) {
    if (secret_bytes.size() < 16) throw std::invalid_argument("cacheflight: the secret must have at least 16 bytes");
    secret_ = std::make_shared<secret const>(secret_bytes.data(), secret_bytes.size());
  }

  /// The token of `key`: 24 characters. Throws `std::runtime_error` if libcrypto fails, as for want of memory.
  [[nodiscard]] std::string operator()(std::string_view key) const {
    std::array<unsigned char, 32> mac{};
    unsigned int length = 0;
    if (!HMAC(EVP_sha256(), secret_->bytes.data(), static_cast<int>(secret_->bytes.size()),
              reinterpret_cast<unsigned char const*>(key.data()), key.size(), mac.data(), &length))
      throw std::runtime_error("cacheflight: HMAC-SHA-256 failed");
    std::string token(24, '\0');
    for (std::size_t i = 0; i < token.size(); ++i)
      token[i] = "0123456789abcdef"[(mac[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15];
    return token;
  }

 private:
  struct secret {
    template <class Byte>
    secret(Byte const* from, std::size_t size) : bytes(from, from + size) {}
    secret(secret const&) = delete;
    secret& operator=(secret const&) = delete;
    ~secret() { OPENSSL_cleanse(bytes.data(), bytes.size()); }

    std::string bytes;
  };

  std::shared_ptr<secret const> secret_;
};

}  // namespace cacheflight::inline v1
