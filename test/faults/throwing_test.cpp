// SPDX-License-Identifier: MIT

// A throw at every call into user code: hash, equality, keys, tasks, arguments, results, executors,
// schedulers, events, callbacks. The n-th such call of a script throws, for every n.

#include "../support/asking_executor.hpp"
#include "../support/coroutines.hpp"
#include "../support/senders.hpp"
#include "stage.hpp"
#include <cacheflight/asio.hpp>
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/sender.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <cstdio>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace faults {
namespace {

namespace net = boost::asio;
using cacheflight_test::eager;
using cacheflight_test::lazy;

struct thrown_here : std::exception {
  char const* what() const noexcept override { return "user code threw"; }
};

/// Every call into user code says so here.
struct user_code {
  static void call(char const* site) {
    if (!armed) return;
    ++sites[site];
    if (++seen != nth) return;
    threw_at = site;
    throw thrown_here();
  }
  static inline bool armed = false;
  static inline long nth = 0, seen = 0;
  static inline std::string threw_at;
  static inline std::map<std::string, int> sites;  // how often in this run
};

/// Throws when it is copied or moved.
template <class Which>
struct touchy {
  touchy() = default;
  touchy(touchy const&) { user_code::call(Which::copied); }
  touchy(touchy&&) {
    user_code::call(Which::moved);
  }  // NOLINT(performance-noexcept-move-constructor): it throws
  touchy& operator=(touchy const&) = default;
};

struct of_key {
  [[maybe_unused]] static constexpr char const *copied = "copy of a key", *moved = "move of a key";
};
struct of_task {
  [[maybe_unused]] static constexpr char const *copied = "copy of a task", *moved = "move of a task";
};
struct of_argument {
  [[maybe_unused]] static constexpr char const *copied = "copy of an argument",
                                               *moved = "move of an argument";
};
struct of_submit {
  [[maybe_unused]] static constexpr char const *copied = "copy of an executor",
                                               *moved = "move of an executor";
};
struct of_scheduler {
  [[maybe_unused]] static constexpr char const *copied = "copy of a scheduler",
                                               *moved = "move of a scheduler";
};
struct of_callback {
  [[maybe_unused]] static constexpr char const *copied = "copy of a callback", *moved = "move of a callback";
};
struct of_metadata {
  [[maybe_unused]] static constexpr char const *copied = "copy of metadata", *moved = "move of metadata";
};

struct key : touchy<of_key> {
  explicit key(int n) : id(n) {}
  int id;
};
struct hash {
  std::size_t operator()(key const& k) const {
    user_code::call("hash");
    return static_cast<std::size_t>(k.id);
  }
};
struct equal {
  bool operator()(key const& a, key const& b) const {
    user_code::call("equality");
    return a.id == b.id;
  }
};
struct result {
  result() = default;
  result(result&&) {
    user_code::call("move of a result");
  }  // NOLINT(performance-noexcept-move-constructor): it throws
};
struct argument : touchy<of_argument> {};
struct metadata : touchy<of_metadata> {};

using touchy_group = cf::basic_group<key, hash, equal, manual_platform>;
using shared_result = std::shared_ptr<result const>;

struct outcome {
  bool started = false;
  int completions = 0;
  bool value = false;
  bool threw = false;    // `thrown_here` as the outcome
  bool at_once = false;  // ... thrown by the call itself
  bool other = false;

  void complete(shared_result const& got, std::exception_ptr error) {
    ++completions;
    value = got != nullptr;
    note(std::move(error));
  }
  void note(std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (thrown_here const&) {
      threw = true;
    } catch (...) {
      other = true;
    }
  }
};

/// What a task does before it answers.
using hook = std::function<void()>;

template <class Kind>
struct front_base {
  std::deque<std::function<void()>> ready;
  void pump() {
    while (!ready.empty()) {
      auto const next = std::move(ready.front());
      ready.pop_front();
      next();
    }
  }
};

struct function_base : touchy<of_task> {
  explicit function_base(hook const* h) : inside(h) {}
  hook const* inside;
  void run() const {
    user_code::call("task");
    if (*inside) (*inside)();
  }
};

struct scheduler : touchy<of_scheduler> {
  explicit scheduler(std::deque<std::function<void()>>* q) : to(q) {}
  std::deque<std::function<void()>>* to;
  template <class F>
  void operator()(F f) const {
    user_code::call("scheduler");
    to->push_back(std::move(f));
  }
};

struct callback : touchy<of_callback> {
  explicit callback(outcome* o) : of(o) {}
  outcome* of;
  void operator()(std::exception_ptr error, shared_result const& got) const {
    of->complete(got, std::move(error));
    user_code::call("callback");
  }
};

struct by_callback : front_base<by_callback> {
  static constexpr char const* name = "callback, via";
  static constexpr std::array own_sites{"scheduler", "copy of a scheduler", "move of a scheduler", "callback",
                                        "move of a callback"};
  struct function : function_base {
    using function_base::function_base;
    void operator()(cf::completion<result> done) const {
      run();
      (void)done.set_value(result());
    }
  };
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    flights.start(key(id), opts, cf::answering<result>(function(&h)),
                  cf::via(scheduler(&ready), callback(&o)));
  }
};

struct by_executor : front_base<by_executor> {
  static constexpr char const* name = "callback, on";
  static constexpr std::array own_sites{"executor", "move of an executor", "callback", "move of a callback"};
  struct function : function_base {
    using function_base::function_base;
    result operator()() const {
      run();
      return {};
    }
  };
  struct submit : touchy<of_submit> {
    void operator()(cf::work const& w) const {
      user_code::call("executor");
      w();
    }
  };
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    flights.start(key(id), opts, cf::on(submit(), function(&h)), callback(&o));
  }
};

struct by_coroutine : front_base<by_coroutine> {
  static constexpr char const* name = "coroutine, resume_on";
  static constexpr std::array own_sites{"scheduler", "copy of a scheduler", "move of a scheduler",
                                        "move of an argument"};
  struct function : function_base {
    using function_base::function_base;
    lazy<result> operator()(argument) const {
      run();
      return answer();
    }
    static lazy<result> answer() { co_return result(); }
  };
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    auto operation = flights.run(key(id), opts, function(&h), argument());
    wait(o, std::move(operation).resume_on(scheduler(&ready)));
  }
  template <class Operation>
  static eager wait(outcome& o, Operation operation) {
    shared_result got;
    std::exception_ptr error;
    try {
      got = co_await std::move(operation);
    } catch (...) {
      error = std::current_exception();
    }
    o.complete(got, std::move(error));
  }
};

struct by_sender : front_base<by_sender> {
  static constexpr char const* name = "sender";
  static constexpr std::array own_sites{"connect", "move of an argument"};
  template <class Receiver>
  struct state {
    using operation_state_concept = cf::execution::operation_state_t;
    Receiver receiver;
    void start() & noexcept { std::move(receiver).set_value(result()); }
  };
  struct sends {
    using sender_concept = cf::execution::sender_t;
    using completion_signatures = cf::execution::completion_signatures<cf::execution::set_value_t(result)>;
    template <class Receiver>
    state<Receiver> connect(Receiver receiver) && {
      user_code::call("connect");
      return {std::move(receiver)};
    }
  };
  struct function : function_base {
    using function_base::function_base;
    sends operator()(argument) const {
      run();
      return {};
    }
  };
  struct receiver {
    using receiver_concept = cf::execution::receiver_t;
    outcome* of;
    void set_value(shared_result got) && noexcept { of->complete(got, nullptr); }
    void set_error(std::exception_ptr error) && noexcept { of->complete(nullptr, std::move(error)); }
    void set_stopped() && noexcept { of->other = true; }
  };
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    auto const connect = [&] {
      return flights.run(key(id), opts, function(&h), argument()).connect(receiver{&o});
    };
    operations.keep(connect).start();
  }
  cacheflight_test::kept_operations operations;
};

template <bool On>
struct by_thread : front_base<by_thread<On>> {
  static constexpr char const* name = On ? "thread, on" : "thread";
  static constexpr std::array own_sites{"move of an argument", On ? "executor" : "task"};
  struct function : function_base {
    using function_base::function_base;
    result operator()(argument) const {
      run();
      return {};
    }
  };
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    if (!up.insert(id).second) return elsewhere(flights, o, id, opts, h);
    call(flights, o, id, opts, h);
    up.erase(id);
  }
  void pump() {
    for (std::thread& each : threads) each.join();
    threads.clear();
  }

 private:
  static void call(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    shared_result got;
    std::exception_ptr error;
    try {
      if constexpr (On)
        got = flights.run(key(id), opts, cf::on(by_executor::submit(), function(&h)), argument());
      else got = flights.run(key(id), opts, function(&h), argument());
    } catch (...) {
      error = std::current_exception();
    }
    o.complete(got, std::move(error));
  }
  /// A joiner: goes on when the leader, whose stack this is called on, has settled.
  void elsewhere(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    waits = false;
    threads.emplace_back([&flights, &o, id, &opts, &h, &waits = waits] {
      auto const tell = [&waits] {
        waits = true;
        waits.notify_all();
      };
      manual_platform::before_arm() = tell;
      call(flights, o, id, opts, h);
      tell();
    });
    waits.wait(false);
  }

  std::set<int> up;  // keys whose leader is on the test's thread
  std::atomic<bool> waits = false;
  std::vector<std::thread> threads;
};

struct ask {
  char const* site;
  void operator()() const { user_code::call(site); }
};
using picky = cacheflight_test::asking<net::io_context::executor_type, ask>;

/// Callers and tasks on executors that may throw. They are named, because a strand on an `any_io_executor`
/// that throws is a known limit.
struct asio_base {
  static constexpr std::array own_sites{"executor of a caller", "executor of a task", "move of an argument",
                                        "callback"};
  template <class T>
  using awaitable = net::awaitable<T, picky>;
  struct function : function_base {
    using function_base::function_base;
    awaitable<result> operator()(argument) const {
      run();
      return answer();
    }
    static awaitable<result> answer() { co_return result(); }
  };
  [[nodiscard]] picky executor(char const* site) { return {io.get_executor(), {site}}; }

  /// What a handler throws, and an executor when a coroutine that is through posts its end, leaves the
  /// context's `run`.
  void pump() {
    for (;;) {
      try {
        io.restart();
        io.poll();
        return;
      } catch (thrown_here const&) {  // it goes on
      }
    }
  }
  net::io_context io;
};

struct by_asio_handler : asio_base {
  static constexpr char const* name = "asio handler";
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    auto const handler = [&o](std::exception_ptr error, shared_result const& got) {
      o.complete(got, std::move(error));
      user_code::call("callback");
    };
    auto task = cf::on(executor("executor of a task"), std::bind_front(function(&h), argument()));
    cf::async_run(flights, executor("executor of a caller"), key(id), opts, std::move(task), handler);
    pump();
  }
};

struct by_asio_coroutine : asio_base {
  static constexpr char const* name = "asio coroutine";
  void run(touchy_group& flights, outcome& o, int id, cf::run_options const& opts, hook const& h) {
    net::co_spawn(executor("executor of a caller"), wait(flights, o, id, opts, h),
                  [](std::exception_ptr) { user_code::call("callback"); });
    pump();
  }

 private:
  awaitable<void> wait(touchy_group& flights, outcome& o, int id, cf::run_options const& opts,
                       hook const& h) {
    shared_result got;
    std::exception_ptr error;
    try {
      auto operation =
          flights.run(key(id), opts, cf::on(executor("executor of a task"), function(&h)), argument());
      got = co_await std::move(operation);
    } catch (...) {
      error = std::current_exception();
    }
    o.complete(got, std::move(error));
  }
};

/// What may be thrown where, and with what effect.
bool harmless(std::string const& site) {
  return site == "event" || site == "callback" || site == "scheduler" || site == "copy of a scheduler" ||
         site == "executor of a caller";
}

template <class Front>
class throws : public testing::Test {
 public:
  /// One leader whose task, if `joined`, has another call join it. Returns whether the n-th call threw.
  bool run_once(long nth, bool joined) {
    user_code::nth = nth;
    user_code::seen = 0;
    user_code::threw_at.clear();
    user_code::sites.clear();
    unreachable = false;
    Front front;
    outcome bystander, leader, joiner, later;
    hook const none, joins = [&] { start(front, joiner, 1, none); };
    {
      std::optional<touchy_group> flights;
      flights.emplace(cf::options().on_event([this](cf::event const& e) {
        ++events[e.type];
        user_code::call("event");
      }));
      in = &*flights;
      events.clear();
      auto& core = cd::access::core(*flights);
      hook const armed = [&] {
        // The bystander's task is under way: others call now.
        user_code::armed = true;
        start(front, leader, 1, joined ? joins : none);
        front.pump();
        user_code::armed = false;
      };
      start(front, bystander, 2, armed);
      for (int i = 0; i < 3; ++i) {
        front.pump();
        cacheflight_test::manual_clock::advance(1ms);
        (void)cacheflight_test::run_threads(core);
      }
      front.pump();
      std::string const& at = user_code::threw_at;
      SCOPED_TRACE(at.empty() ? "nothing threw" : at);
      EXPECT_TRUE(bystander.value && bystander.completions == 1);
      check(leader, at);
      if (joiner.started) check(joiner, at);
      auto const s = flights->stats();
      EXPECT_EQ(s.in_flight + s.waiters + s.detached, 0u);
      EXPECT_EQ(s.misses, s.started);
      EXPECT_EQ(s.started, s.resolved + s.rejected);
      EXPECT_EQ(s.callback_failures, at == "event" || (at == "callback" && counted) || unreachable ? 1u : 0u);
      EXPECT_EQ(events[cf::event_type::miss], s.misses);
      EXPECT_EQ(events[cf::event_type::hit], s.hits);
      EXPECT_EQ(events[cf::event_type::task_started], s.started);
      EXPECT_EQ(events[cf::event_type::task_resolved], s.resolved);
      EXPECT_EQ(events[cf::event_type::task_rejected], s.rejected);
      start(front, later, 1, none);
      front.pump();
      front.pump();
      EXPECT_TRUE(later.value && later.completions == 1);
      in = nullptr;
    }
    front.pump();
    return !user_code::threw_at.empty();
  }

 private:
  static constexpr bool counted =
      !std::is_base_of_v<asio_base, Front>;  // Asio's handlers are no callbacks of ours

  void start(Front& front, outcome& o, int id, hook const& h) {
    o.started = true;
    try {
      front.run(*in, o, id, opts, h);
    } catch (thrown_here const&) {
      o.at_once = true;
    }
  }
  void check(outcome const& o, std::string const& at) {
    EXPECT_FALSE(o.other);
    if (o.at_once) {
      EXPECT_EQ(o.completions, 0);
      return;
    }
    if (o.completions == 0 && (at == "move of a callback" || at == "move of a scheduler")) {
      unreachable = true;  // a callback that cannot be moved out of the call cannot be called
      return;
    }
    EXPECT_EQ(o.completions, 1);
    EXPECT_NE(o.value, o.threw);
    if (at.empty() || harmless(at)) {
      EXPECT_TRUE(o.value);
    }
  }

  cf::run_options const opts = cf::run_options().metadata(std::make_any<metadata>());
  touchy_group* in = nullptr;
  bool unreachable = false;
  std::map<cf::event_type, std::uint64_t> events;
};

using fronts = testing::Types<by_callback, by_executor, by_coroutine, by_sender, by_thread<false>,
                              by_thread<true>, by_asio_handler, by_asio_coroutine>;
TYPED_TEST_SUITE(throws, fronts, front_names);

TYPED_TEST(throws, each_call_into_user_code_once) {
  std::set<std::string> threw;
  for (bool const joined : {false, true}) {
    std::set<std::string> here;
    long points = 0;
    for (long nth = 1;; ++nth) {
      SCOPED_TRACE(std::string(TypeParam::name) + (joined ? ", join" : ", miss") + ", call " +
                   std::to_string(nth));
      if (!this->run_once(nth, joined)) break;
      ++points;
      here.insert(user_code::threw_at);
      if (this->HasFailure()) return;
    }
    std::printf("  %-22s %-6s %3ld calls threw, at %zu places:", TypeParam::name, joined ? "join" : "miss",
                points, here.size());
    for (auto const& each : here) std::printf(" %s;", each.c_str());
    std::printf("\n");
    EXPECT_EQ(here.contains("equality"), joined);
    EXPECT_EQ(user_code::sites["copy of metadata"], joined ? 2 : 1) << "each caller's own, when it calls";
    EXPECT_FALSE(here.contains("copy of a task"));
    threw.merge(here);
  }
  for (char const* each :
       {"hash", "move of a key", "task", "move of a task", "move of a result", "event", "copy of metadata"})
    EXPECT_TRUE(threw.contains(each)) << "vacuous: " << each;
  for (char const* each : TypeParam::own_sites) EXPECT_TRUE(threw.contains(each)) << "vacuous: " << each;
}

}  // namespace
}  // namespace faults
