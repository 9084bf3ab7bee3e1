// SPDX-License-Identifier: MIT
// What a group's calls pay for its metrics: CPU time of a call with and without, in turns, in one run. Not a
// test: build the target metrics_cost with optimization, and run it by hand.
#include <cacheflight/callback.hpp>
#include <cacheflight/prometheus.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdio>
#include <ctime>
#include <exception>
#include <latch>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace {

using cacheflight::completion;
using cacheflight::event;
using cacheflight::options;

constexpr std::size_t rounds = 301, calls = 2'000;

double cpu_ns() {
  std::timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

void ignore(std::exception_ptr, std::shared_ptr<int const>) {}

std::vector<std::string> const keys = [] {
  std::vector<std::string> made;
  for (int i = 0; i < 4'096; ++i) made.push_back("user:" + std::to_string(i));
  return made;
}();

/// Each call leads a flight that ends at once.
double miss(cacheflight::group& flights) {
  double const start = cpu_ns();
  for (std::size_t i = 0; i < calls; ++i) flights.start(keys[i % keys.size()], [] { return 1; }, ignore);
  return (cpu_ns() - start) / calls;
}

/// Each call joins one flight, which then ends for all.
double join(cacheflight::group& flights) {
  std::optional<completion<int>> held;
  flights.start("key",
                cacheflight::answering<int>([&held](completion<int> done) { held.emplace(std::move(done)); }),
                ignore);
  double const start = cpu_ns();
  for (std::size_t i = 0; i < calls; ++i) flights.start("key", [] { return 1; }, ignore);
  held->set_value(1);
  return (cpu_ns() - start) / calls;
}

/// Two threads that lead flights of their own keys.
double miss_on_two_threads(cacheflight::group& flights) {
  double total = 0;
  std::latch both(2);
  std::jthread other([&] {
    both.arrive_and_wait();
    miss(flights);
  });
  both.arrive_and_wait();
  total += miss(flights);
  return total;
}

double median(std::vector<double> all) {
  std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2));
  return all[all.size() / 2];
}

void compare(char const* name, double (*scenario)(cacheflight::group&)) {
  cacheflight::task_durations const durations;
  std::array<options, 3> const with{options(), options().on_event([](event const&) {}),
                                    options().on_event(durations)};
  std::array<std::vector<double>, 3> samples;
  std::array<std::vector<double>, 3> ratios;
  cacheflight::prometheus_metrics metrics;
  std::array<std::optional<cacheflight::group>, 3> groups;
  for (std::size_t i = 0; i < 3; ++i) {
    groups[i].emplace(with[i]);
    metrics.attach(std::to_string(i), *groups[i], durations);
  }
  for (std::size_t round = 0; round < rounds; ++round) {
    std::array<double, 3> took{};
    for (std::size_t i = 0; i < 3; ++i) took[(round + i) % 3] = scenario(*groups[(round + i) % 3]);
    for (std::size_t i = 0; i < 3; ++i) samples[i].push_back(took[i]), ratios[i].push_back(took[i] / took[0]);
  }
  std::printf("%-20s attached %6.1f ns   an empty on_event %6.1f ns x%.2f   task_durations %6.1f ns x%.2f\n",
              name, median(samples[0]), median(samples[1]), median(ratios[1]), median(samples[2]),
              median(ratios[2]));
}

}  // namespace

int main() {
  std::thread([] {}).join();  // shared_ptr leaves out its atomic operations before the first thread
  compare("miss", miss);
  compare("join", join);
  compare("miss, two threads", miss_on_two_threads);
}
