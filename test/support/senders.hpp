// SPDX-License-Identifier: MIT
#pragma once

// What every caller of the sender front needs.

#include <cacheflight/sender.hpp>

#include <memory>
#include <stop_token>
#include <utility>
#include <vector>

namespace cacheflight_test {

/// A receiver's environment: the token that makes its caller leave.
struct stop_environment {
  std::stop_token token;
  std::stop_token query(cacheflight::execution::get_stop_token_t) const noexcept { return token; }
};

/// Operations, which do not move, for as long as their owner lives.
class kept_operations {
 public:
  /// Keeps what `connect()` returns.
  template <class Connect>
  auto& keep(Connect&& connect) {
    using operation = decltype(connect());
    struct held {
      explicit held(Connect& make) : whole(make()) {}
      operation whole;
    };
    auto const one = std::make_shared<held>(connect);
    all_.push_back(one);
    return one->whole;
  }

 private:
  std::vector<std::shared_ptr<void>> all_;
};

}  // namespace cacheflight_test
