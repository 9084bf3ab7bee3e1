// SPDX-License-Identifier: MIT
#include "scenarios.hpp"

#include <malloc.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <exception>
#include <limits>
#include <semaphore>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace bench {

std::vector<std::string> const& keys(std::size_t count) {
  static std::vector<std::string> made;
  made.reserve(1'000'000);  // what was handed out stays where it is
  for (std::size_t i = made.size(); i < count; ++i) {
    std::string const number = std::to_string(i);
    made.push_back("user:" + std::string(7 - number.size(), '0') + number);
  }
  return made;
}

std::string grouped(std::size_t n) {
  std::string digits = std::to_string(n);
  for (std::size_t i = digits.size(); i > 3; i -= 3) digits.insert(i - 3, 1, ',');
  return digits;
}

}  // namespace bench

int main(int argc, char** argv) {
  std::size_t rounds = 5;
  std::string only;
  bench::sizes size;
  for (int i = 1; i < argc; ++i) {
    std::string_view const argument = argv[i];
    std::string_view const value = i + 1 < argc ? argv[i + 1] : "";
    if (argument == "--quick") {
      size.quick = true;
    } else if (argument == "--only" && !value.empty()) {
      only = argv[++i];
    } else if (argument == "--rounds" && !value.empty() &&
               std::from_chars(value.data(), value.data() + value.size(), rounds).ec == std::errc()) {
      ++i;
    } else {
      std::fprintf(stderr, "usage: %s [--rounds N] [--only REGEX] [--quick]\n", argv[0]);
      return 2;
    }
  }
  try {
    // The C library and shared_ptr leave out their atomics as long as a program has one thread only. Servers
    // have more.
    std::binary_semaphore over(0);
    std::jthread const another([&over] { over.acquire(); });
    struct end {
      std::binary_semaphore& at;
      ~end() { at.release(); }
    } const at_exit{over};
    // Warm means warm: without this the C library gives memory back to the system between repetitions, from a
    // size on that floors and fronts reach at different counts.
    mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
    mallopt(M_MMAP_MAX, 0);
    bench::check_heap_counter();
    bench::suite all;
    add_blocking(all, size);
    add_coroutines(all, size);
    add_asio(all, size);
    add_threads(all, size);
    return all.run(rounds, only) ? 0 : 1;
  } catch (std::exception const& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
}
