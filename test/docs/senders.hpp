// SPDX-License-Identifier: MIT
#pragma once

/// A sender and a receiver that the pages' code is tried with.

#include "docs/harness.hpp"
#include <cacheflight/sender.hpp>

#include <exception>
#include <memory>
#include <string>
#include <utility>

namespace docs {
namespace ex = cacheflight::execution;

struct user_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_value_t(user)>;
  template <class Receiver>
  struct operation {
    using operation_state_concept = ex::operation_state_t;
    user sent;
    Receiver receiver;
    void start() & noexcept { std::move(receiver).set_value(std::move(sent)); }
  };
  template <class Receiver>
  operation<Receiver> connect(Receiver receiver) && {
    return {std::move(sent), std::move(receiver)};
  }
  user sent;
};
user_sender fetch_user_sender(std::string id) { return {{id, "Ada"}}; }

struct receiver {
  using receiver_concept = ex::receiver_t;
  std::string* name;
  void set_value(std::shared_ptr<user const> u) && noexcept { *name = u->name; }
  void set_error(std::exception_ptr) && noexcept {}
  void set_stopped() && noexcept {}
};

}  // namespace docs
