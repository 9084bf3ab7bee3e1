// SPDX-License-Identifier: MIT
#pragma once

// The fronts that need only the standard library, with and without a scheduler, and the core by hand.

#include "../support/coroutines.hpp"
#include "../support/senders.hpp"
#include "stage.hpp"
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>
#include <cacheflight/future.hpp>
#include <cacheflight/sender.hpp>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace faults {

using cacheflight_test::eager;
using cacheflight_test::lazy;

/// An executor: what it is given waits until the test pumps. It refuses when its own memory is out.
class queue {
 public:
  template <class F>
  void push(F f) {
    work_.emplace_back(std::move(f));
  }
  void pump() noexcept {
    while (!work_.empty()) {
      std::function<void()> next;
      {
        pause const own;
        next = std::move(work_.front());
        work_.pop_front();
      }
      next();
    }
  }

 private:
  std::deque<std::function<void()>> work_;
};

struct front_base {
  static constexpr bool watches_stop = true;
  static constexpr bool can_drop = true;
  void leave(slot& c) { c.stop.request_stop(); }
  void pump() { ready.pump(); }
  void close() {}
  void forget(std::span<slot>) {}
  static void note(slot& c, std::shared_ptr<answer const> const& value, std::exception_ptr error) {
    pause const own;
    c.complete(value, std::move(error));
  }
  queue ready;
};

// ---- coroutines -------------------------------------------------------------------------------------------

struct coroutine_gate {
  task* of;
  bool await_ready() noexcept { return false; }
  template <class Promise>
  void await_suspend(std::coroutine_handle<Promise> h) noexcept {
    of->at = h.address();
    of->open = [](task& t, told what) {
      auto const waits = std::coroutine_handle<Promise>::from_address(t.at);
      t.at_once = what;
      if (what == told::drop) waits.promise().continuation.destroy();
      else waits.resume();
    };
  }
  void await_resume() noexcept {}
};

struct note_stop {
  task* of;
  void operator()() const noexcept { of->asked_to_stop = true; }
};

inline lazy<answer> lazy_task(std::stop_token token, task* t) {
  std::stop_callback<note_stop> const on_stop(std::move(token), note_stop{t});
  ++t->invoked;
  if (t->at_once == told::wait || t->at_once == told::drop) co_await coroutine_gate{t};
  co_return t->now();
}

/// The caller's own coroutine is not under test: it is made before faults are injected, by whoever starts it.
template <bool Scheduled>
struct coroutine_front : front_base {
  static constexpr char const* name = Scheduled ? "coroutine, resume_on" : "coroutine";

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    ++injection::paused;
    wait(*this, flights, c, key, watched_by(c, opts), t);
  }

 private:
  static eager wait(coroutine_front& self, manual_group& flights, slot& c, std::string_view key,
                    cf::run_options opts, task& t) {
    --injection::paused;
    std::shared_ptr<answer const> value;
    std::exception_ptr error;
    try {
      auto operation = flights.run(key, opts, lazy_task, &t);
      if constexpr (Scheduled) {
        auto const scheduler = [to = &self.ready](auto f) { to->push(std::move(f)); };
        auto scheduled = std::move(operation).resume_on(scheduler);
        value = co_await std::move(scheduled);
      } else {
        value = co_await std::move(operation);
      }
    } catch (...) {
      error = std::current_exception();
    }
    note(c, value, error);
  }
};

// ---- callbacks --------------------------------------------------------------------------------------------

/// Where a callback-style task keeps its completion while it waits.
struct pending_answers {
  std::array<std::optional<cf::completion<answer>>, 16> held;

  void keep(cf::completion<answer> done, task& t) {
    auto const free = std::find_if(held.begin(), held.end(), [](auto const& each) { return !each; });
    free->emplace(std::move(done));
    t.at = &*free;
    t.open = [](task& of, told what) {
      auto& waiting = *static_cast<std::optional<cf::completion<answer>>*>(of.at);
      auto mine = std::move(*waiting);
      waiting.reset();
      of.asked_to_stop = mine.stop_requested();
      if (what == told::answer) (void)mine.set_value(of.number);
      else if (what == told::fail) (void)mine.set_exception(std::make_exception_ptr(task_failed()));
    };
  }
};

template <bool Scheduled>
struct callback_front : front_base {
  static constexpr char const* name = Scheduled ? "callback, via" : "callback";

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    auto const work = [this, &t](cf::completion<answer> done) {
      ++t.invoked;
      if (t.at_once == told::wait) return answers.keep(std::move(done), t);
      if (t.at_once == told::drop) return;
      if (t.at_once == told::fail) throw task_failed();
      (void)done.set_value(t.number);
    };
    auto const callback = [&c](std::exception_ptr error, std::shared_ptr<answer const> got) {
      note(c, got, std::move(error));
    };
    auto const watched = watched_by(c, opts);
    if constexpr (Scheduled)
      flights.start(key, watched, cf::answering<answer>(work),
                    cf::via([to = &ready](cf::work w) { to->push(std::move(w)); }, callback));
    else flights.start(key, watched, cf::answering<answer>(work), callback);
  }

  pending_answers answers;
};

/// Work that was sent to an executor and waits there.
struct pending_work {
  std::array<std::optional<cf::work>, 16> held;

  void keep(cf::work w, task& t) {
    auto const free = std::find_if(held.begin(), held.end(), [](auto const& each) { return !each; });
    free->emplace(std::move(w));
    t.at = &*free;
    t.open = [](task& of, told what) {
      auto& waiting = *static_cast<std::optional<cf::work>*>(of.at);
      auto const mine = std::move(*waiting);
      waiting.reset();
      of.at_once = what;
      if (what != told::drop) mine();
    };
  }
};

inline answer plain_task(std::stop_token token, task* t) {
  ++t->invoked;
  t->asked_to_stop = token.stop_requested();
  return t->now();
}

/// A plain task on an executor; `std::future` as the result, if `Future`.
template <bool Future>
struct on_front : front_base {
  static constexpr char const* name = Future ? "future, on" : "callback, on";

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    auto const submit = [this, &t](cf::work w) {
      if (t.at_once == told::wait) works.keep(std::move(w), t);
      else if (t.at_once != told::drop) w();
    };
    auto const watched = watched_by(c, opts);
    if constexpr (Future) {
      auto future = cf::run_future(flights, key, watched, cf::on(submit, std::bind_front(plain_task_of, &t)));
      auto const free = std::find_if(futures.begin(), futures.end(), [](auto const& f) { return !f.of; });
      *free = {&c, std::move(future)};
      pump();
    } else {
      flights.start(key, watched, cf::on(submit, std::bind_front(plain_task_of, &t)),
                    [&c](std::exception_ptr error, std::shared_ptr<answer const> got) {
                      note(c, got, std::move(error));
                    });
    }
  }
  void pump() {
    front_base::pump();
    pause const own;
    for (auto& f : futures) {
      if (!f.of || f.future.wait_for(0s) != std::future_status::ready) continue;
      slot& c = *std::exchange(f.of, nullptr);
      try {
        auto const value = f.future.get();
        note(c, value, nullptr);
      } catch (...) {
        note(c, nullptr, std::current_exception());
      }
    }
  }

 private:
  static answer plain_task_of(task* t, std::stop_token token) { return plain_task(std::move(token), t); }
  struct waiting {
    slot* of = nullptr;
    std::future<std::shared_ptr<answer const>> future;
  };
  pending_work works;
  std::array<waiting, 16> futures;
};

// ---- senders ----------------------------------------------------------------------------------------------

namespace ex = cacheflight::execution;

struct gate_sender {
  using sender_concept = ex::sender_t;
  using completion_signatures = ex::completion_signatures<ex::set_error_t(std::exception_ptr),
                                                          ex::set_value_t(answer), ex::set_stopped_t()>;

  template <class Receiver>
  struct state {
    using operation_state_concept = ex::operation_state_t;
    task* of;
    Receiver receiver;

    void start() & noexcept {
      ++of->invoked;
      of->at = this;
      if (of->at_once != told::wait) return end(*of, of->at_once);
      of->open = end;
    }
    static void end(task& t, told what) {
      auto& self = *static_cast<state*>(t.at);
      t.asked_to_stop = self.receiver.get_env().query(ex::get_stop_token_t{}).stop_requested();
      if (what == told::answer) std::move(self.receiver).set_value(answer(t.number));
      else if (what == told::fail) std::move(self.receiver).set_error(task_failed());
      else std::move(self.receiver).set_stopped();
    }
  };
  template <class Receiver>
  state<Receiver> connect(Receiver receiver) && {
    return {of, std::move(receiver)};
  }
  task* of;
};
inline gate_sender sending_task(task* t) { return {t}; }

struct sender_front : front_base {
  static constexpr char const* name = "sender";

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    auto sender = flights.run(key, opts, sending_task, &t);
    auto const connect = [&] { return std::move(sender).connect(receiver{&c}); };
    ++injection::paused;
    auto& operation = operations.keep(connect);
    --injection::paused;
    operation.start();
  }

 private:
  struct receiver {
    using receiver_concept = ex::receiver_t;
    slot* c;
    void set_value(std::shared_ptr<answer const> v) && noexcept { note(*c, v, nullptr); }
    void set_error(std::exception_ptr e) && noexcept { note(*c, nullptr, std::move(e)); }
    void set_stopped() && noexcept {
      c->left = true;
      note(*c, nullptr, nullptr);
    }
    cacheflight_test::stop_environment get_env() const noexcept { return {c->stop.get_token()}; }
  };
  cacheflight_test::kept_operations operations;
};

// ---- threads ----------------------------------------------------------------------------------------------

/// Each call has a thread of its own, and the test goes on when all of them wait. With `On` the task is given
/// to somebody else and its leader waits like a joiner; without, it runs on its leader's stack.
template <bool On>
struct thread_front : front_base {
  static constexpr char const* name = On ? "thread, on" : "thread";
  static constexpr bool can_drop = On;

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    pause const own;
    std::unique_lock lock(mutex);
    core = &cd::access::core(flights);
    caller& mine = callers.at(used++);
    mine.of = &c;
    mine.front = this;
    mine.now = doing::runs;
    mine.thread = std::thread([&flights, &mine, &t, key, watched = watched_by(c, opts)] {
      injection::watched = true;
      call(flights, mine, key, watched, t);
    });
    changed.wait(lock, [&] { return mine.now != doing::runs; });
  }
  /// Until every caller waits whom the group has not released.
  void pump() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return !core || quiet(); });
  }
  void forget(std::span<slot>) { close(); }
  void close() {
    for (caller& each : callers)
      if (each.thread.joinable()) each.thread.join();
  }

 private:
  enum class doing { runs, executes_task, waits, ended };
  struct caller {
    slot* of = nullptr;
    thread_front* front = nullptr;
    doing now = doing::ended;
    std::stop_token asked;  // its task's
    std::thread thread;

    void turns_to(doing next) {
      pause const own;
      std::scoped_lock const lock(front->mutex);
      now = next;
      front->changed.notify_all();
    }
  };

  /// On the caller's thread.
  static void call(manual_group& flights, caller& mine, std::string_view key, cf::run_options const& opts,
                   task& t) {
    std::shared_ptr<answer const> value;
    std::exception_ptr error;
    auto const submit = [&mine, &t](cf::work w) {
      if (t.at_once == told::wait) mine.front->works.keep(std::move(w), t);
      else if (t.at_once != told::drop) w();
    };
    manual_platform::before_arm() = [&mine] { mine.turns_to(doing::waits); };
    try {
      if constexpr (On) value = flights.run(key, opts, cf::on(submit, plain_task), &t);
      else value = flights.run(key, opts, task_on_stack, &t, &mine);
    } catch (...) {
      error = std::current_exception();
    }
    note(*mine.of, std::exchange(value, nullptr), error);
    mine.turns_to(doing::ended);
  }

  static answer task_on_stack(std::stop_token token, task* t, caller* mine) {
    ++t->invoked;
    if (t->at_once == told::wait) {
      std::unique_lock lock(mine->front->mutex);
      t->at = mine;
      t->open = [](task& of, told what) {
        of.at_once = what;
        static_cast<caller*>(of.at)->turns_to(doing::runs);
      };
      mine->asked = token;
      mine->now = doing::executes_task;
      mine->front->changed.notify_all();
      mine->front->changed.wait(lock, [&] { return mine->now == doing::runs; });
    }
    t->asked_to_stop = token.stop_requested();
    return t->now();
  }

  /// Those who wait are those whom the group counts. A leader that executes its task does not return when it
  /// is released; it is when it was stopped, or its flight was.
  [[nodiscard]] bool quiet() const {
    std::size_t waiting = 0;
    for (caller const& each : callers) {
      if (each.now == doing::runs) return false;
      bool const released =
          each.now == doing::executes_task && (each.of->stop.stop_requested() || each.asked.stop_requested());
      waiting += each.now != doing::ended && !released;
    }
    return waiting == core->stats().waiters;
  }

  core_type* core = nullptr;
  std::mutex mutex;
  std::condition_variable changed;
  std::size_t used = 0;
  std::array<caller, 16> callers;
  pending_work works;
};

// ---- the core by hand -------------------------------------------------------------------------------------

struct hand_front : front_base {
  static constexpr char const* name = "hand";
  static constexpr bool watches_stop = false;

  class hand_flight final : public cd::keyed_flight<manual_platform, std::string> {
   public:
    hand_flight(std::string key, std::any metadata, task* t)
        : keyed_flight(std::move(key), std::move(metadata)), of_(t) {}
    [[nodiscard]] std::type_info const& type() const noexcept override { return typeid(answer); }
    void start() {
      if (!core_type::may_start(*this))
        return core_type::settle(*this, cd::cause::abandoned, nullptr, nullptr);
      ++of_->invoked;
      of_->at = this;
      if (of_->at_once != told::wait) return end(*of_, of_->at_once);
      of_->open = end;
      core_type::stoppable(*this);
    }
    bool request_stop() noexcept override { return of_->asked_to_stop = true; }

   private:
    static void end(task& t, told what) {
      auto& self = *static_cast<hand_flight*>(t.at);
      cd::cause why = cd::cause::resolved;
      std::shared_ptr<void const> value;
      std::exception_ptr error;
      try {
        if (what == told::drop) why = cd::cause::abandoned;
        else if (what == told::fail) throw task_failed();
        else value = std::make_shared<answer const>(t.number);
      } catch (...) {
        why = cd::cause::rejected;
        error = std::current_exception();
      }
      core_type::settle(self, why, std::move(value), std::move(error));
    }
    task* of_;
  };

  struct waiter final : cd::waiter<manual_platform> {
    ~waiter() override {
      if (joined() && !core_type::withdraw(*this)) core_type::finish(*this);
    }
    bool hand_over(waiters&) noexcept override {
      try {
        front->ready.push([this, pad = std::array<void*, 4>{}] { (void)pad, take_turn(); });
      } catch (...) {
        return false;
      }
      return true;
    }
    void take_turn() {
      std::shared_ptr<void const> value;
      std::exception_ptr error;
      slot& c = *of;
      {
        cd::finish_guard<manual_platform> const at_exit(*this);
        c.left = how_left() == cd::departure::left;
        try {
          if (!c.left) value = cd::outcome_of<answer>(*this);
        } catch (...) {
          error = std::current_exception();
        }
      }
      note(c, std::static_pointer_cast<answer const>(std::move(value)), std::move(error));
    }
    hand_front* front = nullptr;
    slot* of = nullptr;
  };

  void run(manual_group& flights, slot& c, std::string_view key, cf::run_options const& opts, task& t) {
    auto const free = std::find_if(waiters.begin(), waiters.end(), [](waiter const& w) { return !w.of; });
    waiter& w = *free;
    c.at = &w;
    w.front = this;
    auto const build = [&](std::string_view& k) {
      return new hand_flight(std::string(k), opts.metadata(), &t);
    };
    if (cd::access::enter(flights, key, w, opts, typeid(answer), build) == cd::admission::leads) {
      w.of = &c;
      static_cast<hand_flight&>(*w.joined()).start();
    }
    w.of = &c;
    if (!core_type::arm(w)) core_type::give_turn(w);
  }
  void leave(slot& c) {
    if (auto& w = *static_cast<waiter*>(c.at); w.joined()) core_type::leave(w);
  }

 private:
  std::array<waiter, 16> waiters;
};

}  // namespace faults
