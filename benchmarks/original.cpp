// SPDX-License-Identifier: MIT

// The four scenarios of the Python original: all requests arrive at once, a task takes 40 ms. With and
// without CacheFlight, on one Asio thread and with a thread per request.

#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <latch>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace {

namespace net = boost::asio;
using clock_type = std::chrono::steady_clock;
using milliseconds = std::chrono::duration<double, std::milli>;
constexpr std::chrono::milliseconds task_length{40};

struct scenario {
  char const* name;
  std::size_t requests;
  std::size_t same;  ///< How many of them want the same key; the others want one each.
  [[nodiscard]] std::size_t keys() const { return requests - same + (same ? 1 : 0); }
  [[nodiscard]] std::string key(std::size_t i) const {
    // The requests for the one key come evenly among the others.
    bool const hot = i * same / requests != (i + 1) * same / requests;
    return hot ? "user:hot" : "user:" + std::to_string(i);
  }
};

constexpr scenario scenarios[] = {
    {"1,000 requests, 95 % one key", 1'000, 950},
    {"1,000 requests, 50 % one key", 1'000, 500},
    {"500 requests, all keys differ", 500, 0},
    {"5,000 requests, 95 % one key", 5'000, 4'750},
};

struct result {
  std::size_t executions = 0;
  double wall = 0;
  std::vector<double> latencies;
};

// ---- Asio ----

net::awaitable<std::string> slow(std::atomic<std::size_t>& executions, std::string key) {
  ++executions;
  net::steady_timer timer(co_await net::this_coro::executor, task_length);
  co_await timer.async_wait(net::use_awaitable);
  co_return "value of " + key;
}

net::awaitable<void> request(cacheflight::group* flights, std::string key,
                             std::atomic<std::size_t>& executions, double& latency) {
  auto const start = clock_type::now();
  if (flights) (void)co_await flights->run(key, slow, std::ref(executions), key);
  else (void)co_await slow(executions, key);
  latency = milliseconds(clock_type::now() - start).count();
}

void no_failure(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

result with_asio(scenario const& s, bool coalesced) {
  result r;
  r.latencies.resize(s.requests);
  std::atomic<std::size_t> executions{0};
  net::io_context io;
  cacheflight::group flights;
  auto const start = clock_type::now();
  for (std::size_t i = 0; i < s.requests; ++i)
    net::co_spawn(io, request(coalesced ? &flights : nullptr, s.key(i), executions, r.latencies[i]),
                  no_failure);
  io.run();
  r.wall = milliseconds(clock_type::now() - start).count();
  r.executions = executions;
  return r;
}

// ---- a thread per request ----

std::string slow_on_thread(std::atomic<std::size_t>& executions, std::string const& key) {
  ++executions;
  std::this_thread::sleep_for(task_length);
  return "value of " + key;
}

result with_threads(scenario const& s, bool coalesced) {
  result r;
  r.latencies.resize(s.requests);
  std::atomic<std::size_t> executions{0};
  cacheflight::group flights;
  std::latch ready(static_cast<std::ptrdiff_t>(s.requests)), go(1);
  std::vector<std::jthread> threads;
  threads.reserve(s.requests);
  for (std::size_t i = 0; i < s.requests; ++i)
    threads.emplace_back([&, i] {
      std::string const key = s.key(i);
      ready.count_down();
      go.wait();
      auto const begun = clock_type::now();
      if (coalesced) (void)flights.run(key, slow_on_thread, std::ref(executions), key);
      else (void)slow_on_thread(executions, key);
      r.latencies[i] = milliseconds(clock_type::now() - begun).count();
    });
  ready.wait();
  auto const start = clock_type::now();
  go.count_down();
  threads.clear();
  r.wall = milliseconds(clock_type::now() - start).count();
  r.executions = executions;
  return r;
}

bool report(char const* front, scenario const& s, bool coalesced, std::size_t rounds,
            result (*run)(scenario const&, bool)) {
  std::vector<result> results;
  for (std::size_t i = 0; i < rounds; ++i) results.push_back(run(s, coalesced));
  std::sort(results.begin(), results.end(), [](result const& a, result const& b) { return a.wall < b.wall; });
  result& r = results[results.size() / 2];
  std::sort(r.latencies.begin(), r.latencies.end());
  auto const percentile = [&](std::size_t p) { return r.latencies[(s.requests - 1) * p / 100]; };
  std::size_t const wanted = coalesced ? s.keys() : s.requests;
  // A thread that comes after the flight of its key has ended leads another one, as it must.
  bool right = true;
  for (result const& one : results)
    right = right && (run == with_threads ? one.executions >= wanted : one.executions == wanted);
  std::printf("original\t%s\t%s\t%s\t%zu\t%zu\t%.1f\t%.1f\t%.1f\t%.1f\n", front,
              coalesced ? "with" : "without", s.name, s.requests, r.executions, r.wall, percentile(50),
              percentile(95),
              100.0 * (1.0 - static_cast<double>(r.executions) / static_cast<double>(s.requests)));
  if (!right) std::printf("wrong\toriginal\t%s, %s\texecutions\n", front, s.name);
  std::fflush(stdout);
  return right;
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t rounds = 3;
  if (argc == 3 && std::string_view(argv[1]) == "--rounds") {
    std::string_view const n = argv[2];
    (void)std::from_chars(n.data(), n.data() + n.size(), rounds);
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: %s [--rounds N]\n", argv[0]);
    return 2;
  }
  bool right = true;
  try {
    for (scenario const& s : scenarios)
      for (bool const coalesced : {false, true}) {
        right &= report("Asio", s, coalesced, rounds, with_asio);
        right &= report("threads", s, coalesced, rounds, with_threads);
      }
  } catch (std::exception const& error) {
    std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
    return 1;
  }
  return right ? 0 : 1;
}
