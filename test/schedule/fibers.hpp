// SPDX-License-Identifier: MIT
#pragma once

// A deterministic scheduler: the threads of a program are fibers of one thread, and who runs next is decided
// at every point where it could matter, by a list of choices that can be enumerated, drawn at random, or
// replayed.

#include "arena.hpp"

#include <boost/context/detail/fcontext.hpp>

#include <cxxabi.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#ifdef CACHEFLIGHT_TEST_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace schedule {

/// How many schedules there are below each state that was met.
class known_states {
 public:
  void clear() {
    entries_.assign(1024, {});
    count_ = 0;
  }
  [[nodiscard]] long double const* find(std::uint64_t hash) const {
    entry const& e = entries_[place(hash)];
    return e.hash ? &e.schedules : nullptr;
  }
  void add(std::uint64_t hash, long double schedules) {
    if (2 * ++count_ > entries_.size()) {
      std::vector<entry> const before = std::exchange(entries_, std::vector<entry>(2 * entries_.size()));
      for (entry const& e : before)
        if (e.hash) entries_[place(e.hash)] = e;
    }
    entries_[place(hash)] = {hash, schedules};
  }
  [[nodiscard]] std::size_t size() const { return count_; }

 private:
  struct entry {
    std::uint64_t hash = 0;  // 0: free
    long double schedules = 0;
  };
  [[nodiscard]] std::size_t place(std::uint64_t hash) const {
    std::size_t at = hash & (entries_.size() - 1);
    while (entries_[at].hash && entries_[at].hash != hash) at = (at + 1) & (entries_.size() - 1);
    return at;
  }
  std::vector<entry> entries_{1024};
  std::size_t count_ = 0;
};

/// Copies of the program's state, the last one on top.
class snapshots {
 public:
  void write(void const* memory, std::size_t bytes) {
    if (end_ + bytes > bytes_.size()) bytes_.resize(2 * (end_ + bytes));
    std::memcpy(bytes_.data() + end_, memory, bytes);
    end_ += bytes;
  }
  void read(void* memory, std::size_t bytes) {
    std::memcpy(memory, bytes_.data() + at_, bytes);
    at_ += bytes;
  }
  [[nodiscard]] std::size_t end() const { return end_; }
  void read_from(std::size_t at) { at_ = at; }
  void drop_from(std::size_t at) { end_ = at; }

 private:
  std::vector<char> bytes_;
  std::size_t end_ = 0, at_ = 0;
};

/// Walks all lists of choices depth first. Where the state of the whole program can be told (by a hash of all
/// its memory), a state that was met before is not explored again: the number of schedules below it is known.
class choices {
 public:
  enum class mode { enumerate, random, pct };

  void enumerate() {
    mode_ = mode::enumerate;
    nodes_.clear();
    known_.clear();
    copies.drop_from(0);
    next_ = 0;
  }
  void draw(mode how, std::uint64_t seed) {
    mode_ = how;
    state_ = seed * 0x9e3779b97f4a7c15 + 1;
    nodes_.clear();
  }
  void replay(std::string const& text) {
    enumerate();
    for (char const c : text)
      nodes_.push_back({static_cast<std::uint8_t>(c >= 'a' ? c - 'a' + 10 : c - '0'), 0, 0, 0, 0});
  }
  /// The run begins anew.
  void rewind() { next_ = 0; }

  snapshots copies;

  /// Choice 0 always means "go on as before": the running fiber keeps running, nothing is refused. `state()`
  /// tells the program's state, 0 if it cannot be told; `save()` copies it.
  template <class State, class Save>
  [[nodiscard]] std::size_t choose(std::size_t options, State&& state, Save&& save) {
    if (next_ == nodes_.size()) {
      std::uint64_t hash = 0;
      if (mode_ == mode::enumerate && (hash = state()) != 0) {
        if (auto const* const found = known_.find(hash)) {
          below_ = *found;
          return known;
        }
      }
      std::size_t const index = mode_ == mode::enumerate ? 0 : random() % options;
      nodes_.push_back(
          {static_cast<std::uint8_t>(index), static_cast<std::uint8_t>(options), hash, copies.end(), 0});
      if (mode_ == mode::enumerate) save();
    }
    node& n = nodes_[next_++];
    n.options = static_cast<std::uint8_t>(options);
    return n.index < options ? n.index : options - 1;
  }
  static constexpr std::size_t known = ~std::size_t{0};

  /// For PCT, which decides itself and only records.
  void record(std::size_t index, std::size_t options) {
    nodes_.push_back({static_cast<std::uint8_t>(index), static_cast<std::uint8_t>(options), 0, 0, 0});
    ++next_;
  }

  /// The run is over, or cut off in a known state. Returns whether there is another one; if not, `schedules`
  /// is how many there were.
  [[nodiscard]] bool advance(bool cut_off) {
    long double value = cut_off ? below_ : 1;
    nodes_.resize(next_);
    while (!nodes_.empty()) {
      node& n = nodes_.back();
      n.schedules += value;
      if (++n.index < n.options) return true;
      value = n.schedules;
      if (n.state) known_.add(n.state, value);
      copies.drop_from(n.copy);
      nodes_.pop_back();
    }
    schedules_ = value;
    return false;
  }
  /// After `advance`: the run goes on from the last choice. Returns where its copy is.
  [[nodiscard]] std::size_t resume() {
    next_ = nodes_.size() - 1;
    return nodes_.back().copy;
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
    std::size_t copy;
    long double schedules;
  };
  mode mode_ = mode::enumerate;
  std::uint64_t state_ = 0;
  std::vector<node> nodes_;
  std::size_t next_ = 0;
  known_states known_;
  long double below_ = 0, schedules_ = 0;
};

class scheduler {
 public:
  static constexpr std::size_t max_fibers = arena::count - 1;
  static constexpr std::size_t none = arena::outside;
  static constexpr std::size_t unbounded = ~std::size_t{0};
  using mask = std::uint32_t;

  /// What a fiber does: a function object without a destructor, so that it can be copied as it is.
  struct job {
    job() = default;
    template <class F>
    job(F const& f) : run([](void const* of) { (*static_cast<F const*>(of))(); }) {
      static_assert(std::is_trivially_copyable_v<F> && std::is_trivially_destructible_v<F> &&
                    sizeof f <= sizeof captured);
      std::memcpy(captured.data(), &f, sizeof f);
    }
    void (*run)(void const*) = nullptr;
    alignas(8) std::array<char, 16> captured{};
  };

  choices choose;
  std::size_t preemption_bound = unbounded;
  /// Cut runs off in known states, and go back to a choice by a copy of the state instead of running from the
  /// start.
  bool cache = true;
  std::size_t pct_depth = 3, pct_length = 60;
  /// Called when no fiber can go on and not all have finished.
  std::function<void()> on_hang;
  /// Called when all but the daemons have finished; false: so the run is over.
  std::function<bool()> on_end;
  /// Memory that belongs to the program's state besides stacks and heap.
  std::vector<std::pair<void*, std::size_t>> globals;
  /// Called before and after the state is read: to hide there what cannot matter any more.
  std::function<void()> hide, show;

  /// Prepares a run: no fiber has a job, whatever the last run left behind.
  void begin() {
    for (mask used = books_.used; used; used &= used - 1) fibers_[lowest(used)].reset();
    books_ = {};
    current_ = none;
    choose.rewind();
    if (choose.how() != choices::mode::pct) return;
    for (auto& each : priority_) each = choose.random() | (std::uint64_t{1} << 63);
    for (auto& each : changes_) each = choose.random() % pct_length;
    steps_ = 0;
  }

  /// Gives a fiber something to do; it is ready to run.
  void give(std::size_t to, job const& what) {
    fibers_[to].at.what = what;
    books_.ready |= bit(to);
    books_.unfinished |= bit(to);
    books_.used |= bit(to);
  }
  /// A fiber that need not finish: when only such are left, the run is over.
  void daemon(std::size_t which) { books_.daemons |= bit(which); }
  void no_daemons() { books_.daemons = 0; }

  /// Runs until all but the daemons have finished. False: cut off in a known state.
  [[nodiscard]] bool run() {
    for (;;) {
      if (!(books_.unfinished & ~books_.daemons)) {
        if (on_end()) continue;
        return true;
      }
      if (!books_.ready) on_hang();
      std::size_t next;
      {
        arena::pause const pause;
        next = pick();
      }
      if (next == choices::known) return false;
      if (books_.last != none && next != books_.last && (books_.ready & bit(books_.last)))
        ++books_.preemptions;
      current_ = books_.last = next;
      arena::current = next;
      fibers_[next].resume();
      current_ = arena::current = none;
      if (!fibers_[next].at.done) continue;
      fibers_[next].reset();
      books_.ready &= ~bit(next);
      books_.unfinished &= ~bit(next);
    }
  }

  /// After a run: goes back to the last choice that has another answer; then `run` goes on. False: there is
  /// none.
  [[nodiscard]] bool back(bool cut_off) {
    if (!choose.advance(cut_off)) return false;
    choose.copies.read_from(choose.resume());
    restore();
    return true;
  }

  /// Here another thread's step could matter.
  void point() {
    if (current_ == none || !(books_.ready & ~bit(current_)) || books_.preemptions >= preemption_bound)
      return;
    fibers_[current_].suspend();
  }

  /// A choice that is not about who runs.
  [[nodiscard]] std::size_t decide(std::size_t options) {
    books_.deciding = static_cast<std::uint32_t>(options);
    fibers_[current_].suspend();
    return answer_;
  }

  /// Waits until `condition()` holds.
  template <class Condition>
  void wait(Condition const& condition) {
    if (current_ == none) {
      if (!condition()) on_hang();
      return;
    }
    while (!condition()) {
      fibers_[current_].at.waits_for = {&condition,
                                        [](void const* c) { return (*static_cast<Condition const*>(c))(); }};
      books_.ready &= ~bit(current_);
      books_.waiting |= bit(current_);
      fibers_[current_].suspend();
    }
  }
  /// Something changed that fibers may wait for.
  void wake() {
    for (mask left = books_.waiting; left; left &= left - 1) {
      std::size_t const each = lowest(left);
      awaited const& what = fibers_[each].at.waits_for;
      if (!what.holds(what.condition)) continue;
      books_.ready |= bit(each);
      books_.waiting &= ~bit(each);
    }
  }

  /// The fiber that runs; `none` outside of a run.
  [[nodiscard]] std::size_t current() const { return current_; }

 private:
  [[nodiscard]] static mask bit(std::size_t which) { return mask{1} << which; }
  [[nodiscard]] static std::size_t lowest(mask m) { return static_cast<std::size_t>(__builtin_ctz(m)); }

  struct awaited {
    void const* condition = nullptr;
    bool (*holds)(void const*) = nullptr;
  };

  struct fiber {
    static constexpr std::size_t stack_size = 64 * 1024, cleared = 2 * 1024;
    fiber() : stack(static_cast<char*>(std::calloc(1, stack_size))) {}
    fiber(fiber const&) = delete;
    fiber& operator=(fiber const&) = delete;
    ~fiber() { std::free(stack); }

    /// Whatever it was doing is forgotten.
    void reset() {
#ifdef CACHEFLIGHT_TEST_ASAN
      __asan_unpoison_memory_region(stack, stack_size);
#else
      std::memset(top(), 0, static_cast<std::size_t>(stack + stack_size - top()));
#endif
      at = {};
    }
    template <class Writer>
    void save(Writer& to) const {
      to.write(&at, sizeof at);
      to.write(top(), static_cast<std::size_t>(stack + stack_size - top()));
    }
    template <class Reader>
    void restore(Reader& from) {
      char* const before = top();
      from.read(&at, sizeof at);
      if (before < top()) std::memset(before, 0, static_cast<std::size_t>(top() - before));
      from.read(top(), static_cast<std::size_t>(stack + stack_size - top()));
    }
    void resume() {
      if (!at.self) at.self = boost::context::detail::make_fcontext(stack + stack_size, stack_size, &entry);
#ifdef CACHEFLIGHT_TEST_ASAN
      void* fake = nullptr;
      __sanitizer_start_switch_fiber(&fake, stack, stack_size);
#endif
      std::swap(at.exceptions, exceptions());
      at.self = boost::context::detail::jump_fcontext(at.self, this).fctx;
      std::swap(at.exceptions, exceptions());
#ifndef CACHEFLIGHT_TEST_ASAN
      // What calls that returned have left below would get into later frames and tell equal states apart.
      std::memset(static_cast<char*>(at.self) - cleared, 0, cleared);
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
      me->at.what.run(me->at.what.captured.data());
      me->at.done = true;
      me->suspend();
    }

    /// What the run-time keeps for each thread: exceptions caught and in flight.
    using exception_globals = std::array<std::uintptr_t, 2>;
    [[nodiscard]] static exception_globals& exceptions() {
      return *static_cast<exception_globals*>(static_cast<void*>(abi::__cxa_get_globals()));
    }
    [[nodiscard]] char* top() const {  // of what is in use
      return at.self ? static_cast<char*>(static_cast<void*>(at.self)) : stack + stack_size;
    }

    struct place {
      job what;
      boost::context::detail::fcontext_t self = nullptr;  // null: not started
      awaited waits_for;
      exception_globals exceptions{};
      bool done = false;
    };
    place at;  // with the stack, all of its state
    char* const stack;
    boost::context::detail::fcontext_t main = nullptr;
    void const* main_stack = nullptr;
    std::size_t main_size = 0;
  };

  /// Who runs next; the running one, if it can, is choice 0.
  [[nodiscard]] std::size_t pick() {
    auto const save = [this] {
      if (cache) copy();
    };
    if (books_.deciding) {
      answer_ = choose.choose(books_.deciding, [] { return std::uint64_t{0}; }, save);
      books_.deciding = 0;
      return books_.last;
    }
    std::array<std::uint8_t, max_fibers> order;
    std::size_t count = 0;
    mask from = books_.ready;
    if (books_.last != none && (from & bit(books_.last)))
      order[count++] = static_cast<std::uint8_t>(books_.last), from &= ~bit(books_.last);
    for (; from; from &= from - 1) order[count++] = static_cast<std::uint8_t>(lowest(from));
    if (count == 1) return order[0];
    if (choose.how() == choices::mode::pct) return order[pick_by_priority(order, count)];
    std::size_t const chosen =
        choose.choose(count, [this] { return cache ? state() : std::uint64_t{0}; }, save);
    return chosen == choices::known ? choices::known : order[chosen];
  }

  [[nodiscard]] std::size_t pick_by_priority(std::array<std::uint8_t, max_fibers> const& order,
                                             std::size_t count) {
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
    for (mask used = books_.used; used; used &= used - 1) {
      std::size_t const each = lowest(used);
      fiber const& f = fibers_[each];
      if (!(books_.unfinished & bit(each))) continue;
      h.add(&f.at.what, sizeof f.at.what);
      h.add(f.top(), static_cast<std::size_t>(f.stack + fiber::stack_size - f.top()));
    }
    for (std::size_t i = 0; i < arena::count; ++i)
      if (arena::used(i)) h.add(arena::begin(i), arena::used(i));
    for (auto const& [memory, size] : globals) h.add(memory, size);
    std::uint64_t const schedule[]{books_.ready, books_.waiting, books_.unfinished, books_.used,
                                   books_.daemons};
    h.add(schedule, sizeof schedule);
    if (preemption_bound != unbounded) {
      std::uint64_t const bounded[]{books_.preemptions, books_.ready & bit(books_.last) ? books_.last : none};
      h.add(bounded, sizeof bounded);
    }
    show();
    return h.value();
  }

  /// Copies all that `state` reads, and puts it back.
  void copy() {
    snapshots& to = choose.copies;
    to.write(&books_, sizeof books_);
    for (mask used = books_.used; used; used &= used - 1) fibers_[lowest(used)].save(to);
    for (auto const& [memory, size] : globals) to.write(memory, size);
    arena::save(to);
  }
  void restore() {
    snapshots& from = choose.copies;
    mask const before = books_.used;
    from.read(&books_, sizeof books_);
    for (mask later = before & ~books_.used; later; later &= later - 1) fibers_[lowest(later)].reset();
    for (mask used = books_.used; used; used &= used - 1) fibers_[lowest(used)].restore(from);
    for (auto const& [memory, size] : globals) from.read(memory, size);
    arena::restore(from);
  }

  /// What the scheduler knows; part of the program's state.
  struct books {
    mask ready = 0, waiting = 0, daemons = 0, unfinished = 0, used = 0;
    std::uint32_t deciding = 0;  // between how many the fiber that ran last must choose
    std::size_t last = none;
    std::size_t preemptions = 0;
  };

  std::array<fiber, max_fibers> fibers_;
  books books_;
  std::size_t current_ = none;
  std::size_t answer_ = 0;
  std::array<std::uint64_t, max_fibers> priority_{};
  std::array<std::uint64_t, 8> changes_{};
  std::uint64_t steps_ = 0;
};

}  // namespace schedule
