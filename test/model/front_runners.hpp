// SPDX-License-Identifier: MIT
#pragma once

// The same programs through the callback front and the coroutine front.

#include "../support/coroutines.hpp"
#include "runner.hpp"
#include <cacheflight/callback.hpp>
#include <cacheflight/coroutine.hpp>

#include <array>
#include <coroutine>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>

namespace cacheflight_model {

/// Callers leave by their stop token; their turns come through a scheduler that the program empties, or at
/// once.
class front_runner : public runner {
 protected:
  struct scheduler {
    front_runner* r;
    int c;
    template <class Turn>
    void operator()(Turn turn) const {
      r->schedule(c, std::move(turn));
    }
  };
  struct on_stop {
    front_runner* r;
    int i;
    void operator()() const { (void)r->asked_to_stop(i); }
  };

  template <class Turn>
  void schedule(int c, Turn turn) {
    has_entered(c);
    if (!handed(c)) throw turn_refused();
    turns_[index(c)] = std::move(turn);
    fire(place::hand_over);
  }

  /// These fronts do not say when a call is in: it is when something follows, or `run` returns.
  void has_entered(int c) {
    if (!is_entering(c)) return;
    entered(c);
    call& me = model_.of(c);
    if (me.at == stage::linking) me.at = stage::waiting;
  }
  /// Turns wait until the calls that enter on this thread have entered; their tasks begin, or are given up,
  /// afterwards.
  void all_have_entered() {
    for (int c = entering(); c != no_one && is_entering(c); c = entering()) has_entered(c);
  }

  /// The call's flight ended before its task could begin: it never will.
  void give_up_task(int c) {
    call const& me = model_.of(c);
    if (me.answer == verdict::leads && model_.at(me.flight).task == task_is::unborn)
      model_.settle(me.flight, ending::abandoned, abandoned_answer);
  }

  int begin_task(int c) {
    has_entered(c);
    int const i = model_.of(c).flight;
    set_plan_of(i, plan(c));
    model_.invoked(i);
    model_.stoppable(i);
    return i;
  }

  void done(int c, std::exception_ptr const& e, int number) {
    has_entered(c);
    call& me = model_.of(c);
    bool const cannot_be_asked_again = me.at == stage::refused && me.how == fate::refused_entry;
    if (me.at == stage::waiting || cannot_be_asked_again) goes_on(c);
    completed(c, result_of(me, e, number));
  }

  [[nodiscard]] result result_of(call const& me, std::exception_ptr const& e, int number) {
    if (!e) return {fate::of_flight, {}, ending::value, number};
    if (int const which = which_error(e)) return {fate::of_flight, {}, ending::error, which};
    try {
      try {
        std::rethrow_exception(e);
      } catch (cacheflight::error const& ours) {
        model_.expect(ours.key() == name(me.key), "an error with another key");
        throw;
      }
    } catch (cacheflight::caller_stopped_error const&) {
      return {fate::left, {}, ending::open, 0};
    } catch (cacheflight::timeout_error const& t) {
      if (t.scope() == cacheflight::timeout_scope::wait) return {fate::wait_timed_out, {}, ending::open, 0};
      return {fate::of_flight, {}, ending::timed_out, 0};
    } catch (cacheflight::cancelled_error const&) {
      return {fate::of_flight, {}, ending::cancelled, 0};
    } catch (cacheflight::abandoned_error const&) {
      return {fate::of_flight, {}, ending::abandoned, 0};
    } catch (cacheflight::max_keys_error const&) {
      return {fate::refused_entry, verdict::full, ending::open, 0};
    } catch (cacheflight::type_mismatch_error const&) {
      return {fate::refused_entry, verdict::other_type, ending::open, 0};
    } catch (thread_refused const&) {
      return {fate::refused_entry, verdict::no_thread, ending::open, 0};
    } catch (...) {
      return {fate::undecided, {}, ending::open, 0};
    }
  }

  std::stop_token new_token(int c) {
    stops_[index(c)] = std::stop_source();
    return stops_[index(c)].get_token();
  }
  void do_leave(int c) override {
    std::stop_source const mine = stops_[index(c)];
    mine.request_stop();
  }
  void do_turn(int c) override {
    auto const turn = std::exchange(turns_[index(c)], nullptr);
    turn();
  }

  [[nodiscard]] static int number_of(answer const& a) noexcept { return a.number; }
  [[nodiscard]] static int number_of(double d) noexcept { return static_cast<int>(d); }
  [[nodiscard]] static std::size_t index(int n) noexcept { return static_cast<std::size_t>(n); }

  std::array<std::function<void()>, call_count> turns_;

 private:
  std::array<std::stop_source, call_count> stops_;
};

class callback_runner final : public front_runner {
  template <class T>
  struct parked {
    std::optional<cacheflight::completion<T>> done;
    std::optional<std::stop_callback<on_stop>> asked;
  };

  void do_run(int c, std::string key, cacheflight::run_options opts) override {
    if (model_.of(c).other_type) start<double>(c, std::move(key), std::move(opts));
    else start<answer>(c, std::move(key), std::move(opts));
  }

  template <class T>
  void start(int c, std::string key, cacheflight::run_options opts) {
    opts.stop_token(new_token(c));
    auto const task = [this, c](cacheflight::completion<T> done) { invoke<T>(c, std::move(done)); };
    auto const callback = [this, c](std::exception_ptr e, std::shared_ptr<T const> value) {
      int const number = value ? number_of(*value) : 0;
      value.reset();
      done(c, e, number);
    };
    if (inline_turns_)
      group_->start(std::move(key), std::move(opts), cacheflight::answering<T>(task), callback);
    else
      group_->start(std::move(key), std::move(opts), cacheflight::answering<T>(task),
                    cacheflight::via(scheduler{this, c}, callback));
    has_entered(c);
    give_up_task(c);
  }

  template <class T>
  void invoke(int c, cacheflight::completion<T> done) {
    int const i = begin_task(c);
    std::stop_token const token = done.stop_token();
    of<T>(i).done.emplace(std::move(done));
    ending const now = in_task(i);
    if (model_.wrong) return;
    if (now == ending::value) return settle(i, now, next_value());
    if (now == ending::error) {
      int const number = next_error();
      if (!plan_of(i).stoppable_first()) return settle(i, now, number);
      model_.settle(i, now, number);
      of<T>(i).done.reset();
      std::rethrow_exception(error(number));
    }
    of<T>(i).asked.emplace(token, on_stop{this, i});
    park(i);
    if (plan_of(i).does() == run_plan::task::obeys && model_.at(i).asked)
      settle(i, ending::error, next_error());
  }

  void do_settle(int i, ending how, int number) override {
    if (model_.at(i).other_type) answer_with<double>(i, how, number);
    else answer_with<answer>(i, how, number);
  }
  template <class T>
  void answer_with(int i, ending how, int number) {
    of<T>(i).asked.reset();
    cacheflight::completion<T> done = std::move(*of<T>(i).done);
    of<T>(i).done.reset();
    if (how == ending::value) model_.expect(done.set_value(T(number)), "rule 9: a first answer is refused");
    else if (how == ending::error)
      model_.expect(done.set_exception(error(number)), "rule 9: a first answer is refused");
  }

  /// What can vanish is a turn that the scheduler drops.
  [[nodiscard]] bool can_vanish(int c) const override { return static_cast<bool>(turns_[index(c)]); }
  void do_vanish(int c, stage) override { auto const dropped = std::exchange(turns_[index(c)], nullptr); }

  template <class T>
  [[nodiscard]] parked<T>& of(int i) {
    if constexpr (std::is_same_v<T, double>) return others_[index(i)];
    else return answers_[index(i)];
  }

  std::array<parked<answer>, flight_count> answers_;
  std::array<parked<double>, flight_count> others_;
};

class coroutine_runner final : public front_runner {
  /// A caller: starts when it is told to, so that its handle is known, and frees itself.
  struct caller {
    struct promise_type {
      caller get_return_object() noexcept {
        return {std::coroutine_handle<promise_type>::from_promise(*this)};
      }
      std::suspend_always initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() noexcept {}
      void unhandled_exception() noexcept { std::terminate(); }
    };
    std::coroutine_handle<> handle;
  };
  struct parked {
    std::coroutine_handle<> task, driver;
    int number = 0;
    bool fails = false;
  };
  struct gate {
    parked& mine;
    bool await_ready() noexcept { return false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> h) noexcept {
      mine.task = h;
      mine.driver = h.promise().continuation;
    }
    void await_resume() noexcept {}
  };

  template <class T>
  static cacheflight_test::lazy<T> work(std::stop_token token, coroutine_runner* r, int c) {
    int const i = r->begin_task(c);
    ending now = r->in_task(i);
    int number = 0;
    if (now == ending::open) {
      std::stop_callback<on_stop> const asked(token, on_stop{r, i});
      if (r->plan_of(i).does() == run_plan::task::obeys && r->model_.at(i).asked) {
        now = ending::error;
      } else {
        r->park(i);
        parked& mine = r->parked_[index(i)];
        co_await gate{mine};
        number = mine.number;
        if (mine.fails) std::rethrow_exception(error(number));
        co_return T(number);
      }
    }
    number = now == ending::value ? r->next_value() : r->next_error();
    r->model_.settle(i, now, number);
    if (now == ending::error) std::rethrow_exception(error(number));
    co_return T(number);
  }

  template <class T, class Operation>
  static caller wait(coroutine_runner* r, int c, Operation operation) {
    std::exception_ptr e;
    int number = 0;
    try {
      std::shared_ptr<T const> const value = co_await std::move(operation);
      number = value ? number_of(*value) : 0;
    } catch (...) {
      e = std::current_exception();
    }
    r->callers_[index(c)] = nullptr;
    if (r->inline_turns_ && !r->model_.of(c).busy) r->all_have_entered();
    r->gone_on(c);
    r->done(c, e, number);
  }
  /// A leader whose flight is over goes on after its task was given up.
  void gone_on(int c) {
    has_entered(c);
    if (model_.of(c).how != fate::undecided) give_up_task(c);
  }

  void do_run(int c, std::string key, cacheflight::run_options opts) override {
    if (model_.of(c).other_type) start<double>(c, std::move(key), std::move(opts));
    else start<answer>(c, std::move(key), std::move(opts));
    has_entered(c);
  }
  template <class T>
  void start(int c, std::string key, cacheflight::run_options opts) {
    opts.stop_token(new_token(c));
    auto operation = group_->run(std::move(key), std::move(opts), work<T>, this, c);
    if (inline_turns_) resume(c, wait<T>(this, c, std::move(operation)));
    else resume(c, wait<T>(this, c, std::move(operation).resume_on(scheduler{this, c})));
  }
  void resume(int c, caller made) {
    callers_[index(c)] = made.handle;
    made.handle.resume();
  }

  void do_settle(int i, ending how, int number) override {
    parked& mine = parked_[index(i)];
    if (how == ending::abandoned) return std::exchange(mine.driver, nullptr).destroy();
    mine.number = number;
    mine.fails = how == ending::error;
    std::exchange(mine.task, nullptr).resume();
  }

  [[nodiscard]] bool can_vanish(int c) const override { return static_cast<bool>(callers_[index(c)]); }
  void do_vanish(int c, stage) override {
    turns_[index(c)] = nullptr;
    std::exchange(callers_[index(c)], nullptr).destroy();
  }

  std::array<std::coroutine_handle<>, call_count> callers_{};
  std::array<parked, flight_count> parked_{};
};

}  // namespace cacheflight_model
