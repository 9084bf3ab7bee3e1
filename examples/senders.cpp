// SPDX-License-Identifier: MIT
//
// The front for senders (P2300). No implementation of P2300 is needed: the sender and the receiver here are
// as small as the protocol allows. With one, `flights.run(…)` is just another sender to compose.
//
// Prints:
//     10 operations, 1 execution(s), the same object: true
#include <cacheflight/sender.hpp>

#include <exception>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace ex = cacheflight::execution;

// Stands for an execution context: keeps what is to be done until somebody runs it.
class run_loop {
 public:
  void push(std::function<void()> f) { queue_.push_back(std::move(f)); }
  void run() {
    for (auto& f : std::exchange(queue_, {})) f();
  }

 private:
  std::vector<std::function<void()>> queue_;
};

// A sender that sends a string from the loop.
struct text_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_value_t(std::string)>;

  template <class Receiver>
  struct operation {
    using operation_state_concept = ex::operation_state_t;
    run_loop& loop;
    std::string text;
    Receiver receiver;
    void start() & noexcept {
      loop.push([this] { std::move(receiver).set_value(std::move(text)); });
    }
  };
  template <class Receiver>
  operation<Receiver> connect(Receiver receiver) && {
    return {loop, std::move(text), std::move(receiver)};
  }

  run_loop& loop;
  std::string text;
};

int executions = 0;  // One thread runs everything here, so that plain integers will do.

// The task: returns a sender.
text_sender fetch_user(run_loop& loop, std::string id) {
  ++executions;
  return {loop, "user " + id};
}

// A receiver that notes what it is sent.
struct outcome {
  std::shared_ptr<std::string const> value;
  bool failed = false;
  bool stopped = false;
};
struct note {
  using receiver_concept = ex::receiver_t;
  outcome* into;
  void set_value(std::shared_ptr<std::string const> value) && noexcept { into->value = std::move(value); }
  void set_error(std::exception_ptr) && noexcept { into->failed = true; }
  void set_stopped() && noexcept { into->stopped = true; }
};

int main() {
  cacheflight::group flights;
  run_loop loop;
  std::string const id = "42";
  auto const ask = [&] { return flights.run("user:" + id, fetch_user, std::ref(loop), id); };

  using operation = decltype(ask().connect(std::declval<note>()));
  constexpr std::size_t callers = 10;
  std::vector<outcome> outcomes(callers);
  std::vector<std::unique_ptr<operation>> operations;
  for (outcome& mine : outcomes) {
    operations.emplace_back(new operation(ask().connect(note{&mine})));  // lazy: nothing happens yet
  }
  bool const lazy = executions == 0;
  for (auto& one : operations) one->start();
  loop.run();

  bool same = outcomes[0].value && *outcomes[0].value == "user 42";
  for (outcome const& one : outcomes)
    same = same && one.value == outcomes[0].value && !one.failed && !one.stopped;
  std::cout << callers << " operations, " << executions
            << " execution(s), the same object: " << std::boolalpha << same << "\n";
  return same && lazy && executions == 1 ? 0 : 1;
}
