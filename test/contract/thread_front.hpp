// SPDX-License-Identifier: MIT
#pragma once

// Threads that block in `run`. Each call has a thread, and so has each task, which `on` sends there, so that
// a leader waits like a joiner; leaders on their own stack are in threads_test.cpp.

#include "fixture.hpp"
#include <cacheflight/blocking.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

/// How many wait for the end of all.
struct cacheflight::detail::inspector {
  template <class P>
  static std::size_t draining(core<P>& of) {
    std::scoped_lock lock(of.shards_.lobby().mutex);
    return of.shards_.lobby().waiters;
  }
};

namespace cacheflight_test {

struct thread_front : front_traits {
  using group_type = manual_group;
  using core_type = cd::core<manual_platform>;
  static constexpr char const* name = "thread";
  static constexpr bool can_abandon = false;
  static constexpr char const* cannot_abandon =
      "a function that runs on a thread answers when it returns; work dropped before it ran is in "
      "threads_test.cpp";
  static constexpr bool pumped = false;
  static constexpr char const* not_pumped =
      "a thread that is woken goes on by itself; that it is not the ending thread is its nature";

  struct thread_call final : call {
    explicit thread_call(core_type& c) : core(&c) { core->retain(); }
    ~thread_call() override {
      if (thread.joinable()) thread.join();
      if (task_thread.joinable()) task_thread.join();
      core->release();
    }
    core_type* core;
    std::stop_source stop;
    std::atomic<bool> about_to_wait{false}, over{false};                            // the caller
    std::atomic<bool> submitted{false}, waits{false}, opened{false}, ended{false};  // its task
    std::thread thread, task_thread;
  };

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<answer>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return start<double>(flights, std::move(key), std::move(opts), std::move(task));
  }
  call& drain(group_type& flights, std::chrono::nanoseconds limit) {
    thread_call* c;
    {
      std::scoped_lock lock(mutex);
      c = calls.emplace_back(std::make_unique<thread_call>(cd::access::core(flights))).get();
    }
    c->thread = std::thread([c, &flights, limit] {
      manual_platform::before_arm() = [c] { c->about_to_wait = true; };
      bool const quiet = limit == for_ever ? flights.drain() : flights.drain(limit);
      manual_platform::before_arm() = nullptr;
      c->complete(std::make_shared<answer const>(quiet ? 1 : 0), nullptr);
      c->over = true;
    });
    while (!c->over && !c->about_to_wait) std::this_thread::yield();
    return *c;
  }

  void leave(call& c) { static_cast<thread_call&>(c).stop.request_stop(); }
  bool vanish(call&) { return false; }

  /// Until every task that may go on has ended, and every call is over or waits for an open flight.
  void pump() {
    for (;;) {
      std::unique_lock lock(mutex);
      std::size_t waiting = 0, queued = 0;
      std::vector<core_type*> cores;
      bool settling = false;
      for (auto const& c : calls) {
        settling |= c->opened && !c->ended;
        if (c->over) continue;
        ++waiting;
        if (std::find(cores.begin(), cores.end(), c->core) == cores.end()) cores.push_back(c->core);
      }
      for (auto* const core : cores) queued += core->stats().waiters + cd::inspector::draining(*core);
      if (waiting == queued && !settling) return;
      lock.unlock();
      std::this_thread::yield();
    }
  }

  std::vector<std::unique_ptr<thread_call>> calls;
  std::mutex mutex;

 private:
  /// What the task's function waits for.
  struct gate {
    std::mutex mutex;
    std::condition_variable changed;
    bool open = false;
  };

  template <class Answer>
  static Answer blocking_task(std::stop_token token, task_ptr task, thread_call* c, sentinel) {
    ++task->invoked;
    if (task->when_invoked) task->when_invoked();
    if (task->inline_error) std::rethrow_exception(task->inline_error);
    if (task->inline_value) return Answer(*task->inline_value);
    auto const entrance = std::make_shared<gate>();
    task->open_gate = [entrance, c](bool) {
      c->opened = true;
      std::scoped_lock lock(entrance->mutex);
      entrance->open = true;
      entrance->changed.notify_all();
    };
    std::stop_callback const on_stop(token, [&] {
      expect_unlocked("a stop request");
      task->stop_requested = true;
      if (!task->obeys) return;
      task->error = std::make_exception_ptr(stopped_as_asked());
      task->open_gate(false);
    });
    c->waits = true;
    std::unique_lock lock(entrance->mutex);
    entrance->changed.wait(lock, [&] { return entrance->open; });
    if (task->error) std::rethrow_exception(task->error);
    return Answer(task->value.value_or(0));  // 0: dropped, nobody gets it
  }

  template <class Answer>
  call& start(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    thread_call* c;
    {
      std::scoped_lock lock(mutex);
      c = calls.emplace_back(std::make_unique<thread_call>(cd::access::core(flights))).get();
    }
    opts.stop_token(c->stop.get_token());
    c->thread = std::thread([c, &flights, key = std::move(key), opts = std::move(opts), task]() mutable {
      manual_platform::before_arm() = [c] { c->about_to_wait = true; };
      auto const submit = [c](cacheflight::work w) {
        c->submitted = true;
        c->task_thread = std::thread([c, w = std::move(w)]() mutable {
          std::exchange(w, cacheflight::work(nullptr))();
          c->ended = true;
        });
      };
      std::shared_ptr<answer const> value;
      std::exception_ptr error;
      try {
        auto const got = flights.run(std::move(key), std::move(opts),
                                     cacheflight::on(submit, blocking_task<Answer>), task, c, sentinel(task));
        if constexpr (std::is_same_v<Answer, answer>) value = got;
      } catch (...) {
        error = std::current_exception();
      }
      manual_platform::before_arm() = nullptr;
      c->error = error;
      c->left = c->template failed_with<cacheflight::caller_stopped_error>();
      c->complete(std::move(value), c->left ? nullptr : error);
      c->over = true;
    });
    while (!c->over && !c->about_to_wait) std::this_thread::yield();
    if (c->submitted)
      while (!c->waits && !c->ended) std::this_thread::yield();
    return *c;
  }
};

}  // namespace cacheflight_test
