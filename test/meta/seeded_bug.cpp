// SPDX-License-Identifier: MIT
// Bugs that a sanitizer must report: `seeded_bug <name>`. Run by the tests meta.*.
#include <climits>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

namespace {

int shared_counter = 0;

void data_race() {
  auto const count = [] {
    for (int i = 0; i < 100'000; ++i) ++shared_counter;
  };
  std::thread other(count);
  count();
  other.join();
}

void lock_order() {
  std::mutex first;
  std::mutex second;
  {
    std::scoped_lock const one(first);
    std::scoped_lock const two(second);
  }
  std::scoped_lock const two(second);
  std::scoped_lock const one(first);
}

int use_after_free() {
  auto owner = std::make_unique<int>(1);
  int* volatile dangling = owner.get();  // volatile: so that no compiler sees through it
  owner.reset();
  return *dangling;
}

void leak() {
  int* volatile lost = new int[1000];
  lost = nullptr;
  static_cast<void>(lost);
}

int overflow() {
  int volatile one = 1;
  return INT_MAX + one;
}

}  // namespace

int main(int argc, char** argv) {
  std::string_view const bug = argc > 1 ? argv[1] : "";
  if (bug.starts_with("data_race")) data_race();
  else if (bug == "lock_order") lock_order();
  else if (bug == "use_after_free") return use_after_free();
  else if (bug == "leak") leak();
  else if (bug == "overflow") return overflow();
  else return std::fprintf(stderr, "no such bug\n"), 2;
  return shared_counter == 0 ? 0 : 1;
}
