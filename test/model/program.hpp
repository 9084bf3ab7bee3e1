// SPDX-License-Identifier: MIT
#pragma once

// Programs: what they are made of, as bytes and as text.
//
// Two bytes say how the group is set up; then three bytes are one operation. Any bytes are a program:
// operations that have nothing to act on do nothing, and numbers choose among what there is.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace cacheflight_model {

enum class code : std::uint8_t {
  run,             // a call
  settle,          // a task answers or is dropped
  turn,            // a caller takes the turn that it was given
  leave,           // a caller is cancelled
  vanish,          // a caller is destroyed
  arm,             // a caller that was held up between entering and waiting goes on
  cancel,          // cancel(key)
  supersede,       // supersede(key), or supersede()
  clear,           // clear()
  pass,            // time passes, and the deadline thread runs
  hook,            // the next operation is done inside user code
  throw_next,      // the next event callback throws
  refuse_turns,    // the callers' executors refuse
  refuse_stops,    // stop requests cannot be delivered
  refuse_threads,  // the deadline thread cannot be started
  fail_build,      // making a flight throws
  destroy          // the group goes
};

/// Where hooks are.
enum class place : std::uint8_t { event, turn, hand_over, stop, task, build };
inline constexpr std::size_t place_count = 6;

struct operation {
  std::uint8_t what = 0, a = 0, b = 0;
  friend bool operator==(operation const&, operation const&) = default;

  [[nodiscard]] code kind() const noexcept {
    using enum code;
    // The more often it is there, the likelier.
    static constexpr std::array<code, 64> table{run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          run,
                                                run,          supersede,
                                                settle,       settle,
                                                settle,       settle,
                                                settle,       settle,
                                                settle,       settle,
                                                settle,       settle,
                                                turn,         turn,
                                                turn,         turn,
                                                turn,         turn,
                                                leave,        leave,
                                                leave,        leave,
                                                vanish,       vanish,
                                                arm,          arm,
                                                arm,          cancel,
                                                cancel,       clear,
                                                pass,         pass,
                                                pass,         pass,
                                                pass,         hook,
                                                hook,         hook,
                                                hook,         hook,
                                                throw_next,   refuse_turns,
                                                refuse_stops, refuse_threads,
                                                fail_build,   destroy};
    return table[what & 63u];
  }
};

struct program {
  std::uint8_t first = 0, second = 0;
  std::vector<operation> operations;

  // The group.
  [[nodiscard]] int max_keys() const noexcept { return first & 3; }
  [[nodiscard]] std::size_t shards() const noexcept { return first & 4 ? 2 : 1; }
  [[nodiscard]] bool one_hash() const noexcept { return (first & 8) != 0; }
  [[nodiscard]] bool events() const noexcept { return (first & 0x30) != 0x30; }
  [[nodiscard]] bool default_timeout() const noexcept { return (first & 0x80) != 0; }
  /// Callers go on inside the call that gives them their turn.
  [[nodiscard]] bool inline_turns() const noexcept { return (first & 0x40) != 0; }
  /// At the end the group goes first, or the tasks do.
  [[nodiscard]] bool group_goes_first() const noexcept { return (second & 1) != 0; }

  [[nodiscard]] static program from(std::span<std::uint8_t const> bytes) {
    program p;
    p.assign(bytes);
    return p;
  }
  void assign(std::span<std::uint8_t const> bytes) {
    first = !bytes.empty() ? bytes[0] : std::uint8_t{0};
    second = bytes.size() > 1 ? bytes[1] : std::uint8_t{0};
    operations.clear();
    for (std::size_t i = 2; i + 3 <= bytes.size(); i += 3)
      operations.push_back({bytes[i], bytes[i + 1], bytes[i + 2]});
  }

  [[nodiscard]] std::string hex() const {
    static constexpr char digits[] = "0123456789abcdef";
    std::string text;
    auto const put = [&](std::uint8_t byte) {
      text += digits[byte >> 4];
      text += digits[byte & 15];
    };
    put(first), put(second);
    for (auto const& o : operations) put(o.what), put(o.a), put(o.b);
    return text;
  }

  [[nodiscard]] std::string text() const;
};

[[nodiscard]] inline std::vector<std::uint8_t> bytes_of_hex(std::string const& text) {
  std::vector<std::uint8_t> bytes;
  auto const digit = [](char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; };
  for (std::size_t i = 0; i + 2 <= text.size(); i += 2)
    bytes.push_back(static_cast<std::uint8_t>(digit(text[i]) * 16 + digit(text[i + 1])));
  return bytes;
}

/// What the numbers of a `run` mean.
struct run_plan {
  std::uint8_t a, b;

  enum class task : std::uint8_t { waits, obeys, value_at_once, error_at_once };

  [[nodiscard]] std::uint8_t key() const noexcept { return a & 3; }
  [[nodiscard]] task does() const noexcept { return static_cast<task>((a >> 2) & 3); }
  [[nodiscard]] bool held_up() const noexcept { return (a & 0x10) != 0; }
  [[nodiscard]] bool armed_first() const noexcept { return (a & 0x20) != 0; }
  [[nodiscard]] bool other_type() const noexcept { return (a & 0xc0) == 0xc0; }
  [[nodiscard]] bool dated() const noexcept { return (a & 0xc0) == 0x80; }
  [[nodiscard]] int timeout() const noexcept {
    return b & 7;
  }  // 0: the group's, 6: none, 7: beyond the range
  [[nodiscard]] int wait_timeout() const noexcept {
    return (b >> 3) & 7;
  }  // 0, 7: none, 6: with the flight's
  [[nodiscard]] bool metadata() const noexcept { return (b & 0x40) != 0; }
  [[nodiscard]] bool stoppable_first() const noexcept { return (b & 0x80) != 0; }
};

inline std::string program::text() const {
  std::string s = "group: max_keys " + std::to_string(max_keys()) + ", shards " + std::to_string(shards()) +
                  (one_hash() ? ", equal hashes" : "") + (events() ? "" : ", no events") +
                  (default_timeout() ? ", default timeout" : "") + (inline_turns() ? ", inline turns" : "") +
                  (group_goes_first() ? ", group goes first\n" : "\n");
  for (auto const& o : operations) {
    auto const number = [](std::uint8_t n) { return std::to_string(n); };
    switch (o.kind()) {
      case code::run: {
        static constexpr char const* tasks[] = {"waits", "obeys", "answers at once", "throws at once"};
        run_plan const r{o.a, o.b};
        s += "run key " + number(r.key()) + ", task " + tasks[static_cast<std::size_t>(r.does())];
        if (r.held_up()) s += ", held up";
        if (r.armed_first()) s += ", armed first";
        if (r.other_type()) s += ", other type";
        if (r.dated()) s += ", not before some moment";
        if (r.timeout()) s += ", timeout " + std::to_string(r.timeout());
        if (r.wait_timeout()) s += ", wait timeout " + std::to_string(r.wait_timeout());
        if (r.metadata()) s += ", metadata";
        if (r.stoppable_first()) s += ", stoppable first";
        break;
      }
      case code::settle: {
        s += "settle task " + number(o.a) + (o.b % 16 == 15 ? ": abandon" : o.b & 2 ? ": error" : ": value");
        break;
      }
      case code::turn: s += "turn of caller " + number(o.a); break;
      case code::leave: s += "leave, caller " + number(o.a); break;
      case code::vanish: s += "vanish, caller " + number(o.a); break;
      case code::arm: s += "arm caller " + number(o.a); break;
      case code::cancel: s += "cancel key " + number(o.a & 3); break;
      case code::supersede: s += o.a & 4 ? "supersede all" : "supersede key " + number(o.a & 3); break;
      case code::clear: s += "clear"; break;
      case code::pass: {
        static constexpr char const* ways[] = {"pass a little", "pass to the next deadline",
                                               "pass to just before the next deadline", "pass"};
        s += ways[o.a & 3];
        s += " " + number(o.b);
        if (o.a & 4) s += ", nobody looks";
        break;
      }
      case code::hook: {
        static constexpr char const* places[] = {"event",        "turn", "hand-over",
                                                 "stop request", "task", "build"};
        std::size_t const where = o.a % place_count;
        s += std::string("in the next ") + places[where];
        if (where == 0 && o.b % 9 < 8)
          s += std::string(" ") + cacheflight::to_string(static_cast<cacheflight::event_type>(o.b % 9));
        s += ":";
        break;
      }
      case code::throw_next: s += "the next event callback throws"; break;
      case code::refuse_turns: s += "refuse turns: " + std::to_string(1 + (o.a & 3)); break;
      case code::refuse_stops: s += "refuse stop requests: " + std::to_string(1 + (o.a & 1)); break;
      case code::refuse_threads: s += "refuse threads: " + std::to_string(1 + (o.a & 1)); break;
      case code::fail_build: s += "the next flight cannot be made"; break;
      case code::destroy: s += "destroy the group"; break;
    }
    s += '\n';
  }
  return s;
}

}  // namespace cacheflight_model
