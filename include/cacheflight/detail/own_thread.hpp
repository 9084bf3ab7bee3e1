// SPDX-License-Identifier: MIT
#pragma once

// How the library starts a thread of its own (rule 38).

#include <thread>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sched.h>

#include <csignal>
#endif

namespace cacheflight::inline v1::detail {

#if defined(__linux__)
/// The processors that the program was given, before it bound threads to some of them.
[[nodiscard]] inline cpu_set_t allowed_processors() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  (void)sched_getaffinity(0, sizeof set, &set);
  return set;
}
inline cpu_set_t const program_processors = allowed_processors();
#endif

/// Starts a thread of the library's own (rule 38). It handles no signal of the program's, has a name, and
/// takes neither scheduling class nor processors from the thread that happens to start it, as far as the
/// system permits. Throws `std::system_error`.
template <class F>
[[nodiscard]] std::thread start_own_thread(F run) {
#if defined(__unix__) || defined(__APPLE__)
  struct blocked_signals {
    sigset_t before;
    blocked_signals() noexcept {
      sigset_t all;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &before);
    }
    blocked_signals(blocked_signals const&) = delete;
    blocked_signals& operator=(blocked_signals const&) = delete;
    ~blocked_signals() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }
  } const inherited;
#endif
  return std::thread([run = std::move(run)]() mutable noexcept {
#if defined(__linux__)
    (void)pthread_setname_np(pthread_self(), "cacheflight");
    sched_param const normal{};
    (void)pthread_setschedparam(pthread_self(), SCHED_OTHER, &normal);
    (void)sched_setaffinity(0, sizeof program_processors, &program_processors);
#elif defined(__APPLE__)
    (void)pthread_setname_np("cacheflight");
#endif
    run();
  });
}

}  // namespace cacheflight::inline v1::detail
