// SPDX-License-Identifier: MIT
#include "naive_asio.hpp"
#include "scenarios.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace bench {
namespace {

using namespace std::chrono_literals;
using net::awaitable;

constexpr std::size_t distinct = 4'096;

struct tally {
  std::size_t executions = 0;
  std::size_t sum = 0;
};

void no_failure(std::exception_ptr error) {
  if (error) std::rethrow_exception(error);
}

awaitable<int> at_once(std::size_t& executions) {
  ++executions;
  co_return 1;
}

// ---- miss: one coroutine that makes all the calls ----

awaitable<void> plain_calls(std::size_t calls, tally& t) {
  for (std::size_t i = 0; i < calls; ++i) t.sum += static_cast<std::size_t>(co_await at_once(t.executions));
}

/// `ex`: a function that returns the executor of each task.
template <class Where>
awaitable<void> spawning_calls(Where where, std::size_t calls, tally& t) {
  for (std::size_t i = 0; i < calls; ++i)
    t.sum +=
        static_cast<std::size_t>(co_await net::co_spawn(where(), at_once(t.executions), net::use_awaitable));
}

template <class Where>
awaitable<void> spawning_timed_calls(Where where, std::size_t calls, tally& t) {
  auto const ex = co_await net::this_coro::executor;
  auto const ignore = [](boost::system::error_code) {};
  for (std::size_t i = 0; i < calls; ++i) {
    net::steady_timer timer(ex, 5s);
    timer.async_wait(ignore);
    t.sum +=
        static_cast<std::size_t>(co_await net::co_spawn(where(), at_once(t.executions), net::use_awaitable));
    timer.cancel();
  }
}

awaitable<void> our_calls(cacheflight::group& flights, bool timed, std::size_t calls, tally& t) {
  auto const& names = keys(distinct);
  std::shared_ptr<int const> value;
  for (std::size_t i = 0; i < calls; ++i) {
    std::string const& key = names[i % distinct];
    if (timed)
      value =
          co_await flights.run(key, cacheflight::run_options().timeout(5s), at_once, std::ref(t.executions));
    else value = co_await flights.run(key, at_once, std::ref(t.executions));
    t.sum += static_cast<std::size_t>(*value);
  }
}

awaitable<void> naive_calls(naive_asio_group& flights, std::size_t calls, tally& t) {
  auto const& names = keys(distinct);
  auto const ex = co_await net::this_coro::executor;
  auto const task = [&t] { return at_once(t.executions); };
  for (std::size_t i = 0; i < calls; ++i) {
    std::shared_ptr<int const> const value = co_await flights.run(names[i % distinct], ex, task);
    t.sum += static_cast<std::size_t>(*value);
  }
}

/// `make(io, calls, tally)` returns the coroutine, which runs on `io`, or on a strand of it.
template <class Make>
void sequential(round& r, std::size_t calls, bool on_strand, Make&& make) {
  net::io_context io;
  net::any_io_executor const where =
      on_strand ? net::any_io_executor(net::make_strand(io)) : net::any_io_executor(io.get_executor());
  auto const pass = [&](std::size_t n, tally& t) {
    net::co_spawn(where, make(io, where, n, t), no_failure);
    io.run();
    io.restart();
  };
  tally warm, t;
  pass(distinct, warm);
  r.measure(calls, [&] { pass(calls, t); });
  r.check("sum of the results", t.sum, calls);
  r.executed(t.executions, calls);
}

// ---- join and in flight: `count` coroutines, spawned one by one, whose task completes when the gate opens

class gate {
 public:
  explicit gate(net::io_context& io) : timer_(io, net::steady_timer::time_point::max()) {}
  awaitable<void> wait() {
    boost::system::error_code ignored;
    if (!open_) co_await timer_.async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
  void open() {
    open_ = true;
    timer_.cancel();
  }

 private:
  net::steady_timer timer_;
  bool open_ = false;
};

awaitable<int> when_open(std::size_t& executions, gate& opens) {
  ++executions;
  co_await opens.wait();
  co_return 1;
}

awaitable<void> plain_caller(gate& opens, tally& t) {
  t.sum += static_cast<std::size_t>(co_await when_open(t.executions, opens));
}

awaitable<void> our_caller(cacheflight::group& flights, std::string const& key, gate& opens, tally& t) {
  std::shared_ptr<int const> const value =
      co_await flights.run(std::string_view(key), when_open, std::ref(t.executions), std::ref(opens));
  t.sum += static_cast<std::size_t>(*value);
}

awaitable<void> naive_caller(naive_asio_group& flights, std::string const& key, gate& opens, tally& t) {
  auto const ex = co_await net::this_coro::executor;
  auto const task = [&t, &opens] { return when_open(t.executions, opens); };
  std::shared_ptr<int const> const value = co_await flights.run(key, ex, task);
  t.sum += static_cast<std::size_t>(*value);
}

/// The floor of joining: a coroutine that suspends once, with its node in its frame, and is resumed by a
/// post.
class parking_lot {
 public:
  struct place {
    explicit place(net::any_io_executor ex) : executor(std::move(ex)) {}
    net::any_io_executor executor;
    place* next = nullptr;
    void (*go)(place&) = nullptr;
    alignas(std::max_align_t) std::byte handler[64];
  };

  auto wait(place& at) {
    return net::async_initiate<net::use_awaitable_t<> const, void()>(initiation{this}, net::use_awaitable,
                                                                     &at);
  }
  void release_all() {
    place* p = std::exchange(first_, nullptr);
    last_ = &first_;
    while (p) {
      place* const one = std::exchange(p, p->next);
      net::post(one->executor, [one] { one->go(*one); });
    }
  }

 private:
  struct initiation {
    parking_lot* lot;
    template <class Handler>
    void operator()(Handler&& handler, place* at) const {
      using stored = std::decay_t<Handler>;
      static_assert(sizeof(stored) <= sizeof(at->handler));
      ::new (static_cast<void*>(at->handler)) stored(std::forward<Handler>(handler));
      at->go = [](place& p) {
        auto* const source = std::launder(static_cast<stored*>(static_cast<void*>(p.handler)));
        stored taken(std::move(*source));
        source->~stored();
        std::move(taken)();
      };
      *lot->last_ = at;
      lot->last_ = &at->next;
    }
  };
  place* first_ = nullptr;
  place** last_ = &first_;
};

awaitable<void> floor_caller(parking_lot& lot, tally& t) {
  parking_lot::place mine(co_await net::this_coro::executor);
  co_await lot.wait(mine);
  ++t.sum;
}

void floor_join(round& r, std::size_t count) {
  net::io_context io;
  tally t;
  auto const all = [&] {
    parking_lot lot;
    for (std::size_t i = 0; i < count; ++i) net::co_spawn(io, floor_caller(lot, t), no_failure);
    net::post(io, [&] {
      r.at_peak();
      lot.release_all();
    });
    io.run();
    io.restart();
  };
  all();
  t = {};
  r.measure(count, all);
  r.check("answers", t.sum, count);
  r.executed(0);
}

/// `caller(i, gate, tally)` returns the i-th caller.
template <class Caller>
void together(round& r, std::size_t count, std::size_t executions, Caller&& caller) {
  net::io_context io;
  tally t;
  auto const all = [&] {
    gate opens(io);
    for (std::size_t i = 0; i < count; ++i) net::co_spawn(io, caller(i, opens, t), no_failure);
    net::post(io, [&] {
      r.at_peak();
      opens.open();
    });
    io.run();
    io.restart();
  };
  all();
  t = {};
  r.measure(count, all);
  r.check("answers", t.sum, count);
  r.executed(t.executions, executions);
}

}  // namespace

void add_asio(suite& all, sizes const& size) {
  std::size_t const calls = size.calls();
  using enum role;
  using executor = net::any_io_executor;
  std::string const plain = "floor: co_await of the task", us = "CacheFlight, Asio";
  std::string const on_new_strand = "floor: co_spawn on a new strand", on_same = "floor: co_spawn";
  std::string const naive = "naive: mutex, unordered_map, handlers";

  for (bool const strand : {false, true}) {
    std::string const group = strand ? "Asio miss, on a strand" : "Asio miss, on an io_context";
    std::string const bar = strand ? on_same : on_new_strand;
    all.add({group, plain, floor, plain}, [=](round& r) {
      sequential(r, calls, strand, [](net::io_context&, executor const&, std::size_t n, tally& t) {
        return plain_calls(n, t);
      });
    });
    all.add({group, on_same, floor, bar}, [=](round& r) {
      sequential(r, calls, strand, [](net::io_context&, executor const& ex, std::size_t n, tally& t) {
        return spawning_calls([ex] { return ex; }, n, t);
      });
    });
    if (!strand)
      all.add({group, on_new_strand, floor, bar}, [=](round& r) {
        sequential(r, calls, strand, [](net::io_context& io, executor const&, std::size_t n, tally& t) {
          return spawning_calls([&io] { return net::make_strand(io); }, n, t);
        });
      });
    all.add({group, us, ours, bar}, [=](round& r) {
      cacheflight::group flights;
      sequential(r, calls, strand, [&](net::io_context&, executor const&, std::size_t n, tally& t) {
        return our_calls(flights, false, n, t);
      });
    });
    all.add({group, naive, peer, bar}, [=](round& r) {
      naive_asio_group flights;
      sequential(r, calls, strand, [&](net::io_context&, executor const&, std::size_t n, tally& t) {
        return naive_calls(flights, n, t);
      });
    });
  }

  std::string group = "Asio miss, 5 s timeout armed";
  all.add({group, on_new_strand + ", no timeout", floor, on_new_strand + ", no timeout"}, [=](round& r) {
    sequential(r, calls, false, [](net::io_context& io, executor const&, std::size_t n, tally& t) {
      return spawning_calls([&io] { return net::make_strand(io); }, n, t);
    });
  });
  all.add({group, us, ours, on_new_strand + ", no timeout"}, [=](round& r) {
    cacheflight::group flights;
    sequential(r, calls, false, [&](net::io_context&, executor const&, std::size_t n, tally& t) {
      return our_calls(flights, true, n, t);
    });
  });
  all.add({group, "co_spawn on a new strand, and a steady_timer", peer, on_new_strand + ", no timeout"},
          [=](round& r) {
            sequential(r, calls, false, [](net::io_context& io, executor const&, std::size_t n, tally& t) {
              return spawning_timed_calls([&io] { return net::make_strand(io); }, n, t);
            });
          });

  std::string const suspends = "floor: suspended once, resumed by a post";
  for (std::size_t const count : {std::size_t{1'000}, std::size_t{100'000}}) {
    group = "Asio join, " + grouped(count) + " waiters";
    all.add({group, suspends, floor, suspends}, [=](round& r) { floor_join(r, count); });
    all.add({group, us, ours, suspends}, [=](round& r) {
      cacheflight::group flights;
      std::string const key = "user:42";
      together(r, count, 1,
               [&](std::size_t, gate& opens, tally& t) { return our_caller(flights, key, opens, t); });
    });
    all.add({group, naive, peer, suspends}, [=](round& r) {
      naive_asio_group flights;
      std::string const key = "user:42";
      together(r, count, 1,
               [&](std::size_t, gate& opens, tally& t) { return naive_caller(flights, key, opens, t); });
    });
  }

  std::size_t const count = 100'000;
  group = grouped(count) + " keys in flight, Asio";
  all.add({group, plain, floor, plain}, [=](round& r) {
    together(r, count, count, [](std::size_t, gate& opens, tally& t) { return plain_caller(opens, t); });
  });
  all.add({group, us, ours, plain}, [=](round& r) {
    cacheflight::group flights;
    auto const& names = keys(count);
    together(r, count, count,
             [&](std::size_t i, gate& opens, tally& t) { return our_caller(flights, names[i], opens, t); });
  });
  all.add({group, naive, peer, plain}, [=](round& r) {
    naive_asio_group flights;
    auto const& names = keys(count);
    together(r, count, count,
             [&](std::size_t i, gate& opens, tally& t) { return naive_caller(flights, names[i], opens, t); });
  });
}

}  // namespace bench
