// SPDX-License-Identifier: MIT

// Explores the schedules of all small programs on the core: see --help.

#include "harness.hpp"

#include <sys/mman.h>
#include <sys/wait.h>

#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <cstring>
#include <ctime>
#include <fstream>
#include <set>
#include <stdexcept>
#include <vector>

namespace {

using schedule::program;
using schedule::setup;

constexpr char const* usage = R"(usage: explore [FAMILY] [--jobs N] [--write-pins FILE]
       explore --threads N --operations N [--letters LETTERS] [--preemptions N] [SETUP] [--no-cache] [--jobs N]
       explore --program 'RL|C' [--preemptions N] [SETUP]
       explore --program 'RL|C' --choices TEXT [SETUP]      replays one schedule and prints what happens
       explore ... --random N | --pct N [--seed S]          N schedules of each program instead of all
       explore ... --drawn N | --every N                    N programs drawn at random, or each N-th, instead of all

SETUP: --events, --max-keys N, --refusals N, --shards N
FAMILY: --push (what every push runs), --long; each line is checked against its pinned count;
        with --write-pins FILE the counts are written into FILE (test/schedule/pinned.inc) instead
)";

struct family {
  char const* name;
  std::size_t threads, operations;
  char const* letters;
  std::size_t preemptions;
  setup with;
  std::size_t shards;
  std::uint64_t drawn;  // 0: all programs and schedules; else so many programs, 20 schedules of each by PCT
  std::uint64_t programs;  // pinned
  long double schedules;   // pinned
};
constexpr std::size_t all = schedule::scheduler::unbounded;

#include "pinned.inc"

struct count {
  std::uint64_t programs = 0, runs = 0, states = 0;
  long double schedules = 0;
};

struct plan {
  std::size_t threads = 2, operations = 2;
  std::string letters = "RFIAVTWLCZD";
  std::size_t preemptions = all;
  setup with;
  std::size_t shards = 1;
  std::uint64_t drawn = 0;  // programs
  std::uint64_t samples = 0;
  schedule::choices::mode mode = schedule::choices::mode::enumerate;
  std::uint64_t seed = 1;
  std::size_t jobs = 1;
  std::uint64_t every = 1;  // program
};

/// Whether it is worth running: somebody calls, a leaver finds somebody, nothing follows a destruction in its
/// thread.
bool worthwhile(std::vector<std::string> const& threads) {
  bool calls = false;
  for (std::size_t i = 0; i < threads.size(); ++i) {
    for (std::size_t j = 0; j < threads[i].size(); ++j) {
      char const upper = static_cast<char>(threads[i][j] & ~0x20);
      if (schedule::calls_among.find(upper) != std::string_view::npos) calls = true;
      if ((upper == 'D' || upper == 'E') && j + 1 != threads[i].size()) return false;
      if (upper != 'L') continue;
      bool found = threads[i].substr(0, j).find('A') != std::string::npos;
      for (std::size_t k = 0; k < threads.size(); ++k)
        if (k != i && threads[k].find_first_of("RFIAKVTQWBHNPrfiakvtqwbhnp") != std::string::npos)
          found = true;
      if (!found) return false;
    }
  }
  return calls;
}

/// Calls `each` with all programs, symmetric ones once.
template <class Each>
void for_each_program(plan const& p, Each&& each) {
  std::vector<std::string> bodies{""};
  for (std::size_t i = 0; i < p.operations; ++i) {
    std::vector<std::string> next;
    for (auto const& body : bodies)
      for (char const letter : p.letters) next.push_back(body + letter);
    bodies = std::move(next);
  }
  std::vector<std::size_t> chosen(p.threads, 0);
  for (;;) {
    std::vector<std::string> threads;
    for (std::size_t const index : chosen) threads.push_back(bodies[index]);
    if (worthwhile(threads)) {
      program q;
      q.count = p.threads;
      for (std::size_t i = 0; i < p.threads; ++i) q.threads[i] = threads[i];
      each(q);
    }
    std::size_t i = p.threads;
    while (i > 0 && chosen[i - 1] + 1 == bodies.size()) --i;
    if (i == 0) return;
    std::size_t const value = chosen[i - 1] + 1;
    for (std::size_t j = i - 1; j < p.threads; ++j) chosen[j] = value;
  }
}

program draw_program(plan const& p, schedule::choices& draw) {
  for (;;) {
    program q;
    std::vector<std::string> threads;
    for (std::size_t i = 0; i < p.threads; ++i) {
      for (std::size_t j = 0; j < p.operations; ++j)
        q.threads[i] += p.letters[draw.random() % p.letters.size()];
      threads.push_back(q.threads[i]);
    }
    q.count = p.threads;
    if (worthwhile(threads)) return q;
  }
}

void explore(program const& q, plan const& p, count& sum) {
  ++sum.programs;
  schedule::fibers.preemption_bound = p.preemptions;
  schedule::platform::shard_count = p.shards;
  if (p.mode != schedule::choices::mode::enumerate) {
    for (std::uint64_t i = 0; i < p.samples; ++i) {
      schedule::fibers.choose.draw(p.mode, p.seed + i);
      schedule::begin(q, p.with);
      (void)schedule::go_on();
      ++sum.runs;
    }
    sum.schedules += static_cast<long double>(p.samples);
    return;
  }
  schedule::fibers.choose.enumerate();
  schedule::begin(q, p.with);
  for (bool more = true; more;) {
    bool const whole = schedule::go_on();
    ++sum.runs;
    if (schedule::fibers.cache) {
      more = schedule::fibers.back(!whole);
    } else if ((more = schedule::fibers.choose.advance(false))) {
      schedule::begin(q, p.with);
    }
  }
  sum.schedules += schedule::fibers.choose.schedules();
  sum.states += schedule::fibers.choose.states();
}

/// In so many processes: each takes the next program that nobody has. A violation ends them all.
bool run(plan const& p, count& sum) {
  void* const shared = mmap(nullptr, sizeof(std::atomic<std::uint64_t>), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) throw std::runtime_error("no shared memory");
  auto& next = *new (shared) std::atomic<std::uint64_t>(0);
  std::vector<int> results;
  std::vector<pid_t> children;
  for (std::size_t job = 0; job < p.jobs; ++job) {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("no pipe");
    std::fflush(stdout);
    pid_t const child = fork();
    if (child < 0) throw std::runtime_error("no process");
    if (child == 0) {
      close(ends[0]);
      count mine;
      std::uint64_t index = 0, chosen = 0, taken = next++;
      auto const try_next = [&](program const& q) {
        if (chosen++ != taken) return;
        explore(q, p, mine);
        taken = next++;
      };
      schedule::choices draw;
      draw.draw(schedule::choices::mode::random, p.seed);
      while (index++ < p.drawn) try_next(draw_program(p, draw));
      if (p.drawn == 0)
        for_each_program(p, [&](program const& q) {
          if (index++ % p.every == 0) try_next(q);
        });
      bool const sent = write(ends[1], &mine, sizeof mine) == static_cast<ssize_t>(sizeof mine);
      _exit(sent ? 0 : 2);
    }
    close(ends[1]);
    results.push_back(ends[0]);
    children.push_back(child);
  }
  bool good = true;
  for (std::size_t job = 0; job < p.jobs; ++job) {
    count part;
    bool const received = read(results[job], &part, sizeof part) == static_cast<ssize_t>(sizeof part);
    close(results[job]);
    int status = 0;
    waitpid(children[job], &status, 0);
    if (!received || status != 0) good = false;
    if (!received) continue;
    sum.programs += part.programs;
    sum.runs += part.runs;
    sum.states += part.states;
    sum.schedules += part.schedules;
  }
  munmap(shared, sizeof next);
  return good;
}

double seconds() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

void print_line(char const* name, plan const& p, count const& sum, double took) {
  std::string const bound = p.preemptions == all ? "unbounded" : std::to_string(p.preemptions);
  std::printf("%-34s %zu x %zu %10s %9llu %22.0Lf %12llu %11llu %8.1f\n", name, p.threads, p.operations,
              bound.c_str(), static_cast<unsigned long long>(sum.programs), sum.schedules,
              static_cast<unsigned long long>(sum.states), static_cast<unsigned long long>(sum.runs), took);
  std::fflush(stdout);
}

void print_head() {
  std::printf("%-34s %5s %10s %9s %22s %12s %11s %8s\n", "family", "size", "preempt.", "programs",
              "schedules", "states", "runs", "seconds");
}

/// Replaces the counts of a list of families in the file.
void write_pins(std::string const& file, std::string const& list, std::vector<count> const& counts) {
  std::ifstream in(file);
  std::string text;
  std::size_t at = 0;
  bool inside = false;
  for (std::string line; std::getline(in, line); text += line + '\n') {
    if (line.starts_with("std::vector")) inside = line.find(list) != std::string::npos;
    if (!inside || !line.starts_with("    {") || at == counts.size()) continue;
    line.resize(line.rfind(',', line.rfind(',', line.rfind(',') - 1) - 1) + 1);
    std::array<char, 64> pinned{};
    std::snprintf(pinned.data(), pinned.size(), " %llu, %.0Lf.0L},",
                  static_cast<unsigned long long>(counts[at].programs), counts[at].schedules);
    line += pinned.data();
    ++at;
  }
  if (at != counts.size()) throw std::runtime_error("not a list of these families: " + file);
  if (!(std::ofstream(file) << text)) throw std::runtime_error("cannot write " + file);
}

int run_families(std::vector<family> const& families, std::size_t jobs, std::string const& list,
                 std::string const& pins) {
  bool good = true;
  count total;
  std::vector<count> counts;
  double const start = seconds();
  print_head();
  for (family const& f : families) {
    plan p;
    p.threads = f.threads, p.operations = f.operations, p.letters = f.letters, p.preemptions = f.preemptions;
    p.with = f.with, p.shards = f.shards, p.jobs = jobs, p.drawn = f.drawn;
    if (f.drawn) p.mode = schedule::choices::mode::pct, p.samples = 20;
    count sum;
    double const from = seconds();
    bool const passed = run(p, sum);
    print_line(f.name, p, sum, seconds() - from);
    total.programs += sum.programs;
    total.schedules += sum.schedules;
    total.states += sum.states;
    if (!passed) return 1;
    counts.push_back(sum);
    if (!pins.empty()) continue;
    if (f.programs == 0) {
      std::puts("  not pinned");
      continue;
    }
    long double const off = sum.schedules - f.schedules;  // rounded beyond 2^64
    if (sum.programs == f.programs && off < f.schedules * 1e-12L + 0.5L && -off < f.schedules * 1e-12L + 0.5L)
      continue;
    std::printf(
        "  pinned are %llu programs and %.0Lf schedules: if the change is understood, pin the new ones\n",
        static_cast<unsigned long long>(f.programs), f.schedules);
    good = false;
  }
  std::printf("%llu programs, %.0Lf schedules through %llu states, 0 violations, %.1f s\n",
              static_cast<unsigned long long>(total.programs), total.schedules,
              static_cast<unsigned long long>(total.states), seconds() - start);
  if (!pins.empty()) write_pins(pins, list, counts);
  return good ? 0 : 1;
}

program parse(std::string const& text) {
  program q;
  q.count = 1;
  for (char const c : text) {
    if (c == '|') {
      if (++q.count > q.threads.size()) throw std::invalid_argument("at most 4 threads");
    } else if (schedule::all_operations.find(static_cast<char>(c & ~0x20)) == std::string_view::npos) {
      throw std::invalid_argument("no such operation: " + std::string(1, c));
    } else {
      q.threads[q.count - 1] += c;
    }
  }
  return q;
}

template <class Number>
Number number(char const* option, char const* text) {
  Number n{};
  auto const end = text ? text + std::strlen(text) : text;
  if (!text || std::from_chars(text, end, n).ptr != end)
    throw std::invalid_argument(std::string(option) + " needs a number");
  return n;
}

}  // namespace

#ifndef CACHEFLIGHT_TEST_ASAN
void* operator new(std::size_t bytes) {
  if (schedule::arena::active) return schedule::arena::take(bytes);
  if (void* const p = std::malloc(bytes ? bytes : 1)) return p;
  throw std::bad_alloc();
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  if (schedule::arena::active) return schedule::arena::take(bytes, static_cast<std::size_t>(alignment));
  auto const to = static_cast<std::size_t>(alignment);
  if (void* const p = std::aligned_alloc(to, (bytes + to - 1) / to * to)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept {
  if (!schedule::arena::give_back(p)) std::free(p);
}
void operator delete(void* p, std::size_t) noexcept { operator delete(p); }
void operator delete(void* p, std::align_val_t) noexcept { operator delete(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { operator delete(p); }
// Exceptions as well, with room for the run-time's header in front of them.
namespace {
constexpr std::size_t header = 256;
}
extern "C" void* __cxa_allocate_exception(std::size_t bytes) noexcept {
  void* const p = operator new(header + bytes);
  std::memset(p, 0, header + bytes);
  return static_cast<char*>(p) + header;
}
extern "C" void __cxa_free_exception(void* p) noexcept { operator delete(static_cast<char*>(p) - header); }
#endif

int main(int argc, char** argv) try {
  schedule::declare_globals();
#ifdef CACHEFLIGHT_TEST_ASAN
  schedule::fibers.cache = false;  // what is freed must stay unknown to it, so it cannot be cut off
#endif
  schedule::fibers.on_end = schedule::next_phase;
  schedule::fibers.on_hang = [] { schedule::violation("nobody can go on, and not all are through"); };
  for (int const signal : {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL})
    std::signal(signal, [](int) { schedule::violation("crashed"); });

  plan p;
  std::string program_text, choices_text, families, pins;
  bool replay = false;
  for (int i = 1; i < argc; ++i) {
    std::string const option = argv[i];
    auto const next = [&] { return i + 1 < argc ? argv[++i] : nullptr; };
    auto const text = [&] {
      char const* const t = next();
      if (!t) throw std::invalid_argument(option + " needs a value");
      return std::string(t);
    };
    if (option == "--help") return std::fputs(usage, stdout), 0;
    if (option == "--push" || option == "--long") families = option;
    else if (option == "--threads") p.threads = number<std::size_t>("--threads", next());
    else if (option == "--operations") p.operations = number<std::size_t>("--operations", next());
    else if (option == "--letters") p.letters = text();
    else if (option == "--preemptions") p.preemptions = number<std::size_t>("--preemptions", next());
    else if (option == "--no-cache") schedule::fibers.cache = false;
    else if (option == "--events") p.with.events = true;
    else if (option == "--max-keys") p.with.max_keys = number<std::size_t>("--max-keys", next());
    else if (option == "--refusals") p.with.refusals = number<std::size_t>("--refusals", next());
    else if (option == "--shards") p.shards = number<std::size_t>("--shards", next());
    else if (option == "--drawn") p.drawn = number<std::uint64_t>("--drawn", next());
    else if (option == "--every") p.every = number<std::uint64_t>("--every", next());
    else if (option == "--jobs") p.jobs = number<std::size_t>("--jobs", next());
    else if (option == "--seed") p.seed = number<std::uint64_t>("--seed", next());
    else if (option == "--write-pins") pins = text();
    else if (option == "--program") program_text = text();
    else if (option == "--choices") choices_text = text(), replay = true;
    else if (option == "--random")
      p.mode = schedule::choices::mode::random, p.samples = number<std::uint64_t>("--random", next());
    else if (option == "--pct")
      p.mode = schedule::choices::mode::pct, p.samples = number<std::uint64_t>("--pct", next());
    else throw std::invalid_argument("unknown argument " + option + "\n" + usage);
  }
  if (p.jobs == 0) throw std::invalid_argument("--jobs needs at least 1");
  if (!families.empty()) {
    bool const short_list = families == "--push";
    return run_families(short_list ? push : longer, p.jobs, short_list ? "push{" : "longer{", pins);
  }

  count sum;
  double const from = seconds();
  if (!program_text.empty()) {
    program const q = parse(program_text);
    p.threads = q.count;
    if (replay) {
      schedule::fibers.choose.replay(choices_text);
      schedule::platform::shard_count = p.shards;
      schedule::begin(q, p.with, true);
      (void)schedule::go_on();
      std::puts("no violation");
      return 0;
    }
    explore(q, p, sum);
  } else if (!run(p, sum)) {
    return 1;
  }
  print_head();
  print_line(program_text.empty() ? p.letters.c_str() : program_text.c_str(), p, sum, seconds() - from);
  return 0;
} catch (std::exception const& e) {
  std::fprintf(stderr, "explore: %s\n", e.what());
  return 2;
}
