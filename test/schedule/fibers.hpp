// SPDX-License-Identifier: MIT
#pragma once

// A deterministic scheduler: the threads of a program are fibers of one thread, and who runs next is decided at every
// point where it could matter, by a list of choices that can be enumerated, drawn at random, or replayed.

#include "arena.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#ifdef CACHEFLIGHT_TEST_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace schedule {

/// Walks all lists of choices depth first. Where the state of the whole program can be told (by a hash of all its
/// memory), a state that was met before is not explored again: the number of schedules below it is known.
class choices {
 public:
  enum class mode { enumerate, random, pct };

  void enumerate() {
    mode_ = mode::enumerate;
    nodes_.clear();
    known_.clear();
  }
  void draw(mode how, std::uint64_t seed) {
    mode_ = how;
    state_ = seed * 0x9e3779b97f4a7c15 + 1;
    nodes_.clear();
  }
  void replay(std::string const& text) {
    enumerate();
    for (char const c : text) nodes_.push_back({static_cast<std::uint8_t>(c >= 'a' ? c - 'a' + 10 : c - '0'), 0, 0, 0});
  }
  void rewind() { next_ = 0; }

  /// Choice 0 always means "go on as before": the running fiber keeps running, nothing is refused. `state` tells the
  /// program's state, 0 if it cannot be told.
  template <class State>
  [[nodiscard]] std::size_t choose(std::size_t options, State&& state) {
    if (next_ == nodes_.size()) {
      std::uint64_t hash = 0;
      if (mode_ == mode::enumerate && (hash = state()) != 0) {
        if (auto const found = known_.find(hash); found != known_.end()) {
          below_ = found->second;
          return known;
        }
      }
      std::size_t const index = mode_ == mode::enumerate ? 0 : random() % options;
      nodes_.push_back({static_cast<std::uint8_t>(index), static_cast<std::uint8_t>(options), hash, 0});
    }
    node& n = nodes_[next_++];
    n.options = static_cast<std::uint8_t>(options);
    return n.index < options ? n.index : options - 1;
  }
  static constexpr std::size_t known = ~std::size_t{0};

  /// For PCT, which decides itself and only records.
  void record(std::size_t index, std::size_t options) {
    nodes_.push_back({static_cast<std::uint8_t>(index), static_cast<std::uint8_t>(options), 0, 0});
    ++next_;
  }

  /// The run is over, or cut off in a known state. Returns whether there is another one; if not, `schedules` is how
  /// many there were.
  [[nodiscard]] bool advance(bool cut_off) {
    long double value = cut_off ? below_ : 1;
    nodes_.resize(next_);
    while (!nodes_.empty()) {
      node& n = nodes_.back();
      n.schedules += value;
      if (++n.index < n.options) return true;
      value = n.schedules;
      if (n.state) known_.emplace(n.state, value);
      nodes_.pop_back();
    }
    schedules_ = value;
    return false;
  }
  [[nodiscard]] long double schedules() const { return schedules_; }
  [[nodiscard]] std::size_t states() const { return known_.size(); }

  [[nodiscard]] std::string text() const {
    std::string s;
    for (std::size_t i = 0; i < next_; ++i)
      s += static_cast<char>(nodes_[i].index < 10 ? '0' + nodes_[i].index : 'a' + nodes_[i].index - 10);
    return s;
  }

  [[nodiscard]] std::uint64_t random() {  // splitmix64
    std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  [[nodiscard]] mode how() const { return mode_; }

 private:
  struct node {
    std::uint8_t index, options;
    std::uint64_t state;
    long double schedules;
  };
  struct as_is {
    std::size_t operator()(std::uint64_t hash) const noexcept { return hash; }
  };
  mode mode_ = mode::enumerate;
  std::uint64_t state_ = 0;
  std::vector<node> nodes_;
  std::size_t next_ = 0;
  std::unordered_map<std::uint64_t, long double, as_is> known_;
  long double below_ = 0, schedules_ = 0;
};

class scheduler {
 public:
  static constexpr std::size_t max_fibers = arena::count - 1;
  static constexpr std::size_t none = arena::outside;
  static constexpr std::size_t unbounded = ~std::size_t{0};
  using mask = std::uint32_t;
  using job = std::function<void()>;

  choices choose;
  std::size_t preemption_bound = unbounded;
  bool cache = true;  // cut runs off in known states
  std::size_t pct_depth = 3, pct_length = 60;
  /// Called when no fiber can go on and not all have finished.
  std::function<void()> on_hang;
  /// Memory that belongs to the program's state besides stacks and heap.
  std::vector<std::pair<void const*, std::size_t>> globals;
  /// Called before and after the state is read: to hide there what cannot matter any more.
  std::function<void()> hide, show;

  /// Prepares a run: no fiber has a job, whatever the last run left behind.
  void begin() {
    for (mask used = used_; used; used &= used - 1) fibers_[lowest(used)].reset();
    ready_ = waiting_ = daemons_ = unfinished_ = used_ = 0;
    preemptions_ = 0;
    current_ = last_ = none;
    choose.rewind();
    if (choose.how() != choices::mode::pct) return;
    for (auto& each : priority_) each = choose.random() | (std::uint64_t{1} << 63);
    for (auto& each : changes_) each = choose.random() % pct_length;
    steps_ = 0;
  }

  /// Gives a fiber something to do; it is ready to run.
  void give(std::size_t to, job what) {
    fibers_[to].what = std::move(what);
    ready_ |= bit(to);
    unfinished_ |= bit(to);
    used_ |= bit(to);
  }
  /// A fiber that need not finish: when only such are left, the run is over.
  void daemon(std::size_t which) { daemons_ |= bit(which); }
  void no_daemons() { daemons_ = 0; }

  /// Runs until all but the daemons have finished. False: cut off in a known state.
  [[nodiscard]] bool run() {
    while (unfinished_ & ~daemons_) {
      if (!ready_) on_hang();
      std::size_t next;
      {
        arena::pause const pause;
        next = pick();
      }
      if (next == choices::known) return false;
      if (last_ != none && next != last_ && (ready_ & bit(last_))) ++preemptions_;
      current_ = last_ = next;
      arena::current = next;
      fibers_[next].resume();
      current_ = arena::current = none;
      if (!std::exchange(fibers_[next].done, false)) continue;
      ready_ &= ~bit(next);
      unfinished_ &= ~bit(next);
    }
    return true;
  }

  /// Here another thread's step could matter.
  void point() {
    if (current_ == none || !(ready_ & ~bit(current_)) || preemptions_ >= preemption_bound) return;
    fibers_[current_].suspend();
  }

  /// A choice that is not about who runs.
  [[nodiscard]] std::size_t decide(std::size_t options) {
    arena::pause const pause;
    return choose.choose(options, [] { return std::uint64_t{0}; });
  }

  /// Waits until `condition()` holds.
  template <class Condition>
  void wait(Condition const& condition) {
    if (current_ == none) {
      if (!condition()) on_hang();
      return;
    }
    while (!condition()) {
      waits_for_[current_] = {&condition, [](void const* c) { return (*static_cast<Condition const*>(c))(); }};
      ready_ &= ~bit(current_);
      waiting_ |= bit(current_);
      fibers_[current_].suspend();
    }
  }
  /// Something changed that fibers may wait for.
  void wake() {
    for (mask left = waiting_; left; left &= left - 1) {
      std::size_t const each = lowest(left);
      if (!waits_for_[each].holds(waits_for_[each].condition)) continue;
      ready_ |= bit(each);
      waiting_ &= ~bit(each);
    }
  }

  /// The fiber that runs; `none` outside of a run.
  [[nodiscard]] std::size_t current() const { return current_; }

 private:
  [[nodiscard]] static mask bit(std::size_t which) { return mask{1} << which; }
  [[nodiscard]] static std::size_t lowest(mask m) { return static_cast<std::size_t>(__builtin_ctz(m)); }

  struct fiber {
    static constexpr std::size_t stack_size = 64 * 1024, cleared = 2 * 1024;
    fiber() : stack(new char[stack_size]()) {}
    fiber(fiber const&) = delete;
    fiber& operator=(fiber const&) = delete;
    ~fiber() { delete[] stack; }

    /// Whatever it was doing is forgotten.
    void reset() {
      self = nullptr;
      what = nullptr;
#ifdef CACHEFLIGHT_TEST_ASAN
      __asan_unpoison_memory_region(stack, stack_size);
#else
      std::memset(stack + stack_size - 3 * cleared, 0, 3 * cleared);
#endif
    }
    void resume() {
      if (!self) self = boost::context::detail::make_fcontext(stack + stack_size, stack_size, &entry);
#ifdef CACHEFLIGHT_TEST_ASAN
      void* fake = nullptr;
      __sanitizer_start_switch_fiber(&fake, stack, stack_size);
#endif
      self = boost::context::detail::jump_fcontext(self, this).fctx;
#ifndef CACHEFLIGHT_TEST_ASAN
      // What calls that returned have left below would get into later frames and tell equal states apart.
      std::memset(static_cast<char*>(self) - cleared, 0, cleared);
#endif
#ifdef CACHEFLIGHT_TEST_ASAN
      __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
    }
    void suspend() {
#ifdef CACHEFLIGHT_TEST_ASAN
      void* fake = nullptr;
      __sanitizer_start_switch_fiber(&fake, main_stack, main_size);
#endif
      main = boost::context::detail::jump_fcontext(main, nullptr).fctx;
#ifdef CACHEFLIGHT_TEST_ASAN
      __sanitizer_finish_switch_fiber(fake, &main_stack, &main_size);
#endif
    }
    static void entry(boost::context::detail::transfer_t from) {
      auto* const me = static_cast<fiber*>(from.data);
      me->main = from.fctx;
#ifdef CACHEFLIGHT_TEST_ASAN
      __sanitizer_finish_switch_fiber(nullptr, &me->main_stack, &me->main_size);
#endif
      for (;;) {
        me->what();
        me->what = nullptr;
        me->done = true;
        me->suspend();
      }
    }

    job what;
    char* const stack;
    boost::context::detail::fcontext_t self = nullptr, main = nullptr;
    bool done = false;
    void const* main_stack = nullptr;
    std::size_t main_size = 0;
  };

  /// Who runs next; the running one, if it can, is choice 0.
  [[nodiscard]] std::size_t pick() {
    std::array<std::uint8_t, max_fibers> order;
    std::size_t count = 0;
    mask from = ready_;
    if (last_ != none && (from & bit(last_))) order[count++] = static_cast<std::uint8_t>(last_), from &= ~bit(last_);
    for (; from; from &= from - 1) order[count++] = static_cast<std::uint8_t>(lowest(from));
    if (count == 1) return order[0];
    if (choose.how() == choices::mode::pct) return order[pick_by_priority(order, count)];
    std::size_t const chosen = choose.choose(count, [&] { return cache ? state() : std::uint64_t{0}; });
    return chosen == choices::known ? choices::known : order[chosen];
  }

  [[nodiscard]] std::size_t pick_by_priority(std::array<std::uint8_t, max_fibers> const& order, std::size_t count) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < count; ++i)
      if (priority_[order[i]] > priority_[order[best]]) best = i;
    for (std::size_t c = 0; c < pct_depth && c < changes_.size(); ++c)
      if (changes_[c] == steps_) priority_[order[best]] = c;
    ++steps_;
    choose.record(best, count);
    return best;
  }

  /// A hash of everything that decides how the program goes on: stacks, heap, globals, and who can run.
  [[nodiscard]] std::uint64_t state() const {
    hide();
    hasher h;
    for (mask used = used_; used; used &= used - 1) {
      fiber const& f = fibers_[lowest(used)];
      if (unfinished_ & bit(lowest(used))) {
        h.add(&f.what, sizeof f.what);
        if (f.self) {
          auto const* const top = static_cast<char const*>(static_cast<void*>(f.self));
          h.add(top, static_cast<std::size_t>(f.stack + stack_size() - top));
        }
      }
    }
    for (std::size_t i = 0; i < arena::count; ++i) h.add(arena::begin(i), arena::used(i));
    for (auto const& [memory, size] : globals) h.add(memory, size);
    std::uint64_t const schedule[]{ready_, waiting_, unfinished_, used_, daemons_};
    h.add(schedule, sizeof schedule);
    if (preemption_bound != unbounded) {
      std::uint64_t const bounded[]{preemptions_, ready_ & bit(last_) ? last_ : none};
      h.add(bounded, sizeof bounded);
    }
    show();
    return h.value();
  }
  [[nodiscard]] static constexpr std::size_t stack_size() { return fiber::stack_size; }

  struct awaited {
    void const* condition;
    bool (*holds)(void const*);
  };

  std::array<fiber, max_fibers> fibers_;
  std::array<awaited, max_fibers> waits_for_{};
  mask ready_ = 0, waiting_ = 0, daemons_ = 0, unfinished_ = 0, used_ = 0;
  std::size_t current_ = none, last_ = none;
  std::size_t preemptions_ = 0;
  std::array<std::uint64_t, max_fibers> priority_{};
  std::array<std::uint64_t, 8> changes_{};
  std::uint64_t steps_ = 0;
};

}  // namespace schedule
