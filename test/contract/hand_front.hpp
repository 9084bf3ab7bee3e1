// SPDX-License-Identifier: MIT
#pragma once

// A front without any runtime: the core's answers interpreted by hand. Shows what a front has to do, and lets
// tests stop between steps.

#include "front.hpp"
#include <cacheflight/detail/outcome.hpp>

#include <deque>

namespace cacheflight_test {

namespace cd = cacheflight::detail;

struct hand_front : front_traits {
  using group_type = manual_group;
  using platform = group_type::platform_type;
  using core_type = cd::core<platform>;
  static constexpr char const* name = "hand";

  class hand_flight final : public cd::keyed_flight<platform, std::string> {
   public:
    hand_flight(std::string&& key, std::type_info const& type, std::any metadata, task_ptr task)
        : keyed_flight(std::move(key), std::move(metadata)),
          type_(type),
          task_(task),
          own_(std::in_place, std::move(task)) {}
    [[nodiscard]] std::type_info const& type() const noexcept override { return type_; }

    void start() {
      if (!core_type::may_start(*this)) return end(cd::cause::abandoned, nullptr, nullptr);
      task_ptr const task = task_;
      ++task->invoked;
      try {
        if (task->when_invoked) task->when_invoked();
        if (task->inline_error) std::rethrow_exception(task->inline_error);
      } catch (...) {
        return end(cd::cause::rejected, nullptr, std::current_exception());
      }
      if (task->inline_value) return resolve(*task->inline_value);
      task->open_gate = [this](bool drop) {
        task_ptr const now = task_;
        now->open_gate = nullptr;
        if (drop) end(cd::cause::abandoned, nullptr, nullptr);
        else if (now->error) end(cd::cause::rejected, nullptr, now->error);
        else resolve(*now->value);
      };
      core_type::stoppable(*this);
    }

    bool request_stop() noexcept override {
      expect_unlocked("a stop request");
      if (refuse_stops > 0) return --refuse_stops, false;
      task_ptr const task = task_;
      task->stop_requested = true;
      if (task->obeys) {
        task->error = std::make_exception_ptr(stopped_as_asked());
        task->open_gate(false);
      }
      return true;
    }

    static inline int refuse_stops = 0;

   private:
    void resolve(int number) { end(cd::cause::resolved, std::make_shared<answer const>(number), nullptr); }
    void end(cd::cause why, std::shared_ptr<void const> value, std::exception_ptr error) {
      own_.reset();
      core_type::settle(*this, why, std::move(value), std::move(error));
    }

    std::type_info const& type_;
    task_ptr task_;
    std::optional<sentinel> own_;
  };

  struct hand_call final : call, cd::waiter<platform> {
    explicit hand_call(hand_front* f) : front(f) {}
    ~hand_call() override {
      if (this->joined() && !core_type::withdraw(*this)) core_type::finish(*this);
    }
    bool hand_over(waiters&) noexcept override {
      expect_unlocked("an executor");
      if (front->refuse > 0) return --front->refuse, false;
      front->ready.push_back(this);
      if (front->on_hand_over) std::exchange(front->on_hand_over, nullptr)();
      return true;
    }
    void take_turn() {
      std::exception_ptr e;
      std::shared_ptr<answer const> v;
      auto& f = *this->joined();
      if (how_left() == cd::departure::left) call::left = true;
      else if (how_left() == cd::departure::wait_timed_out)
        e = std::make_exception_ptr(
            cacheflight::timeout_error(cacheflight::timeout_scope::wait, f.copy_key()));
      else if (f.why() == cd::cause::resolved && drains)
        v = std::make_shared<answer const>(*core_type::take_value<bool>(f) ? 1 : 0);
      else if (f.why() == cd::cause::resolved) v = core_type::take_value<answer>(f);
      else if (f.why() == cd::cause::rejected) e = f.exception();
      else if (f.why() == cd::cause::timed_out)
        e = std::make_exception_ptr(
            cacheflight::timeout_error(cacheflight::timeout_scope::flight, f.copy_key()));
      else e = cd::failure_of(f, how_left());
      core_type::finish(*this);
      complete(std::move(v), std::move(e));
    }

    hand_front* front;
    bool drains = false;
  };

  call& run(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return enter(flights, std::move(key), std::move(opts), std::move(task), typeid(answer));
  }
  call& run_other_type(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task) {
    return enter(flights, std::move(key), std::move(opts), std::move(task), typeid(double));
  }

  call& drain(group_type& flights, std::chrono::nanoseconds limit) {
    hand_call& c = *calls.emplace_back(std::make_unique<hand_call>(this));
    c.drains = true;
    cd::access::core(flights).drain(c, std::make_unique<cd::drain_flight<platform>>(), limit, false);
    if (!core_type::arm(c)) core_type::give_turn(c);
    return c;
  }

  void leave(call& c) {
    auto& mine = static_cast<hand_call&>(c);
    if (mine.joined()) core_type::leave(mine);
  }

  bool vanish(call& c) {
    std::erase_if(calls, [&](auto const& owned) { return owned.get() == &c; });
    return true;
  }

  void pump() {
    while (!ready.empty()) {
      hand_call* const next = ready.front();
      ready.pop_front();
      next->take_turn();
    }
  }

  std::vector<std::unique_ptr<hand_call>> calls;
  std::deque<hand_call*> ready;
  std::function<void()> on_hand_over;  // runs once, inside the next hand-over
  int refuse = 0;                      // how many hand-overs the executor refuses

 private:
  call& enter(group_type& flights, std::string key, cacheflight::run_options opts, task_ptr task,
              std::type_info const& type) {
    hand_call& c = *calls.emplace_back(std::make_unique<hand_call>(this));
    auto const build = [&](std::string& k) {
      expect_unlocked("building a flight");
      return new hand_flight(std::move(k), type, opts.take_metadata(), task);
    };
    try {
      if (cd::access::enter(flights, key, c, opts, type, build) == cd::admission::leads)
        static_cast<hand_flight&>(*c.joined()).start();
    } catch (...) {
      c.complete(nullptr, std::current_exception());
      return c;
    }
    if (!core_type::arm(c)) core_type::give_turn(c);
    return c;
  }
};

}  // namespace cacheflight_test
