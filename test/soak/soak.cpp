// SPDX-License-Identifier: MIT
// soak [--operations N] [--seconds S] [--threads T] [--seed S]
//
// Blocking callers, callbacks and coroutines on the same few keys, for as long as wanted (N operations and S
// seconds, whatever takes longer). Every five seconds, with everything at rest: what was done, how often
// callers joined, and what memory is in use. Fails if memory grows, if a call or an execution is missing, or
// if few callers joined.
//
// A thread leads a flight, starts callers that join it (its own and, by chance, other threads'), and then
// answers it. So flights are joined without anybody sleeping, which is what makes a thousand million
// operations possible; one call in a few hundred blocks on another thread's flight.

#include "support/coroutines.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/cacheflight.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <malloc.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <memory>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace {

using namespace std::chrono_literals;
using answer = std::uint64_t;

#if defined(SOAK_STD_MUTEX)  // what valgrind knows as a lock
struct soak_platform : cacheflight::std_platform {
  using mutex = std::mutex;
};
#else
using soak_platform = cacheflight::std_platform;
#endif
using soak_group = cacheflight::basic_group<std::string, cacheflight::default_hash<std::string>,
                                            cacheflight::default_equal<std::string>, soak_platform>;

using result = std::shared_ptr<answer const>;
using steady = std::chrono::steady_clock;

/// One thread's calls into one group and what became of them. Other threads deliver some of the outcomes.
struct alignas(64) tally {
  std::atomic<std::uint64_t> calls{0}, executions{0}, values{0}, timed_out{0}, cancelled{0}, left{0},
      wrong{0};

  static void count(std::atomic<std::uint64_t>& n) { n.fetch_add(1, std::memory_order_relaxed); }
  [[nodiscard]] std::uint64_t outcomes() const { return values + timed_out + cancelled + left + wrong; }

  void note(answer key, std::exception_ptr const& error, result const& value) {
    if (!error) return count(value && *value == key ? values : wrong);
    try {
      std::rethrow_exception(error);
    } catch (cacheflight::timeout_error const&) {
      count(timed_out);
    } catch (cacheflight::cancelled_error const&) {
      count(cancelled);
    } catch (cacheflight::caller_stopped_error const&) {
      count(left);
    } catch (...) {
      count(wrong);
    }
  }
};

/// A group and its books. In the calm one every flight ends with its task's value; in the rough one flights
/// are cancelled and time out, and callers leave.
struct subject {
  explicit subject(std::size_t threads) : of_thread(threads) {}

  soak_group flights;
  std::vector<tally> of_thread;

  [[nodiscard]] std::uint64_t sum(std::atomic<std::uint64_t> tally::* what) const {
    std::uint64_t all = 0;
    for (tally const& t : of_thread) all += t.*what;
    return all;
  }
  [[nodiscard]] std::uint64_t outcomes() const {
    std::uint64_t all = 0;
    for (tally const& t : of_thread) all += t.outcomes();
    return all;
  }
};

constexpr std::size_t shared_keys = 16;

/// Flights that a thread has begun and not answered yet. Only its thread touches it.
class begun {
 public:
  void add(answer key, cacheflight::completion<answer> done) {
    callbacks_.emplace_back(key, std::move(done));
  }
  void add(std::coroutine_handle<> task) { coroutines_.push_back(task); }
  void answer_all() {
    for (auto& [key, done] : callbacks_) done.set_value(key);
    callbacks_.clear();
    for (auto const& task : coroutines_) task.resume();
    coroutines_.clear();
  }

 private:
  std::vector<std::pair<answer, cacheflight::completion<answer>>> callbacks_;
  std::vector<std::coroutine_handle<>> coroutines_;
};

struct until_answered {
  begun& flights;
  bool await_ready() noexcept { return false; }
  void await_suspend(std::coroutine_handle<> task) { flights.add(task); }
  void await_resume() noexcept {}
};
cacheflight_test::lazy<answer> coroutine_task(begun& mine, answer key, tally& books) {
  tally::count(books.executions);
  co_await until_answered{mine};
  co_return key;
}

class caller {
 public:
  caller(subject& calm, subject& rough, std::size_t thread, std::uint64_t seed)
      : calm_(calm), rough_(rough), thread_(thread), random_(seed + thread) {
    for (std::size_t i = 0; i < shared_keys; ++i) names_.push_back("shared key " + std::to_string(i));
  }

  /// Some operations. Returns how many calls there were among them.
  std::uint64_t some() {
    auto const r = random_();
    if (r % 256 == 0) return blocking(calm_, r / 256 % shared_keys, {});
    if (r % 16 == 1) return blocking_alone();
    return r % 64 == 2 ? roughly() : calmly();
  }

 private:
  std::uint64_t calmly() {
    answer const key = random_() % shared_keys;
    std::uint64_t const calls = 4 + random_() % 8;
    for (std::uint64_t i = 0; i < calls; ++i) asynchronous(calm_, key, {}, random_() % 4 != 0);
    mine_.answer_all();
    return calls;
  }

  std::uint64_t roughly() {
    answer const key = random_() % shared_keys;
    std::uint64_t const calls = 4 + random_() % 8;
    std::stop_source leave;
    for (std::uint64_t i = 0; i < calls; ++i) {
      cacheflight::run_options options;
      auto const r = random_();
      if (r % 64 == 0) options.timeout(20us);
      if (r % 64 == 1) options.wait_timeout(20us);
      if (r % 8 == 2) options.stop_token(leave.get_token());
      asynchronous(rough_, key, std::move(options), r / 64 % 2 == 0);
    }
    auto const r = random_();
    if (r % 2 == 0) leave.request_stop();
    if (r / 2 % 8 == 0) (void)rough_.flights.cancel(names_[key]);
    if (r / 16 % 512 == 0) rough_.flights.clear();
    (void)rough_.flights.has(names_[key]);
    mine_.answer_all();
    if (r / 8192 % 16 == 0)
      return calls + blocking(rough_, key, cacheflight::run_options().wait_timeout(20us));
    return calls;
  }

  void asynchronous(subject& s, answer key, cacheflight::run_options options, bool callback) {
    tally& books = s.of_thread[thread_];
    tally::count(books.calls);
    if (!callback) return coroutine(s, key, std::move(options), books);
    auto const task = [this, key, &books](cacheflight::completion<answer> done) {
      tally::count(books.executions);
      mine_.add(key, std::move(done));
    };
    s.flights.start(std::string_view(names_[key]), std::move(options), cacheflight::answering<answer>(task),
                    [key, &books](std::exception_ptr const& error, result const& value) {
                      books.note(key, error, value);
                    });
  }

  void coroutine(subject& s, answer key, cacheflight::run_options options, tally& books) {
    (void)await(s.flights, names_[key], key, std::move(options), books);
  }
  cacheflight_test::eager await(soak_group& flights, std::string_view name, answer key,
                                cacheflight::run_options options, tally& books) {
    result value;
    std::exception_ptr error;
    try {
      auto operation =
          flights.run(name, std::move(options), coroutine_task, std::ref(mine_), key, std::ref(books));
      value = co_await std::move(operation);
    } catch (...) {
      error = std::current_exception();
    }
    books.note(key, error, value);
  }

  /// Never while this thread has flights to answer: two such threads could wait for each other.
  std::uint64_t blocking(subject& s, answer key, cacheflight::run_options options) {
    tally& books = s.of_thread[thread_];
    tally::count(books.calls);
    result value;
    std::exception_ptr error;
    try {
      value = s.flights.run(std::string_view(names_[key]), std::move(options), [&books, key] {
        tally::count(books.executions);
        return key;
      });
    } catch (...) {
      error = std::current_exception();
    }
    books.note(key, error, value);
    return 1;
  }

  /// Keys that come once, so that the table sees new ones all the time.
  std::uint64_t blocking_alone() {
    tally& books = calm_.of_thread[thread_];
    tally::count(books.calls);
    answer const key = ++next_;
    auto const task = [&books, key] {
      tally::count(books.executions);
      return key;
    };
    books.note(key, nullptr,
               calm_.flights.run("thread " + std::to_string(thread_) + " " + std::to_string(key), task));
    return 1;
  }

  subject& calm_;
  subject& rough_;
  std::size_t const thread_;
  std::mt19937_64 random_;
  std::vector<std::string> names_;
  answer next_ = shared_keys;
  begun mine_;
};

// ---- memory

/// What malloc has given out, and what the kernel has.
struct memory {
  std::uint64_t allocated, resident;
  static memory now() {
    auto const info = ::mallinfo2();
    std::uint64_t total = 0, resident = 0;
    std::ifstream("/proc/self/statm") >> total >> resident;
    return {info.uordblks + info.hblkhd, resident * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE))};
  }
};
constexpr std::uint64_t most_allocated = 16 << 10,
                        most_resident = 8 << 20;  // caches of malloc's, not operations

// ---- the run

bool fine = true;
void expect(bool condition, char const* what) {
  if (condition) return;
  std::fprintf(stderr, "FAILED: %s\n", what);
  fine = false;
}

unsigned long long shown(std::uint64_t n) { return n; }

class soak {
 public:
  soak(std::size_t threads, std::uint64_t seed) : calm_(threads), rough_(threads) {
    for (std::size_t i = 0; i < threads; ++i)
      callers_.push_back(std::make_unique<caller>(calm_, rough_, i, seed));
  }

  /// All threads, until there were `operations` or `time` has passed. Then everything is at rest.
  void round(std::uint64_t operations, steady::duration time) {
    constexpr std::uint64_t some = 512;
    std::atomic<std::uint64_t> done{0};
    auto const end = steady::now() + time;
    {
      std::vector<std::jthread> threads;
      for (auto& each : callers_)
        threads.emplace_back([&] {
          while (done < operations && steady::now() < end)
            for (std::uint64_t n = 0; n < some;) {
              std::uint64_t const calls = each->some();
              n += calls;
              if (n >= some) done += n;
            }
        });
    }
    total_ += done;
    // The deadline thread may be about to deliver an outcome.
    auto const patience = steady::now() + 10s;
    while ((calm_.outcomes() + rough_.outcomes() < calls() || waiting() > 0) && steady::now() < patience)
      std::this_thread::yield();
    check(calm_, true);
    check(rough_, false);
  }

  void report(memory const& m, double seconds) const {
    auto const c = calm_.flights.stats(), r = rough_.flights.stats();
    std::printf(
        "%7.1f s %13llu operations  %5.1f %% joined  %8.1f KiB allocated  %8.1f KiB resident  started %llu  "
        "resolved %llu  cancelled %llu  timed out %llu\n",
        seconds, shown(total_), 100 * joined(), static_cast<double>(m.allocated) / 1024,
        static_cast<double>(m.resident) / 1024, shown(c.started + r.started), shown(c.resolved + r.resolved),
        shown(c.cancelled + r.cancelled), shown(c.timed_out + r.timed_out));
    std::fflush(stdout);
  }

  [[nodiscard]] double joined() const {
    auto const c = calm_.flights.stats(), r = rough_.flights.stats();
    return static_cast<double>(c.hits + r.hits) / static_cast<double>(c.hits + r.hits + c.misses + r.misses);
  }
  [[nodiscard]] std::uint64_t total() const { return total_; }

  /// A run in which something never happened proves less than it claims.
  void expect_variety() const {
    expect(rough_.sum(&tally::cancelled) > 0, "somebody was cancelled");
    expect(rough_.sum(&tally::left) > 0, "somebody left");
    expect(rough_.sum(&tally::timed_out) > 0, "something timed out");
  }

 private:
  [[nodiscard]] std::uint64_t calls() const { return calm_.sum(&tally::calls) + rough_.sum(&tally::calls); }
  [[nodiscard]] std::uint64_t waiting() const {
    return calm_.flights.stats().waiters + rough_.flights.stats().waiters;
  }

  static void check(subject const& s, bool calm) {
    auto const books = s.flights.stats();
    std::uint64_t const calls = s.sum(&tally::calls), executions = s.sum(&tally::executions);
    expect(s.outcomes() == calls, "every call completed exactly once");
    expect(s.sum(&tally::wrong) == 0, "every value is of its key");
    expect(books.hits + books.misses == calls, "every call joined or led");
    expect(books.misses == books.started + books.max_keys_rejected, "every miss started a flight");
    expect(books.started == books.resolved + books.rejected + books.timed_out + books.cancelled,
           "every flight ended once");
    expect(books.in_flight == 0 && books.waiters == 0 && books.detached == 0, "at rest nothing is left");
    if (calm) {
      expect(executions == books.started && executions == books.resolved, "every flight ran its task once");
      expect(s.sum(&tally::values) == calls, "every call got its value");
    } else {
      // A flight that ends before its leader gets to the task has no execution.
      expect(executions <= books.started && books.started - executions <= books.timed_out + books.cancelled,
             "no flight ran its task twice");
    }
  }

  subject calm_, rough_;
  std::vector<std::unique_ptr<caller>> callers_;
  std::uint64_t total_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t operations = 1'000'000, seconds = 0, threads = 4, seed = std::random_device()();
  for (int i = 1; i < argc; i += 2) {
    std::uint64_t* const number = std::strcmp(argv[i], "--operations") == 0 ? &operations
                                  : std::strcmp(argv[i], "--seconds") == 0  ? &seconds
                                  : std::strcmp(argv[i], "--threads") == 0  ? &threads
                                  : std::strcmp(argv[i], "--seed") == 0     ? &seed
                                                                            : nullptr;
    if (!number || i + 1 == argc)
      return std::fprintf(stderr, "usage: soak [--operations N] [--seconds S] [--threads T] [--seed S]\n"), 2;
    *number = std::strtoull(argv[i + 1], nullptr, 0);
  }
  std::printf("soak --seed %llu --threads %llu\n", shown(seed), shown(threads));

  auto const begin = steady::now();
  auto const since_begin = [&] { return std::chrono::duration<double>(steady::now() - begin).count(); };
  soak all(threads, seed);
  all.round(operations / 4, 10s);  // until every thread has its arena and its caches
  memory const warm = memory::now();
  all.report(warm, since_begin());
  memory last = warm;
  while (fine && (all.total() < operations || since_begin() < static_cast<double>(seconds))) {
    all.round(all.total() < operations ? operations - all.total() : ~std::uint64_t{0}, 5s);
    last = memory::now();
    all.report(last, since_begin());
  }
  // Valgrind has a malloc of its own, which tells nothing, and needs memory itself.
  bool const measured = warm.allocated > 0;
  expect(!measured || last.allocated <= warm.allocated + most_allocated, "what is allocated does not grow");
  expect(!measured || last.resident <= warm.resident + most_resident, "what is resident does not grow");
  expect(all.joined() >= 0.5, "half of the calls joined");
  if (all.total() > 100'000) all.expect_variety();
  std::printf("%.0f operations a second: %s\n", static_cast<double>(all.total()) / since_begin(),
              fine ? "fine" : "FAILED");
  return fine ? 0 : 1;
}
