// SPDX-License-Identifier: MIT
#pragma once

// The core, driven by hand: a front that takes every liberty a front has, and no runtime.

#include "runner.hpp"

#include <array>
#include <memory>
#include <optional>
#include <utility>

namespace cacheflight_model {

class hand_runner final : public runner {
  class hand_flight final : public cacheflight::detail::keyed_flight<lone_platform, std::string> {
   public:
    hand_flight(std::string&& key, std::type_info const& type, std::any metadata, hand_runner* r)
        : keyed_flight(std::move(key), std::move(metadata)), type_(type), owner(r) {
      ++alive;
    }
    [[nodiscard]] std::type_info const& type() const noexcept override { return type_; }
    ~hand_flight() override {
      owner->unlocked();
      --alive;
    }
    [[nodiscard]] bool request_stop() noexcept override { return owner->asked_to_stop(index); }

    std::type_info const& type_;
    hand_runner* owner;
    int index = no_one;
    static inline int alive = 0;
  };

  class hand_call final : public cacheflight::detail::waiter<lone_platform> {
   public:
    hand_call(hand_runner* r, int c) noexcept : owner_(r), me_(c) {}
    [[nodiscard]] bool hand_over(waiters&) noexcept override { return owner_->given_turn(me_); }

   private:
    hand_runner* owner_;
    int me_;
  };

 public:
  static void forget() {
    runner::forget();
    hand_flight::alive = 0;
  }

 private:
  void do_run(int c, std::string key, cacheflight::run_options opts) override {
    using namespace cacheflight::detail;
    hand_call& w = waiter_of(c).emplace(this, c);
    std::type_info const& type = model_.of(c).other_type ? typeid(double) : typeid(answer);
    auto const build = [&](std::string& k) {
      building(c);
      return new hand_flight(std::move(k), type, opts.take_metadata(), this);
    };
    verdict got{};
    try {
      got = access::enter(*group_, key, w, opts, type, build) == admission::leads ? verdict::leads
                                                                                  : verdict::joins;
    } catch (cacheflight::max_keys_error const&) {
      got = verdict::full;
    } catch (cacheflight::type_mismatch_error const&) {
      got = verdict::other_type;
    } catch (thread_refused const&) {
      got = verdict::no_thread;
    } catch (build_failed const&) {
      got = verdict::no_memory;
    }
    call const& me = model_.of(c);
    if (model_.wrong) return;
    if (got != me.answer)
      return model_.violated("rules 1, 2, 8, 21, 31: a call was not admitted as it should have been");
    entered(c);
    if (got != verdict::joins && got != verdict::leads) {
      waiter_of(c).reset();
      goes_on(c);
      return completed(c, {fate::refused_entry, got, ending::open, 0});
    }
    bool const held_up = plan(c).held_up();
    if (got == verdict::leads) {
      auto& f = static_cast<hand_flight&>(*w.joined());
      int const i = f.index = me.flight;
      flights_[static_cast<std::size_t>(i)] = &f;
      set_plan_of(i, plan(c));
      if (plan(c).armed_first() && !held_up) do_arm(c);
      start(f, i);
    }
    if (!held_up && me.at == stage::linking && !model_.wrong) do_arm(c);
  }

  void start(hand_flight& f, int i) {
    bool const may = core_type::may_start(f);
    if (may != (model_.at(i).end == ending::open))
      return model_.violated("rules 9, 13: a doomed task was started");
    if (!may) return settle(i, ending::abandoned, abandoned_answer);
    model_.invoked(i);
    bool const stoppable_first = plan_of(i).stoppable_first();
    if (stoppable_first) make_stoppable(f, i);
    ending const now = in_task(i);
    if (model_.wrong) return;
    if (now == ending::value) return settle(i, now, next_value());
    if (now == ending::error) return settle(i, now, next_error());
    park(i);
    if (!stoppable_first) make_stoppable(f, i);
  }
  void make_stoppable(hand_flight& f, int i) {
    model_.stoppable(i);
    core_type::stoppable(f);
  }

  void do_settle(int i, ending how, int number) override {
    using cacheflight::detail::cause;
    hand_flight& f = *std::exchange(flights_[static_cast<std::size_t>(i)], nullptr);
    switch (how) {
      case ending::value: {
        std::shared_ptr<void const> value;
        if (model_.at(i).other_type) value = std::make_shared<double const>(number);
        else value = std::make_shared<answer const>(number);
        return core_type::settle(f, cause::resolved, std::move(value), nullptr);
      }
      case ending::error:
        return core_type::settle(f, cause::rejected, nullptr, std::exception_ptr(error(number)));
      default: return core_type::settle(f, cause::abandoned, nullptr, nullptr);
    }
  }

  void do_leave(int c) override { core_type::leave(*waiter_of(c)); }

  void do_vanish(int c, stage was) override {
    hand_call& w = *waiter_of(c);
    bool const free = core_type::withdraw(w);
    if (was == stage::ready)
      model_.expect(!free, "rule 29: a caller that has its turn vanishes as if it had not");
    if (was == stage::refused || was == stage::waiting)
      model_.expect(free, "rule 29: a waiting caller cannot vanish");
    if (!free) core_type::finish(w);
    waiter_of(c).reset();
  }
  [[nodiscard]] bool can_vanish(int) const override { return true; }

  void do_arm(int c) override {
    hand_call& w = *waiter_of(c);
    bool const suspends = core_type::arm(w);
    model_.armed(c, suspends);
    if (!suspends && !model_.wrong) core_type::give_turn(w);
  }

  /// Its executor is asked.
  [[nodiscard]] bool given_turn(int c) {
    if (model_.wrong) return true;
    if (!handed(c)) return false;
    if (model_.wrong) return true;
    if (inline_turns_) do_turn(c);
    else fire(place::hand_over);
    return true;
  }

  void do_turn(int c) override {
    using namespace cacheflight::detail;
    hand_call& w = *waiter_of(c);
    auto& f = *w.joined();
    result got{fate::of_flight, {}, ending::open, 0};
    if (w.how_left() != departure::none) {
      got.how = w.how_left() == departure::left ? fate::left : fate::wait_timed_out;
    } else {
      switch (f.why()) {
        case cause::open: break;
        case cause::resolved:
          got.end = ending::value;
          if (auto const value = cacheflight::detail::core<lone_platform>::take_value(f); !value) break;
          else if (model_.of(c).other_type)
            got.answer = static_cast<int>(*static_cast<double const*>(value.get()));
          else got.answer = static_cast<answer const*>(value.get())->number;
          break;
        case cause::rejected:
          got.end = ending::error;
          got.answer = which_error(f.exception());
          break;
        case cause::abandoned: got.end = ending::abandoned; break;
        case cause::timed_out: got.end = ending::timed_out; break;
        case cause::cancelled:
        case cause::cleared:
        case cause::drained:
        case cause::destroyed: got.end = ending::cancelled; break;
      }
    }
    core_type::finish(w);
    waiter_of(c).reset();
    completed(c, got);
  }

  [[nodiscard]] bool by_hand() const override { return true; }
  [[nodiscard]] int flights_alive() const override { return hand_flight::alive; }

  [[nodiscard]] std::optional<hand_call>& waiter_of(int c) { return waiters_[static_cast<std::size_t>(c)]; }

  std::array<std::optional<hand_call>, call_count> waiters_;
  std::array<hand_flight*, flight_count> flights_{};
};

}  // namespace cacheflight_model
