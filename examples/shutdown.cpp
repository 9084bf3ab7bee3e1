// SPDX-License-Identifier: MIT
//
// The end of a program whose workers call `run`: the main thread drains the group. Flights that are up may
// end, and new ones are refused, with `closed_error`. When the time is over, who still waits gets
// `cancelled_error`, and the task is asked to stop.
//
// Prints:
//     a report that is nearly done
//       drained: true
//       callers: 3 answered, 0 cancelled
//       a new call: refused
//     a report that takes an hour
//       drained: false
//       drained, again: true
//       callers: 0 answered, 3 cancelled
//       a new call: refused
#include <cacheflight/blocking.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <iostream>
#include <latch>
#include <mutex>
#include <stop_token>
#include <thread>
#include <vector>

using namespace std::chrono_literals;

// The expensive work: a number of pages. It can be stopped, and then what it returns is nobody's.
int write_report(std::stop_token stop, std::chrono::milliseconds time, std::latch& all_wait) {
  all_wait.wait();
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait_for(lock, stop, time, [] { return false; });
  return 12;
}

struct tally {
  std::atomic<int> answered = 0;
  std::atomic<int> cancelled = 0;
};

void worker(cacheflight::group& flights, tally& told, std::chrono::milliseconds time, std::latch& all_wait) {
  try {
    (void)flights.run("report", write_report, time, std::ref(all_wait));
    ++told.answered;
  } catch (cacheflight::cancelled_error const& error) {
    if (error.reason() == cacheflight::cancel_reason::drain) ++told.cancelled;
  }
}

bool refuses(cacheflight::group& flights) {
  try {
    (void)flights.run("another report", [] { return 0; });
    return false;
  } catch (cacheflight::closed_error const&) {
    return true;
  }
}

void shut_down(std::chrono::milliseconds time, std::chrono::milliseconds limit) {
  std::latch all_wait(1);
  tally told;
  cacheflight::group flights;
  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 3; ++i) workers.emplace_back([&] { worker(flights, told, time, all_wait); });
    while (flights.stats().waiters < workers.size()) std::this_thread::yield();
    all_wait.count_down();

    bool const drained = flights.drain(limit);
    std::cout << "  drained: " << drained << '\n';
    // The thread whose stack the task runs on goes on when the task has stopped.
    if (!drained) std::cout << "  drained, again: " << flights.drain(10s) << '\n';
  }
  std::cout << "  callers: " << told.answered << " answered, " << told.cancelled << " cancelled\n"
            << "  a new call: " << (refuses(flights) ? "refused" : "let in") << '\n';
}

int main() {
  std::cout << std::boolalpha << "a report that is nearly done\n";
  shut_down(50ms, 10s);
  std::cout << "a report that takes an hour\n";
  shut_down(1h, 50ms);
}
