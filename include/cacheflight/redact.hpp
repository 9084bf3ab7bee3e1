// SPDX-License-Identifier: MIT
#pragma once

/// Stand-ins for keys in logs, traces and pages: `cacheflight::redactor`. Needs OpenSSL's libcrypto: link
/// `cacheflight::redact`.

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include <array>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace cacheflight::inline v1 {

/// Turns a key into a token that is the same for the same key and secret, and tells who has no secret nothing
/// about the key, not even whether it is a certain one: guessing keys does not help.
///
/// The token is the first 24 hexadecimal digits (96 bits) of HMAC-SHA-256 under the secret, so whoever has
/// the secret can find a known key in the logs with any tool: `printf %s "$key" | openssl dgst -sha256 -hmac
/// "$secret"`.
///
///     options.on_event([redact = cacheflight::redactor()](cacheflight::event const& e) {
///       log(to_string(e.type), redact(e.key));
///     });
///
/// What it does not hide: that two entries are about the same key, and how often it occurs.
///
/// Thread safety: one object may be used by any number of threads. Copies share the secret, which is wiped
/// when the last of them is destroyed.
class redactor {
 public:
  /// A random secret of its own: tokens can be compared within the life of this object and its copies. Throws
  /// `std::runtime_error` if the operating system has no randomness to give.
  redactor() {
    std::array<unsigned char, 32> random{};
    if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
      throw std::runtime_error("cacheflight: no random secret to be had");
    keyed_ = keyed_with(random.data(), random.size());
    OPENSSL_cleanse(random.data(), random.size());
  }

  /// The same secret gives the same tokens in every process and run. Throws `std::invalid_argument` if it is
  /// shorter than 16 bytes: it must be random, not a password. The caller wipes its own copy.
  explicit redactor(std::string_view secret) {
    if (secret.size() < 16)
      throw std::invalid_argument("cacheflight: the secret must have at least 16 bytes");
    keyed_ = keyed_with(reinterpret_cast<unsigned char const*>(secret.data()), secret.size());
  }

  /// The token of `key`: 24 characters. Throws `std::runtime_error` if libcrypto fails, as for want of
  /// memory.
  [[nodiscard]] std::string operator()(std::string_view key) const {
    std::array<unsigned char, 32> mac{};
    std::size_t length = 0;
    std::unique_ptr<EVP_MAC_CTX, release> const call(EVP_MAC_CTX_dup(keyed_.get()));
    if (!call ||
        EVP_MAC_update(call.get(), reinterpret_cast<unsigned char const*>(key.data()), key.size()) != 1 ||
        EVP_MAC_final(call.get(), mac.data(), &length, mac.size()) != 1)
      failed();
    std::string token(24, '\0');
    for (std::size_t i = 0; i < token.size(); ++i)
      token[i] = "0123456789abcdef"[(mac[i / 2] >> (i % 2 == 0 ? 4 : 0)) & 15];
    return token;
  }

 private:
  struct release {
    void operator()(EVP_MAC* mac) const noexcept { EVP_MAC_free(mac); }
    void operator()(EVP_MAC_CTX* context) const noexcept { EVP_MAC_CTX_free(context); }  // wipes the secret
  };

  [[noreturn]] static void failed() {
    throw std::runtime_error("cacheflight: libcrypto has no HMAC-SHA-256 for us");
  }

  /// Keyed once, and copied for each call: a third of the time that `HMAC()` takes.
  [[nodiscard]] static std::shared_ptr<EVP_MAC_CTX> keyed_with(unsigned char const* secret,
                                                               std::size_t size) {
    std::unique_ptr<EVP_MAC, release> const hmac(EVP_MAC_fetch(nullptr, OSSL_MAC_NAME_HMAC, nullptr));
    if (!hmac) failed();
    std::shared_ptr<EVP_MAC_CTX> context(EVP_MAC_CTX_new(hmac.get()), release());
    char digest[] = "SHA256";
    std::array<OSSL_PARAM, 2> const parameters{
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, sizeof digest - 1),
        OSSL_PARAM_construct_end()};
    if (!context || EVP_MAC_init(context.get(), secret, size, parameters.data()) != 1) failed();
    return context;
  }

  std::shared_ptr<EVP_MAC_CTX> keyed_;  // never changed once it is made
};

}  // namespace cacheflight::inline v1
