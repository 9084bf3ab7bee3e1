// SPDX-License-Identifier: MIT
//
// Reading your own writes. A load is under way when a writer commits: who calls afterwards must not get what
// was read before. `supersede(key)` after the write takes the flight out of the way without hurting its
// callers, and `not_before(time)` says the same from the reader's side. A `call_report` tells each call what
// became of it.
//
// Prints:
//     early: led, price 10
//     joiner: joined, price 10
//     after the write: led, price 12
//     knows when it wrote: led, price 15
//     with the same moment: joined, price 15
//     5 calls, 3 loads
#include <cacheflight/callback.hpp>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

/// A database that answers when it is told to, with what it had when it was asked.
class database {
 public:
  void write(int price) { price_ = price; }
  void load(cacheflight::completion<int> done) { asked_.emplace_back(std::move(done), price_); }
  void answer_all() {
    for (auto& [done, price] : std::exchange(asked_, {})) (void)done.set_value(price);
  }

 private:
  int price_ = 10;
  std::vector<std::pair<cacheflight::completion<int>, int>> asked_;
};

int main() {
  database db;
  // Each flight notes when it begins, so that callers with not_before can share what plain calls have led.
  cacheflight::group flights{cacheflight::options().measure_age()};
  int loads = 0;

  auto const get = [&](std::string who, cacheflight::run_options opts = {}) {
    auto const report = std::make_shared<cacheflight::call_report>();
    auto task = cacheflight::answering<int>([&](cacheflight::completion<int> done) {
      ++loads;
      db.load(std::move(done));
    });
    flights.start("price", opts.report(*report), std::move(task),
                  [who, report](std::exception_ptr, std::shared_ptr<int const> price) {
                    bool const led = report->role == cacheflight::call_role::led;
                    std::cout << who << ": " << (led ? "led" : "joined") << ", price " << *price << '\n';
                  });
  };

  get("early");
  get("joiner");
  db.write(12);
  flights.supersede("price");  // after the write, and after a cache's entry has been erased
  get("after the write");
  db.write(15);  // by code that knows nothing of flights
  auto const written = std::chrono::steady_clock::now();
  get("knows when it wrote", cacheflight::run_options().not_before(written));
  get("with the same moment", cacheflight::run_options().not_before(written));
  db.answer_all();
  std::cout << "5 calls, " << loads << " loads\n";
}
