// SPDX-License-Identifier: MIT
#pragma once

#include "front.hpp"
#include <cacheflight/asio.hpp>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace cacheflight_test {

namespace net = boost::asio;

/// Runs what is ready.
inline void poll(net::io_context& io) {
  io.restart();
  io.poll();
}

/// An asynchronous operation in the test's hands: completes, is cancelled, or loses its handler when
/// `task_state::open_gate` is called.
struct wait_at_gate {
  task_state* task;

  template <class Handler>
  void operator()(Handler handler) const {
    auto held = std::make_shared<std::optional<Handler>>(std::move(handler));
    task_state* const t = task;
    t->open_gate = [t, held](bool drop) {
      auto const keep = held;
      t->open_gate = nullptr;
      Handler mine(std::move(**keep));
      keep->reset();
      if (drop) return;  // destroyed without an answer
      auto const ex = net::get_associated_executor(mine);
      net::post(ex, std::move(mine));
    };
    if (auto slot = net::get_associated_cancellation_slot(**held); slot.is_connected())
      slot.assign([t](net::cancellation_type) {
        expect_unlocked("a stop request");
        t->stop_requested = true;
        if (t->obeys) t->open_gate(false);
      });
  }
};

template <class Answer>
net::awaitable<Answer> controlled_task(task_ptr task, sentinel) {
  (void)co_await net::this_coro::throw_if_cancelled(false);
  ++task->invoked;
  if (task->when_invoked) task->when_invoked();
  if (task->inline_error) std::rethrow_exception(task->inline_error);
  if (task->inline_value) co_return Answer(*task->inline_value);
  co_await net::async_initiate<net::use_awaitable_t<> const, void()>(wait_at_gate{task.get()},
                                                                     net::use_awaitable);
  if (task->obeys && task->stop_requested) throw stopped_as_asked();
  if (task->error) std::rethrow_exception(task->error);
  co_return Answer(*task->value);
}

struct asio_call final : call {
  net::cancellation_signal cancel;
};

struct asio_front_base : front_traits {
  using group_type = manual_group;

  void leave(call& c) { static_cast<asio_call&>(c).cancel.emit(net::cancellation_type::terminal); }
  bool vanish(call&) { return false; }  // callers of Asio's end with their context; see asio_test.cpp
  void pump() { poll(io); }

  net::io_context io;
  std::vector<std::unique_ptr<asio_call>> calls;

 protected:
  static void note(call& c, std::shared_ptr<answer const> value, std::exception_ptr error) {
    c.error = error;
    c.left = c.failed_with<cacheflight::caller_cancelled_error>();
    c.complete(std::move(value), c.left ? nullptr : error);
  }
};

/// `co_await flights.run(...)`.
struct asio_coroutine_front : asio_front_base {
  static constexpr char const* name = "asio coroutine";

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return spawn<answer>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return spawn<double>(flights, std::move(key), std::move(opts), std::move(task));
  }

  call& drain(group_type& flights, std::chrono::nanoseconds limit) {
    asio_call& c = *calls.emplace_back(std::make_unique<asio_call>());
    net::co_spawn(io, drainer(c, flights, limit),
                  net::bind_cancellation_slot(c.cancel.slot(), net::detached));
    pump();
    return c;
  }

 private:
  static net::awaitable<void> drainer(call& c, group_type& flights, std::chrono::nanoseconds limit) {
    std::shared_ptr<answer const> value;
    std::exception_ptr error;
    try {
      auto const ex = co_await net::this_coro::executor;
      bool quiet = false;
      if (limit == for_ever) quiet = co_await cacheflight::async_drain(flights, ex, net::use_awaitable);
      else quiet = co_await cacheflight::async_drain(flights, ex, limit, net::use_awaitable);
      value = std::make_shared<answer const>(quiet ? 1 : 0);
    } catch (...) {
      error = std::current_exception();
    }
    note(c, std::move(value), std::move(error));
  }

  template <class Answer>
  static net::awaitable<void> caller(call& c, group_type& flights, std::string key,
                                     cacheflight::run_options opts, task_ptr task) {
    std::shared_ptr<answer const> value;
    std::exception_ptr error;
    try {
      auto const got = co_await flights.run(std::move(key), std::move(opts), controlled_task<Answer>, task,
                                            sentinel(task));
      if constexpr (std::is_same_v<Answer, answer>) value = got;
    } catch (...) {
      error = std::current_exception();
    }
    note(c, std::move(value), std::move(error));
  }

  template <class Answer>
  call& spawn(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    asio_call& c = *calls.emplace_back(std::make_unique<asio_call>());
    net::co_spawn(io, caller<Answer>(c, flights, std::move(key), std::move(opts), std::move(task)),
                  net::bind_cancellation_slot(c.cancel.slot(), net::detached));
    pump();
    return c;
  }
};

/// `async_run(..., callback)`.
struct asio_handler_front : asio_front_base {
  static constexpr char const* name = "asio handler";

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<answer>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<double>(flights, std::move(key), std::move(opts), std::move(task));
  }

  call& drain(group_type& flights, std::chrono::nanoseconds limit) {
    asio_call& c = *calls.emplace_back(std::make_unique<asio_call>());
    auto handler = net::bind_cancellation_slot(c.cancel.slot(), [&c](std::exception_ptr error, bool quiet) {
      note(c, error ? nullptr : std::make_shared<answer const>(quiet ? 1 : 0), error);
    });
    if (limit == for_ever) cacheflight::async_drain(flights, io, std::move(handler));
    else cacheflight::async_drain(flights, io, limit, std::move(handler));
    EXPECT_EQ(c.completions, 0) << "completed inside the initiating call";
    pump();
    return c;
  }

 private:
  template <class Answer>
  call& start(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    asio_call& c = *calls.emplace_back(std::make_unique<asio_call>());
    auto const handler = [&c](std::exception_ptr error, std::shared_ptr<Answer const> got) {
      std::shared_ptr<answer const> value;
      if constexpr (std::is_same_v<Answer, answer>) value = got;
      note(c, std::move(value), std::move(error));
    };
    cacheflight::async_run(flights, io.get_executor(), std::move(key), std::move(opts),
                           std::bind_front(controlled_task<Answer>, task, sentinel(task)),
                           net::bind_cancellation_slot(c.cancel.slot(), handler));
    EXPECT_EQ(c.completions, 0) << "completed inside the initiating call";
    pump();
    return c;
  }
};

}  // namespace cacheflight_test
