// SPDX-License-Identifier: MIT
#include "floor.hpp"
#include "naive.hpp"
#include "scenarios.hpp"
#include <cacheflight/blocking.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <latch>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace bench {
namespace {

/// `count` threads share `calls` calls, with keys at random out of `distinct`. The time is the wall's.
template <class Call>
void threads(round& r, std::size_t count, std::size_t calls, std::size_t distinct, Call&& call) {
  auto const& names = keys(distinct);
  std::vector<std::size_t> executions(count * 8), sums(count * 8);  // 64 bytes apart
  std::latch ready(static_cast<std::ptrdiff_t>(count)), go(1);
  std::vector<std::jthread> running;
  for (std::size_t t = 0; t < count; ++t)
    running.emplace_back([&, t] {
      std::minstd_rand random(static_cast<unsigned>(t + 1));
      std::vector<std::uint32_t> order(calls / count);
      for (auto& i : order) i = static_cast<std::uint32_t>(random() % distinct);
      std::size_t ran = 0, sum = 0;
      ready.count_down();
      go.wait();
      for (std::uint32_t const i : order) sum += static_cast<std::size_t>(call(names[i], ran));
      executions[t * 8] = ran;
      sums[t * 8] = sum;
    });
  ready.wait();
  r.measure(calls / count * count, [&] {
    go.count_down();
    running.clear();
  });
  std::size_t ran = 0, sum = 0;
  for (std::size_t const n : executions) ran += n;
  for (std::size_t const n : sums) sum += n;
  r.check("sum of the results", sum, calls / count * count);
  if (count == 1) r.executed(ran, calls);
  else r.executed(ran);
}

template <class Of>
int floor_call(Of&& of, std::uint64_t h, std::string const& key, std::size_t& ran) {
  floor_group& flights = of(h);
  auto const [f, leads] = flights.enter(h, key);
  if (!leads) return 1;  // joined; the floor does not wait
  ++ran;
  flights.end(h, f);
  return 1;
}

}  // namespace

void add_threads(suite& all, sizes const& size) {
  using enum role;
  std::size_t const calls = size.quick ? 100'000 : 1'000'000;
  for (std::size_t const distinct : {std::size_t{1'024}, std::size_t{1}}) {
    for (std::size_t const count : {std::size_t{2}, std::size_t{1}}) {
      std::string const group =
          (count == 1 ? "1 thread, " : "2 threads, ") +
          (distinct == 1 ? std::string("one hot key") : grouped(distinct) + " random keys");
      std::string const least = "floor: one lock";
      all.add({group, least, floor, least, false}, [=](round& r) {
        floor_hash const hash;
        floor_group flights;
        auto const of = [&](std::uint64_t) -> floor_group& { return flights; };
        threads(r, count, calls, distinct, [&](std::string const& key, std::size_t& ran) {
          return floor_call(of, hash(key), key, ran);
        });
      });
      all.add({group, "floor: 16 locks", floor, least, false}, [=](round& r) {
        floor_hash const hash;
        sharded_floor flights;
        auto const of = [&](std::uint64_t h) -> floor_group& { return flights.of(h); };
        threads(r, count, calls, distinct, [&](std::string const& key, std::size_t& ran) {
          return floor_call(of, hash(key), key, ran);
        });
      });
      all.add({group, "CacheFlight, blocking", ours, least, false}, [=](round& r) {
        cacheflight::group flights;
        threads(r, count, calls, distinct, [&](std::string const& key, std::size_t& ran) {
          return *flights.run(key, [&ran] { return ++ran, 1; });
        });
        auto const books = flights.stats();
        r.check("hits and misses", books.hits + books.misses, calls / count * count);
      });
      all.add({group, "naive: mutex, unordered_map, shared_future", peer, least, false}, [=](round& r) {
        naive_group flights;
        threads(r, count, calls, distinct, [&](std::string const& key, std::size_t& ran) {
          return flights.run(key, [&ran] { return ++ran, 1; });
        });
      });
    }
  }
}

}  // namespace bench
