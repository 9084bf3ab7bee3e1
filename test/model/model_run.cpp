// SPDX-License-Identifier: MIT

// Random programs, or those in files, against the model.
//
//   model_run [--seconds N] [--seed S]     most of the time by hand, then through each front
//   model_run --replay <folder>            every program of a corpus, through every front
//   model_run --hex <bytes>                one program, as failures print it; shown and made shorter if it fails
//
// --front hand|callback|coroutine chooses one.

#include "front_runners.hpp"
#include "hand_runner.hpp"
#include "search.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace cacheflight_model;
using steady = std::chrono::steady_clock;

double seconds_since(steady::time_point start) {
  return std::chrono::duration<double>(steady::now() - start).count();
}

template <class Runner>
int show_failure(program const& p, char const* front) {
  program const q = shrunk<Runner>(p);
  std::fprintf(stderr, "%zu operations fail:\n%s", q.operations.size(), q.text().c_str());
  auto* const r = new Runner;
  std::fprintf(stderr, "again with: model_run --front %s --hex %s\n", front, q.hex().c_str());
  Runner::forget();
  bool const fine = r->run(q);
  std::fprintf(stderr, "violated: %s\n", fine ? "(it crashes)" : r->wrong());
  std::fflush(nullptr);
  std::_Exit(1);
}

template <class Runner>
int run_random(double seconds, std::uint64_t seed, char const* front) {
  auto r = std::make_unique<Runner>();
  splitmix random{seed};
  program p;
  current::running = &p;
  auto const start = steady::now();
  std::clock_t const cpu = std::clock();
  std::uint64_t programs = 0;
  for (; programs % 256 != 0 || seconds_since(start) < seconds; ++programs) {
    make_random(p, random);
    if (r->run(p)) continue;
    std::fprintf(stderr, "seed %llu, program %llu: %s\n", static_cast<unsigned long long>(seed),
                 static_cast<unsigned long long>(programs), r->wrong());
    (void)r.release();
    return show_failure<Runner>(p, front);
  }
  double const took = seconds_since(start);
  double const worked = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
  auto const operations = static_cast<unsigned long long>(r->operations());
  std::printf(
      "model: front %s, seed %llu: %llu programs, %llu operations in %.1f s, %.2f million per second of CPU, "
      "0 "
      "violations\n",
      front, static_cast<unsigned long long>(seed), static_cast<unsigned long long>(programs), operations,
      took, static_cast<double>(operations) / worked / 1e6);
  return 0;
}

template <class Runner>
int run_hex(std::string const& hex, char const* front) {
  program const p = program::from(bytes_of_hex(hex));
  std::fprintf(stderr, "%s", p.text().c_str());
  if (violates<Runner>(p)) return show_failure<Runner>(p, front);
  std::fprintf(stderr, "fine\n");
  return 0;
}

template <class Runner>
int replay(std::filesystem::path const& folder, char const* front) {
  std::vector<std::filesystem::path> files;
  for (auto const& each : std::filesystem::directory_iterator(folder)) files.push_back(each.path());
  std::sort(files.begin(), files.end());
  auto r = std::make_unique<Runner>();
  program p;
  current::running = &p;
  for (auto const& file : files) {
    std::ifstream in(file, std::ios::binary);
    std::vector<char> const text{std::istreambuf_iterator<char>(in), {}};
    std::vector<std::uint8_t> bytes(text.size());
    std::transform(text.begin(), text.end(), bytes.begin(),
                   [](char c) { return static_cast<std::uint8_t>(c); });
    p.assign(bytes);
    if (r->run(p)) continue;
    std::fprintf(stderr, "%s: %s\n", file.c_str(), r->wrong());
    (void)r.release();
    return show_failure<Runner>(p, front);
  }
  std::printf("model: front %s: %zu programs of the corpus, %llu operations, 0 violations\n", front,
              files.size(), static_cast<unsigned long long>(r->operations()));
  return files.empty();
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = 5;
  std::uint64_t seed = 1;
  std::string front = "all", folder, hex;
  for (int i = 1; i < argc; i += 2) {
    std::string_view const name = argv[i];
    if (i + 1 == argc) return std::fprintf(stderr, "%s: a value is missing\n", argv[i]), 2;
    char const* const value = argv[i + 1];
    if (name == "--seconds") seconds = std::atof(value);
    else if (name == "--seed") seed = std::strtoull(value, nullptr, 0);
    else if (name == "--front") front = value;
    else if (name == "--replay") folder = value;
    else if (name == "--hex") hex = value;
    else return std::fprintf(stderr, "%s: unknown\n", argv[i]), 2;
  }
  current::watch();
  bool const all = front == "all";
  int status = -1;
  auto const with = [&]<class Runner>(Runner*, char const* name, double share) {
    if (status > 0 || (!all && front != name)) return;
    current::front = name;
    if (!hex.empty()) status = run_hex<Runner>(hex, name);
    else if (!folder.empty()) status = replay<Runner>(folder, name);
    else status = run_random<Runner>(all ? seconds * share : seconds, seed, name);
  };
  with(static_cast<hand_runner*>(nullptr), "hand", 0.6);
  with(static_cast<callback_runner*>(nullptr), "callback", 0.2);
  with(static_cast<coroutine_runner*>(nullptr), "coroutine", 0.2);
  if (status < 0) std::fprintf(stderr, "%s: no such front\n", front.c_str());
  return status < 0 ? 2 : status;
}
