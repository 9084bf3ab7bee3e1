// SPDX-License-Identifier: MIT
#pragma once

// The Asio front: coroutines and handlers, plain and on a strand, tasks where the leader is and on a context
// of their own.

#include "stage.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace faults {

namespace net = boost::asio;

/// Keeps a completion handler without allocating.
class kept_handler {
 public:
  kept_handler() = default;
  kept_handler(kept_handler const&) = delete;
  ~kept_handler() { drop(); }

  template <class Handler>
  void keep(Handler handler) noexcept {
    static_assert(sizeof(Handler) <= sizeof(storage_));
    ::new (static_cast<void*>(storage_)) Handler(std::move(handler));
    go_ = [](void* at, bool call) {
      pause const own;  // an operation of Asio's has allocated what it completes with when it began
      auto* const source = static_cast<Handler*>(at);
      Handler taken(std::move(*source));
      source->~Handler();
      if (call) {
        auto const executor = net::get_associated_executor(taken);
        net::post(executor, std::move(taken));
      }
    };
  }
  void call() {
    if (go_) std::exchange(go_, nullptr)(storage_, true);
  }
  void drop() {
    if (go_) std::exchange(go_, nullptr)(storage_, false);
  }
  [[nodiscard]] explicit operator bool() const noexcept { return go_ != nullptr; }

 private:
  void (*go_)(void*, bool) = nullptr;
  alignas(std::max_align_t) std::byte storage_[128];
};

/// An operation that completes when the task is told to; it sees that it is cancelled, and does not mind.
struct wait_at_gate {
  task* of;
  kept_handler* in;

  template <class Handler>
  void operator()(Handler handler) const {
    pause const own;
    auto slot = net::get_associated_cancellation_slot(handler);
    in->keep(std::move(handler));
    of->at = in;
    of->open = [](task& t, told what) {
      auto& waiting = *static_cast<kept_handler*>(t.at);
      t.at_once = what;
      if (what == told::drop) waiting.drop();
      else waiting.call();
    };
    if (slot.is_connected()) slot.assign([t = of](net::cancellation_type) { t->asked_to_stop = true; });
  }
};

/// Ends with its context, or when the stage closes. From here on the test's own coroutine is on its own.
struct wait_for_the_end {
  kept_handler* in;
  template <class Handler>
  void operator()(Handler handler) const {
    in->keep(std::move(handler));
    --injection::paused;
  }
};

inline net::awaitable<answer> asio_task(task* t, kept_handler* gate) {
  (void)co_await net::this_coro::throw_if_cancelled(false);
  ++t->invoked;
  if (t->at_once == told::wait || t->at_once == told::drop) {
    wait_at_gate const operation{t, gate};
    co_await net::async_initiate<net::use_awaitable_t<> const, void()>(operation, net::use_awaitable);
  }
  co_return t->now();
}

struct caller_of {
  net::any_io_executor executor;
  net::cancellation_signal* cancel = nullptr;
  kept_handler gate, end;
};

struct asio_base {
  static constexpr bool watches_stop = true;
  static constexpr bool can_drop = true;
  static constexpr std::size_t size = 16;

  /// A signal is emitted where its coroutine runs. How to get there is not what is tested here.
  void leave(slot& c) {
    pause const own;
    auto* const mine = static_cast<caller_of*>(c.at);
    net::post(mine->executor, [&c, mine] {
      int const outer = std::exchange(injection::paused, 0);
      try {
        mine->cancel->emit(net::cancellation_type::terminal);
      } catch (std::bad_alloc const&) {
        c.unable_to_leave = true;
      }
      injection::paused = outer;
    });
    pump();
  }
  /// At the end of a coroutine Asio lets what a failed allocation throws out of `run`: counted.
  void pump() {
    for (net::io_context* each : {&io, &other_io, &io})
      for (;;) {
        try {
          each->restart();
          each->poll();
          break;
        } catch (std::bad_alloc const&) {
          ++out_of_run;
        }
      }
  }
  void close() {
    for (caller_of& each : callers) each.end.call();
    for (caller_of& each : callers) each.gate.drop();
    pump();
    for (net::cancellation_signal& each : signals)
      each.slot().clear();  // what co_spawn left there has an executor
  }
  void forget(std::span<slot>) {}
  static void note(slot& c, std::shared_ptr<answer const> const& value, std::exception_ptr error) {
    pause const own;
    try {
      if (error) std::rethrow_exception(error);
    } catch (cf::caller_cancelled_error const&) {
      c.left = true;
    } catch (...) {  // the slot has it
    }
    c.complete(value, std::move(error));
  }

  std::array<net::cancellation_signal, size> signals;  // outlive what runs in the contexts
  net::io_context io, other_io;
  static inline long out_of_run = 0;  // times that a failed allocation left `run`
  std::array<caller_of, size> callers;
  std::size_t next = 0;

 protected:
  caller_of& next_caller(slot& c, net::any_io_executor executor) {
    caller_of& mine = callers.at(next);
    mine.cancel = &signals.at(next++);
    mine.executor = std::move(executor);
    c.at = &mine;
    return mine;
  }
};

/// Where things run: `io` itself, or a strand of it.
template <bool Strand>
[[nodiscard]] net::any_io_executor executor_on(net::io_context& io) {
  if constexpr (Strand) return net::make_strand(io);
  else return io.get_executor();
}

template <bool Strand>
struct asio_coroutine : asio_base {
  static constexpr char const* name = Strand ? "asio coroutine, strand" : "asio coroutine";

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    int const outer = std::exchange(injection::paused, 1);  // until the coroutine begins
    caller_of& mine = next_caller(c, executor_on<Strand>(io));
    net::co_spawn(mine.executor, caller(mine, c, flights, key, watched_by(c, opts), &t),
                  net::bind_cancellation_slot(mine.cancel->slot(), net::detached));
    pump();
    injection::paused = outer;
  }

 private:
  static net::awaitable<void> caller(caller_of& mine, slot& c, manual_group& flights, std::string_view key,
                                     cf::run_options opts, task* t) {
    std::shared_ptr<answer const> value;
    std::exception_ptr error;
    injection::paused = 0;
    try {
      value = co_await flights.run(key, opts, asio_task, t, &mine.gate);
    } catch (...) {
      error = std::current_exception();
    }
    note(c, value, error);
    ++injection::paused;
    (void)co_await net::this_coro::throw_if_cancelled(false);
    wait_for_the_end const operation{&mine.end};
    co_await net::async_initiate<net::use_awaitable_t<> const, void()>(operation, net::use_awaitable);
  }
};

enum class task_on { leader, other };

template <bool Strand, task_on Task>
struct asio_handler : asio_base {
  static constexpr char const* name = Strand                   ? "asio handler, strand"
                                      : Task == task_on::other ? "asio handler, task elsewhere"
                                                               : "asio handler";

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    auto const watched = watched_by(c, opts);
    ++injection::paused;
    caller_of& mine = next_caller(c, executor_on<Strand>(io));
    auto const task_executor = executor_on<false>(Task == task_on::other ? other_io : io);
    --injection::paused;
    auto const handler = [&c](std::exception_ptr error, std::shared_ptr<answer const> got) {
      note(c, got, std::move(error));
    };
    auto const function = std::bind_front(asio_task, &t, &mine.gate);
    auto token = net::bind_cancellation_slot(mine.cancel->slot(), handler);
    if constexpr (Task == task_on::other)
      cf::async_run(flights, mine.executor, key, watched, cf::on(task_executor, function), std::move(token));
    else cf::async_run(flights, mine.executor, key, watched, function, std::move(token));
  }
};

}  // namespace faults
