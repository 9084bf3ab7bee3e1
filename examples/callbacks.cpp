// SPDX-License-Identifier: MIT
//
// The front for callbacks: nobody waits. A task on a callback-style API answers later, from another thread;
// every caller's function is called with the same object.
//
// Prints:
//     10 callers, 1 request(s), 10 calls with the same object: true
//     a task that forgets to answer is noticed: true
#include <cacheflight/callback.hpp>

#include <exception>
#include <functional>
#include <iostream>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>

// Stands for a client library: calls back once, on its own thread, when it has the answer.
class client {
 public:
  void get(std::string key, std::function<void(std::string)> on_answer) {
    ++requests_;
    thread_ = std::jthread([this, key, on_answer] {
      answer_now_.wait();
      on_answer("value of " + key);
    });
  }
  void answer() { answer_now_.count_down(); }
  int requests() const { return requests_; }

 private:
  std::latch answer_now_{1};
  int requests_ = 0;
  std::jthread thread_;
};

// The task. It answers through the completion, which is move-only; `std::function` wants what can be copied.
void fetch(client& from, std::string key, cacheflight::completion<std::string> done) {
  auto const shared = std::make_shared<cacheflight::completion<std::string>>(std::move(done));
  from.get(std::move(key), [shared](std::string value) { shared->set_value(std::move(value)); });
}

// If the completion goes without an answer, everybody learns that; nobody is left hanging.
void forget(cacheflight::completion<std::string>) {}

using value_ptr = std::shared_ptr<std::string const>;

bool ten_callers() {
  cacheflight::group flights;
  client backend;
  value_ptr first;
  int called = 0;  // all on one thread, the client's, one after the other
  bool same = true;
  std::latch all(10);
  auto const task = [&backend](cacheflight::completion<std::string> done) {
    fetch(backend, "answer", std::move(done));
  };
  for (int caller = 0; caller < 10; ++caller) {
    flights.start("answer", cacheflight::answering<std::string>(task),
                  [&](std::exception_ptr error, value_ptr value) {
                    if (!first) first = value;
                    same = same && !error && value && value == first && *value == "value of answer";
                    ++called;
                    all.count_down();
                  });
  }
  backend.answer();
  all.wait();
  std::cout << "10 callers, " << backend.requests() << " request(s), " << called
            << " calls with the same object: " << std::boolalpha << same << "\n";
  return same && called == 10 && backend.requests() == 1;
}

bool dropped_completion() {
  cacheflight::group flights;
  bool told = false;
  flights.start("lost", cacheflight::answering<std::string>(forget),
                [&](std::exception_ptr error, value_ptr) {
                  try {
                    if (error) std::rethrow_exception(error);
                  } catch (cacheflight::abandoned_error const&) {
                    told = true;
                  }
                });
  std::cout << "a task that forgets to answer is noticed: " << std::boolalpha << told << "\n";
  return told;
}

int main() {
  bool const coalesced = ten_callers();
  bool const noticed = dropped_completion();
  return coalesced && noticed ? 0 : 1;
}
