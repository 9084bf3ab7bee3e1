// SPDX-License-Identifier: MIT
#pragma once

#include "../support/errors.hpp"
#include <cacheflight/cacheflight.hpp>
#include <cacheflight/callback.hpp>

#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace hostile {

using cacheflight_test::is;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool sanitized = true;
#elif defined(__has_feature)
inline constexpr bool sanitized = __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
inline constexpr bool sanitized = false;
#endif

/// Sanitizers take ten times the time and memory.
[[nodiscard]] constexpr std::size_t scaled(std::size_t count) { return sanitized ? count / 10 : count; }

template <class F>
[[nodiscard]] double seconds(F&& f) {
  auto const start = std::chrono::steady_clock::now();
  std::forward<F>(f)();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/// A task that does not answer until it is told to: keeps its completion.
template <class T>
struct held {
  std::optional<cacheflight::completion<T>> answer;
  auto task() {
    return cacheflight::answering<T>([this](cacheflight::completion<T> c) { answer.emplace(std::move(c)); });
  }
};

/// How often callbacks were called. Rethrowing a million exceptions to tell them apart takes too long: the
/// last one is there for all.
struct tally {
  std::size_t values = 0, failures = 0;
  std::exception_ptr last;

  [[nodiscard]] std::size_t all() const { return values + failures; }
  template <class Error>
  [[nodiscard]] std::size_t failed_with() const {
    return is<Error>(last) ? failures : 0;
  }
  [[nodiscard]] std::size_t cancelled() const { return failed_with<cacheflight::cancelled_error>(); }

  auto callback() {
    return [this](std::exception_ptr failure, auto const&) {
      if (!failure) ++values;
      else ++failures, last = std::move(failure);
    };
  }
};

}  // namespace hostile
