// SPDX-License-Identifier: MIT
#pragma once

// Runs programs so that a violation, and also a crash, is reported with the program that shows it, made as
// short as it gets.

#include "program.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

namespace cacheflight_model {

/// Random numbers that are the same everywhere.
struct splitmix {
  std::uint64_t state;
  std::uint64_t operator()() noexcept {
    std::uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
};

inline void make_random(program& p, splitmix& random) {
  std::uint64_t const how = random();
  p.first = static_cast<std::uint8_t>(how);
  p.second = static_cast<std::uint8_t>(how >> 8);
  // Refused calls throw, which is slow: few of them, so that there is time for more of the rest.
  if ((how >> 17) & 3) p.first &= 0xfc;
  // Some programs have the same few keys all the time, so that calls meet.
  auto const keys = static_cast<std::uint8_t>((how >> 16) & 1 ? 0xfd : 0xff);
  p.operations.resize(8 + (how >> 24) % 120);
  for (auto& o : p.operations) {
    std::uint64_t const x = random();
    o = {static_cast<std::uint8_t>(x), static_cast<std::uint8_t>(x >> 8), static_cast<std::uint8_t>(x >> 16)};
    if (o.kind() == code::run) {
      o.a &= keys;
      if ((x >> 24) & 15) o.a &= 0x3f;
      if ((x >> 28) & 3) o.b &= 0xc0;
    }
  }
}

template <class Runner>
[[nodiscard]] bool violates(program const& p) {
  std::fflush(nullptr);
  pid_t const child = fork();
  if (child == 0) {
    for (int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGALRM}) std::signal(signal, SIG_DFL);
    std::freopen("/dev/null", "w", stderr);
    alarm(2);
    Runner::forget();
    auto* const r = new Runner;
    _exit(r->run(p) ? 0 : 1);
  }
  int status = 0;
  return child > 0 && waitpid(child, &status, 0) == child && status != 0;
}

/// Drops operations, then makes what is left plainer, as long as it still fails.
template <class Runner>
[[nodiscard]] program shrunk(program p) {
  auto const better = [&](program const& q) {
    if (!violates<Runner>(q)) return false;
    p = q;
    return true;
  };
  for (bool again = true; again;) {
    again = false;
    for (std::size_t chunk = p.operations.size(); chunk > 0; chunk /= 2)
      for (std::size_t i = 0; i + chunk <= p.operations.size();) {
        program q = p;
        auto const at = q.operations.begin() + static_cast<std::ptrdiff_t>(i);
        q.operations.erase(at, at + static_cast<std::ptrdiff_t>(chunk));
        if (better(q)) again = true;
        else i += chunk;
      }
    auto const plainer = [&](std::uint8_t program::* header) {
      for (int bit = 0; bit < 8; ++bit)
        if (p.*header & (1 << bit)) {
          program q = p;
          q.*header = static_cast<std::uint8_t>(p.*header & ~(1 << bit));
          again = better(q) || again;
        }
    };
    plainer(&program::first);
    plainer(&program::second);
    for (std::size_t i = 0; i < p.operations.size(); ++i)
      for (auto const field : {&operation::a, &operation::b})
        for (int bit = 0; bit < 8; ++bit)
          if (p.operations[i].*field & (1 << bit)) {
            program q = p;
            q.operations[i].*field = static_cast<std::uint8_t>(p.operations[i].*field & ~(1 << bit));
            again = better(q) || again;
          }
  }
  return p;
}

/// What a crash prints: enough to run the program again.
struct current {
  static inline program const* running = nullptr;
  static inline char const* front = "";

  static void on_crash(int signal) {
    char const* const said = "\nmodel: crashed in this program (model_run --front ";
    put(said), put(front), put(" --hex …): ");
    if (running) {
      static constexpr char digits[] = "0123456789abcdef";
      auto const byte = [](std::uint8_t b) {
        char const two[2] = {digits[b >> 4], digits[b & 15]};
        if (write(2, two, 2) < 0) return;
      };
      byte(running->first), byte(running->second);
      for (auto const& o : running->operations) byte(o.what), byte(o.a), byte(o.b);
    }
    put("\n");
    std::signal(signal, SIG_DFL);
    std::raise(signal);
  }
  static void watch() {
    for (int signal : {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGALRM}) std::signal(signal, on_crash);
  }

 private:
  static void put(char const* text) {
    std::size_t n = 0;
    while (text[n]) ++n;
    if (write(2, text, n) < 0) return;
  }
};

}  // namespace cacheflight_model
