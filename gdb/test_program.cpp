// SPDX-License-Identifier: MIT
// Stops twice with flights up, for test.py: `texts` has three, later two and a detached task; `numbers` has
// 90, `idle` none.
#include <cacheflight/callback.hpp>
#include <cacheflight/group.hpp>

#include <exception>
#include <memory>
#include <vector>

static std::vector<cacheflight::completion<int>> unanswered;

extern "C" __attribute__((noinline)) void stop_here() { asm volatile(""); }

int main() {
  cacheflight::group idle;
  cacheflight::group texts;
  cacheflight::basic_group<int> numbers;
  auto const task = cacheflight::answering<int>(
      [](cacheflight::completion<int> done) { unanswered.push_back(std::move(done)); });
  auto const ignore = [](std::exception_ptr, std::shared_ptr<int const>) {};
  texts.start("user:42", task, ignore);
  texts.start("user:42", task, ignore);
  texts.start("user:43", task, ignore);
  texts.start("user:44", task, ignore);
  for (int number = 0; number < 90; ++number) numbers.start(number, task, ignore);
  stop_here();
  texts.cancel("user:44");
  texts.supersede("user:43");
  stop_here();
  return 0;
}
