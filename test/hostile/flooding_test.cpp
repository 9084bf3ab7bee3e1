// SPDX-License-Identifier: MIT
// Keys that were chosen to meet in one bucket (rule 32). What is counted is comparisons, not time.
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>

namespace {

using namespace hostile;
namespace detail = cacheflight::detail;

constexpr std::size_t keys = 20'000;
constexpr double limit = 10;  // times the cost of random keys

// ---- text -------------------------------------------------------------------------------------------------

/// Counts in memory of the test's own: a group copies its equality.
struct counting_equal {
  using is_transparent = void;
  std::size_t* calls;
  bool operator()(std::string_view a, std::string_view b) const {
    ++*calls;
    return a == b;
  }
};

struct fixed_hash : std::hash<std::string_view> {
  using is_transparent = void;
};

std::vector<std::string> random_texts() {
  std::mt19937_64 random(1);
  std::vector<std::string> texts(keys, std::string(16, ' '));
  for (auto& text : texts)
    for (char* at : {text.data(), text.data() + 8}) {
      std::uint64_t const word = random();
      std::memcpy(at, &word, 8);
    }
  return texts;
}

/// Texts of 16 bytes that libstdc++'s `std::hash`, whose seed everybody knows, gives the same 64 bits. It
/// takes them in two words, and each step can be undone: for any first word there is a second one that leads
/// to the same state.
std::vector<std::string> colliding_texts() {
  constexpr std::uint64_t multiplier = (std::uint64_t{0xc6a4a793} << 32) + 0x5bd1e995, seed = 0xc70f6907;
  std::uint64_t inverse = multiplier;  // of the multiplier modulo 2^64, by Newton's iteration
  for (int i = 0; i < 6; ++i) inverse *= 2 - multiplier * inverse;
  auto const fold = [](std::uint64_t v) { return v ^ (v >> 47); };  // is its own inverse
  auto const scramble = [&](std::uint64_t v) { return fold(v * multiplier) * multiplier; };
  auto const unscramble = [&](std::uint64_t v) { return fold(v * inverse) * inverse; };
  std::vector<std::string> texts;
  for (std::uint64_t first = 0; first < keys; ++first) {
    std::uint64_t const state = ((seed ^ (16 * multiplier)) ^ scramble(first)) * multiplier;
    std::uint64_t const second = unscramble(state ^ 0x123456789abcdef0);
    std::string text(16, ' ');
    std::memcpy(text.data(), &first, 8);
    std::memcpy(text.data() + 8, &second, 8);
    texts.push_back(std::move(text));
  }
  return texts;
}

struct cost {
  std::size_t comparisons = 0;
  double milliseconds = 0;
};

/// All in flight at once, then all looked up.
template <class Hash>
cost cost_of(std::vector<std::string> const& texts) {
  cost spent;
  tally got;
  std::vector<held<int>> tasks(texts.size());
  cacheflight::basic_group<std::string, Hash, counting_equal> flights({}, Hash(),
                                                                      counting_equal{&spent.comparisons});
  spent.milliseconds = 1e3 * seconds([&] {
                         for (std::size_t i = 0; i < texts.size(); ++i)
                           flights.start(texts[i], tasks[i].task(), got.callback());
                         for (auto const& text : texts) EXPECT_TRUE(flights.has(text));
                       });
  EXPECT_EQ(flights.size(), texts.size());
  return spent;
}

TEST(flooding, R32_chosen_texts_cost_no_more_than_random_ones) {
  auto const chosen = colliding_texts();
  ASSERT_EQ(std::set<std::string>(chosen.begin(), chosen.end()).size(), keys);
  auto const usual = cost_of<cacheflight::default_hash<std::string>>(random_texts());
  auto const flooded = cost_of<cacheflight::default_hash<std::string>>(chosen);
  std::printf("default hash: random texts %zu comparisons, %.0f ms; chosen texts %zu, %.0f ms\n",
              usual.comparisons, usual.milliseconds, flooded.comparisons, flooded.milliseconds);
  EXPECT_GE(usual.comparisons, keys);  // each was found: the count counts
  EXPECT_LE(static_cast<double>(flooded.comparisons), limit * static_cast<double>(usual.comparisons));
}

TEST(flooding, the_chosen_texts_do_flood_a_hash_that_is_not_keyed) {
  auto chosen = colliding_texts();
  std::set<std::size_t> hashes;
  for (auto const& text : chosen) hashes.insert(std::hash<std::string>()(text));
  if (hashes.size() != 1) GTEST_SKIP() << "they are chosen for libstdc++";
  std::unordered_set<std::string> set;
  double const random_ms = 1e3 * seconds([&] {
                             for (auto const& text : random_texts()) set.insert(text);
                           });
  chosen.resize(2'000);  // enough: they cost the square
  auto random = random_texts();
  random.resize(chosen.size());
  auto const usual = cost_of<fixed_hash>(random);
  auto const flooded = cost_of<fixed_hash>(chosen);
  std::printf(
      "std::hash, %zu texts: random %zu comparisons, %.0f ms; chosen %zu, %.0f ms (std::unordered_set: "
      "%.0f)\n",
      chosen.size(), usual.comparisons, usual.milliseconds, flooded.comparisons, flooded.milliseconds,
      random_ms);
  EXPECT_GT(static_cast<double>(flooded.comparisons), limit * static_cast<double>(usual.comparisons));
}

// ---- other keys -------------------------------------------------------------------------------------------

using P = cacheflight::std_platform;

/// What the group makes of a key's hash, taken from a flight that it admits.
template <class Key>
class hash_probe {
 public:
  std::uint64_t operator()(Key key) {
    caller who;
    auto const build = [](Key& k) { return new probe_flight(k); };
    EXPECT_EQ(detail::access::enter(flights_, key, who, cacheflight::run_options(), typeid(int), build),
              detail::admission::leads);
    auto& flight = static_cast<probe_flight&>(*who.joined());
    std::uint64_t const hash = flight.hash;
    detail::core<P>::settle(flight, detail::cause::resolved, nullptr, nullptr);
    detail::core<P>::finish(who);
    return hash;
  }

 private:
  struct probe_flight final : detail::keyed_flight<P, Key> {
    explicit probe_flight(Key key) : detail::keyed_flight<P, Key>(key, {}) {}
    [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(int); }
    bool request_stop() noexcept override { return true; }
  };
  struct caller final : detail::waiter<P> {
    bool hand_over(waiters&) noexcept override { return true; }
  };
  cacheflight::basic_group<Key> flights_;
};

/// What a table needs of a flight; counts how many are passed when one is looked up.
struct counted_flight {
  struct counted_hash {
    std::uint64_t value = 0;
    operator std::uint64_t() const { return value; }
    friend bool operator==(counted_hash const& a, std::uint64_t b) {
      ++passed;
      return a.value == b;
    }
  };
  counted_hash hash;
  counted_flight* next_in_bucket = nullptr;
  counted_flight** link = nullptr;
  static inline std::size_t passed = 0;
};

/// How many flights are passed in all, when each of these keys is in flight and is looked up once. 16 shards,
/// which the lowest four bits choose.
template <class Key>
std::size_t passed_with(std::vector<Key> const& which) {
  hash_probe<Key> hash_of;
  using table = detail::flight_table<counted_flight>;
  detail::retiring_mutex<std::mutex> mutex;
  std::deque<table> shards;
  for (int i = 0; i < 16; ++i) shards.emplace_back(mutex);
  std::vector<counted_flight> flights(which.size());
  for (std::size_t i = 0; i < which.size(); ++i) {
    flights[i].hash.value = hash_of(which[i]);
    table& its = shards[flights[i].hash % 16];
    if (table::storage_type buckets(its.wanted()); buckets.count() != 0) its.use(buckets);
    its.insert(flights[i]);
  }
  counted_flight::passed = 0;
  for (auto const& f : flights) EXPECT_EQ(shards[f.hash % 16].find(f.hash, [](auto&) { return true; }), &f);
  return counted_flight::passed;
}

template <class Key, class Make>
std::vector<Key> made(Make&& make) {
  std::vector<Key> all;
  for (std::uint64_t i = 0; i < keys / 4; ++i) all.push_back(static_cast<Key>(make(i)));
  return all;
}

TEST(flooding, numbers_that_follow_a_pattern_cost_no_more_than_random_ones) {
  std::mt19937_64 random(1);
  auto const usual = static_cast<double>(passed_with(made<std::uint64_t>([&](auto) { return random(); })));
  double worst = 0;
  for (int shift = 0; shift <= 51; ++shift) {
    auto const strided = made<std::uint64_t>([&](std::uint64_t i) { return i << shift; });
    auto const high = made<std::uint64_t>([&](std::uint64_t i) { return (i << shift) | 0x00007f0000000000; });
    for (auto const& which : {strided, high}) {
      if (std::set<std::uint64_t>(which.begin(), which.end()).size() != which.size()) continue;
      double const ratio = static_cast<double>(passed_with(which)) / usual;
      EXPECT_LE(ratio, limit) << "multiples of 2^" << shift;
      worst = std::max(worst, ratio);
    }
  }
  for (std::uint64_t stride :
       {3ULL, 10ULL, 1'000ULL, 48ULL, 4'095ULL, 0x9e3779b97f4a7c15ULL, 1'000'000'007ULL}) {
    double const ratio =
        static_cast<double>(passed_with(made<std::uint64_t>([&](std::uint64_t i) { return i * stride; }))) /
        usual;
    EXPECT_LE(ratio, limit) << "multiples of " << stride;
    worst = std::max(worst, ratio);
  }
  std::printf("numbers: at worst %.2f times the cost of random ones\n", worst);
}

enum class id : std::int32_t {};

TEST(flooding, other_types_that_follow_a_pattern_cost_no_more_than_random_ones) {
  std::mt19937_64 random(1);
  auto const usual = static_cast<double>(passed_with(made<std::uint64_t>([&](auto) { return random(); })));
  auto const expect_cheap = [&]<class Key>(char const* what, std::vector<Key> const& which) {
    EXPECT_LE(static_cast<double>(passed_with(which)) / usual, limit) << what;
  };
  expect_cheap("int", made<int>([](std::uint64_t i) { return -static_cast<int>(i); }));
  expect_cheap("enum", made<id>([](std::uint64_t i) { return static_cast<int>(i) * 65'536; }));
  expect_cheap("double", made<double>([](std::uint64_t i) { return static_cast<double>(i) / 4; }));
  std::vector<std::unique_ptr<std::string>> objects;
  expect_cheap("pointer", made<std::string*>([&](auto) {
                 return objects.emplace_back(std::make_unique<std::string>()).get();
               }));
}

}  // namespace
