// SPDX-License-Identifier: MIT
#pragma once

// The fronts that need only the standard library: coroutines, callbacks, senders. They end a wait on the
// thread that ended it; here that thread puts the caller into a queue that the test pumps, through the
// scheduler that each front lets its callers name. (A sender's receiver has none; there the test's receiver
// queues itself.) What happens without a scheduler is in the fronts' own tests.

#include "../support/coroutines.hpp"
#include "../support/senders.hpp"
#include "front.hpp"
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/sender.hpp>

#include <deque>

namespace cacheflight_test {

/// What a task does when it is stopped.
struct on_task_stop {
  task_state* task;
  void operator()() const {
    expect_unlocked("a stop request");
    task->stop_requested = true;
    if (task->obeys && task->open_gate) {
      task->error = std::make_exception_ptr(stopped_as_asked());
      task->open_gate(false);
    }
  }
};

struct std_call final : call {
  std::stop_source stop;
};

struct std_front_base : front_traits {
  using group_type = manual_group;

  void leave(call& c) { static_cast<std_call&>(c).stop.request_stop(); }
  bool vanish(call&) { return false; }
  void pump() {
    while (!ready->empty()) {
      auto const next = std::move(ready->front());
      ready->pop_front();
      next();
    }
  }

  std::shared_ptr<std::deque<std::function<void()>>> ready =
      std::make_shared<std::deque<std::function<void()>>>();
  std::vector<std::unique_ptr<std_call>> calls;

 protected:
  auto scheduler() {
    return [queue = ready](auto f) {
      expect_unlocked("a scheduler");
      queue->push_back(std::move(f));
    };
  }
  std_call& make_call(cacheflight::run_options& opts) {
    std_call& c = *calls.emplace_back(std::make_unique<std_call>());
    opts.stop_token(c.stop.get_token());
    return c;
  }
  static void note(call& c, std::shared_ptr<answer const> value, std::exception_ptr error) {
    c.error = error;
    c.left = c.failed_with<cacheflight::caller_stopped_error>();
    c.complete(std::move(value), c.left ? nullptr : error);
  }
  template <class Answer>
  static auto as_answer(std::shared_ptr<Answer const> const& got) {
    if constexpr (std::is_same_v<Answer, answer>) return got;
    else return std::shared_ptr<answer const>();
  }
};

// ---- any coroutine ----------------------------------------------------------------------------------------

/// Waits until the test opens the gate, or destroys the coroutine that waits for this one.
struct coroutine_gate {
  task_state* task;
  bool await_ready() noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) {
    task->open_gate = [t = task, h](bool drop) {
      t->open_gate = nullptr;
      if (drop) h.promise().continuation.destroy();
      else h.resume();
    };
  }
  void await_resume() noexcept {}
};

template <class Answer>
lazy<Answer> lazy_task(std::stop_token token, task_ptr task, sentinel) {
  std::stop_callback<on_task_stop> const on_stop(std::move(token), on_task_stop{task.get()});
  ++task->invoked;
  if (task->when_invoked) task->when_invoked();
  if (task->inline_error) std::rethrow_exception(task->inline_error);
  if (task->inline_value) co_return Answer(*task->inline_value);
  co_await coroutine_gate{task.get()};
  if (task->error) std::rethrow_exception(task->error);
  co_return Answer(*task->value);
}

struct coroutine_front : std_front_base {
  static constexpr char const* name = "coroutine";

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<answer>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<double>(flights, std::move(key), std::move(opts), std::move(task));
  }

  call& drain(group_type& flights, std::chrono::nanoseconds limit) {
    std_call& c = *calls.emplace_back(std::make_unique<std_call>());
    wait_until_drained(c, flights, limit, scheduler());
    return c;
  }

 private:
  template <class Scheduler>
  static eager wait_until_drained(call& c, group_type& flights, std::chrono::nanoseconds limit,
                                  Scheduler scheduler) {
    bool quiet = false;
    if (limit == for_ever)
      quiet = co_await cacheflight::when_drained(flights).resume_on(std::move(scheduler));
    else quiet = co_await cacheflight::when_drained(flights, limit).resume_on(std::move(scheduler));
    c.complete(std::make_shared<answer const>(quiet ? 1 : 0), nullptr);
  }
  template <class Answer>
  call& start(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    std_call& c = make_call(opts);
    wait<Answer>(c, flights, std::move(key), std::move(opts), std::move(task), scheduler());
    return c;
  }
  template <class Answer, class Scheduler>
  static eager wait(call& c, group_type& flights, std::string key, cacheflight::run_options opts,
                    task_ptr task, Scheduler scheduler) {
    std::shared_ptr<answer const> value;
    std::exception_ptr error;
    try {
      auto operation = flights.run(std::move(key), std::move(opts), lazy_task<Answer>, task, sentinel(task))
                           .resume_on(std::move(scheduler));
      value = as_answer<Answer>(co_await std::move(operation));
    } catch (...) {
      error = std::current_exception();
    }
    note(c, std::move(value), std::move(error));
  }
};

// ---- callbacks --------------------------------------------------------------------------------------------

template <class Answer>
void answering_task(cacheflight::completion<Answer> done, task_ptr task, sentinel own) {
  struct waiting {
    cacheflight::completion<Answer> done;
    sentinel own;
    std::optional<std::stop_callback<on_task_stop>> on_stop;
    waiting(cacheflight::completion<Answer> d, sentinel s) : done(std::move(d)), own(std::move(s)) {}
  };
  ++task->invoked;
  if (task->when_invoked) task->when_invoked();
  if (task->inline_error) std::rethrow_exception(task->inline_error);
  if (task->inline_value) {
    {
      sentinel const gone(std::move(own));
    }
    EXPECT_TRUE(done.set_value(*task->inline_value));
    EXPECT_FALSE(done.set_value(*task->inline_value)) << "answered twice";
    return;
  }
  auto const held = std::make_shared<std::optional<waiting>>(std::in_place, std::move(done), std::move(own));
  task->open_gate = [t = task.get(), held](bool drop) {
    auto const keep = std::exchange(t->open_gate, nullptr);
    auto const mine = held;
    auto answer_with = std::move((*mine)->done);
    auto const token = answer_with.stop_token();
    if (!token.stop_requested()) (*mine)->on_stop.reset();
    {
      sentinel const gone(std::move((*mine)->own));
    }
    if (drop) return;
    if (t->error) (void)answer_with.set_exception(t->error);
    else (void)answer_with.set_value(*t->value);
  };
  (*held)->on_stop.emplace((*held)->done.stop_token(), on_task_stop{task.get()});
}

struct callback_front : std_front_base {
  static constexpr char const* name = "callback";

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<answer>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<double>(flights, std::move(key), std::move(opts), std::move(task));
  }

  call& drain(group_type& flights, std::chrono::nanoseconds limit) {
    std_call& c = *calls.emplace_back(std::make_unique<std_call>());
    auto callback = cacheflight::via(scheduler(), [&c](bool quiet) {
      c.complete(std::make_shared<answer const>(quiet ? 1 : 0), nullptr);
    });
    if (limit == for_ever) cacheflight::when_drained(flights, std::move(callback));
    else cacheflight::when_drained(flights, limit, std::move(callback));
    return c;
  }

 private:
  template <class Answer>
  call& start(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    std_call& c = make_call(opts);
    auto work = [task, own = std::make_shared<std::optional<sentinel>>(std::in_place, task)](
                    cacheflight::completion<Answer> done) {
      answering_task<Answer>(std::move(done), task, std::move(**own));
    };
    auto const callback = [&c](std::exception_ptr error, std::shared_ptr<Answer const> got) {
      note(c, as_answer<Answer>(got), std::move(error));
    };
    flights.start(std::move(key), std::move(opts), cacheflight::answering<Answer>(std::move(work)),
                  cacheflight::via(scheduler(), callback));
    return c;
  }
};

// ---- senders ----------------------------------------------------------------------------------------------

namespace ex = cacheflight::execution;

template <class Answer>
struct gate_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_error_t(std::exception_ptr),
                                                          ex::set_value_t(Answer), ex::set_stopped_t()>;

  template <class Receiver>
  struct state {
    using operation_state_concept = ex::operation_state_t;
    using token = decltype(std::declval<Receiver const&>().get_env().query(ex::get_stop_token_t{}));

    state(task_ptr t, sentinel s, Receiver r)
        : task(std::move(t)), own(std::in_place, std::move(s)), receiver(std::move(r)) {}
    state(state&&) = delete;

    void start() & noexcept {
      ++task->invoked;
      if (task->when_invoked) task->when_invoked();
      if (task->inline_error) {
        own.reset();
        return std::move(receiver).set_error(task->inline_error);
      }
      if (task->inline_value) {
        own.reset();
        return std::move(receiver).set_value(Answer(*task->inline_value));
      }
      task->open_gate = [this](bool drop) {
        task_ptr const t = task;
        auto const keep = std::exchange(t->open_gate, nullptr);
        if (!receiver.get_env().query(ex::get_stop_token_t{}).stop_requested()) on_stop.reset();
        own.reset();
        if (drop) std::move(receiver).set_stopped();
        else if (t->error) std::move(receiver).set_error(t->error);
        else std::move(receiver).set_value(Answer(*t->value));
      };
      on_stop.emplace(receiver.get_env().query(ex::get_stop_token_t{}), on_task_stop{task.get()});
    }

    task_ptr task;
    std::optional<sentinel> own;
    Receiver receiver;
    std::optional<std::stop_callback<on_task_stop>> on_stop;
  };

  gate_sender(task_ptr t, sentinel s) : task(std::move(t)), own(std::move(s)) {}

  template <class Receiver>
  state<Receiver> connect(Receiver receiver) && {
    return state<Receiver>(std::move(task), std::move(own), std::move(receiver));
  }

  task_ptr task;
  sentinel own;
};

template <class Answer>
gate_sender<Answer> sending_task(task_ptr task, sentinel own) {
  return gate_sender<Answer>(std::move(task), std::move(own));
}

struct sender_front : std_front_base {
  static constexpr char const* name = "sender";
  static constexpr bool can_drain = false;
  static constexpr char const* cannot_drain = "senders have no drain of their own";

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<answer>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<double>(flights, std::move(key), std::move(opts), std::move(task));
  }

  call& drain(group_type&, std::chrono::nanoseconds) { return *calls.front(); }

 private:
  template <class Answer>
  struct receiver {
    using receiver_concept = ex::receiver_t;
    std_call* c;
    std::shared_ptr<std::deque<std::function<void()>>> queue;

    void set_value(std::shared_ptr<Answer const> v) && noexcept {
      queue->push_back([c = c, v] { c->complete(as_answer<Answer>(v), nullptr); });
    }
    void set_error(std::exception_ptr e) && noexcept {
      queue->push_back([c = c, e] { c->complete(nullptr, e); });
    }
    void set_stopped() && noexcept {
      queue->push_back([c = c] {
        c->left = true;
        c->complete(nullptr, nullptr);
      });
    }
    stop_environment get_env() const noexcept { return {c->stop.get_token()}; }
  };
  template <class Answer>
  call& start(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    std_call& c = *calls.emplace_back(std::make_unique<std_call>());
    auto const connect = [&] {
      return flights.run(std::move(key), std::move(opts), sending_task<Answer>, task, sentinel(task))
          .connect(receiver<Answer>{&c, ready});
    };
    operations.keep(connect).start();
    return c;
  }

  kept_operations operations;
};

}  // namespace cacheflight_test
