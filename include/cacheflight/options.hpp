// SPDX-License-Identifier: MIT
#pragma once

/// What a group and a call can be told: `options`, `run_options`.

#include <cacheflight/detail/key.hpp>
#include <cacheflight/detail/process.hpp>
#include <cacheflight/event.hpp>
#include <cacheflight/task_context.hpp>

#include <any>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <ratio>
#include <stdexcept>
#include <stop_token>
#include <string>
#include <utility>

namespace cacheflight::inline v1 {

namespace detail {

/// A time limit. `no_limit` stands for "no limit", and is what durations beyond the clock's range become
/// (rule 20).
using limit = std::chrono::nanoseconds;
inline constexpr limit no_limit = (limit::max)();  // here and elsewhere: `max` may be a macro

[[noreturn, gnu::cold]] inline void refuse_limit(char const* name) {
  throw std::invalid_argument(std::string("cacheflight: ") + name +
                              " must be positive; leave it out for none");
}

/// Nanoseconds in a unit of `Period`; 0 if that is no whole number, or too large. `std::ratio_divide` would
/// not compile for the latter.
template <class Period>
inline constexpr limit::rep whole_nanoseconds = [] {
  constexpr limit::rep second = std::nano::den;
  if constexpr (second % Period::den != 0) return limit::rep{0};
  else if constexpr (Period::num > (limit::max)().count() / (second / Period::den)) return limit::rep{0};
  else return limit::rep{Period::num} * (second / Period::den);
}();

/// A duration of any period and representation; what is shorter than a nanosecond is one.
template <class Rep, class Period>
[[nodiscard]] limit checked_limit(std::chrono::duration<Rep, Period> value, char const* name) {
  constexpr limit::rep longest = (limit::max)().count(), unit = whole_nanoseconds<Period>;
  if constexpr (std::signed_integral<Rep> &&
                unit != 0) {  // seconds, say: long double costs half a look at the clock
    if (value.count() <= 0) refuse_limit(name);
    if (value.count() > longest / unit) return no_limit;
    return limit(static_cast<limit::rep>(value.count()) * unit);
  } else {
    static_assert(std::convertible_to<Rep, long double>,
                  "cacheflight: this duration counts in a type that does not convert to a number: use "
                  "std::chrono::duration_cast<std::chrono::nanoseconds>");
    auto const count = static_cast<long double>(value.count());
    if (!(count > 0)) refuse_limit(name);  // also refuses NaN
    auto const nanoseconds = count * (static_cast<long double>(Period::num) * std::nano::den) / Period::den;
    if (nanoseconds >= static_cast<long double>(longest)) return no_limit;
    limit const whole(static_cast<limit::rep>(nanoseconds));
    return whole > limit::zero() ? whole : limit(1);
  }
}

}  // namespace detail

/// How a group behaves. Chainable: `options().max_keys(10'000).default_timeout(5s)`. Not thread-safe; read
/// once, by the group's constructor.
class options {
 public:
  /// No cap, no default timeout, no events.
  options() noexcept {}
  options(options const&) = default;
  options(options&&) noexcept = default;
  options& operator=(options const&) = default;
  options& operator=(options&&) noexcept = default;
  ~options() {}

  /// At most `count` keys in flight at any moment; a call that would start one more fails with
  /// `max_keys_error`, joining always works (rule 21). Without it there is no cap. Throws
  /// `std::invalid_argument` if `count` is 0.
  template <std::integral Count>
  options& max_keys(Count count) {
    static_assert(detail::key_number<Count>, "cacheflight: max_keys is a number, not a bool or a character");
    if (std::cmp_less(count, 1))
      throw std::invalid_argument("cacheflight: max_keys must be at least 1; leave it out for no cap");
    constexpr std::size_t most = (std::numeric_limits<std::size_t>::max)();
    max_keys_ = std::cmp_less(count, most) ? static_cast<std::size_t>(count) : most;
    return *this;
  }

  /// The `timeout` of calls that do not set their own (rule 17). Throws `std::invalid_argument` if it is zero
  /// or negative; a duration beyond the clock's range means none.
  template <class Rep, class Period>
  options& default_timeout(std::chrono::duration<Rep, Period> value) {
    default_timeout_ = detail::checked_limit(value, "default_timeout");
    return *this;
  }

  /// Called for every event, outside of all locks, on the thread that made the transition, after a timeout on
  /// a helper thread (rules 26 and 33): it must be thread-safe, may call the group, must not wait for its own
  /// key, and should be quick: after a task has answered its waiters are released when the last event was
  /// delivered. What it throws changes nothing and is counted in `statistics::callback_failures`. Throws
  /// `std::invalid_argument` if `callback` is empty.
  options& on_event(std::function<void(event const&)> callback) {
    if (!callback)
      throw std::invalid_argument("cacheflight: on_event needs a callable; leave it out for no events");
    on_event_ = std::move(callback);
    return *this;
  }

  /// Each flight notes when it started, for `snapshot()`: one look at the clock for each miss. Implied by
  /// `on_event`.
  options& measure_age() noexcept {
    measures_age_ = true;
    return *this;
  }

  /// At most `count` helper threads (rule 33). They do for the thread that keeps time what is not its own:
  /// after a timeout they deliver events, call callbacks, resume coroutines and run stop callbacks. The first
  /// is started when there is something to do, another one when something has waited for a millisecond, and
  /// one that has had nothing to do for a second ends. While all of them are held up in code of yours, what
  /// they would do next waits; time limits are kept all the same, and blocked callers and those of Asio's
  /// executors are released. Throws `std::invalid_argument` if `count` is 0.
  template <std::integral Count>
  options& max_helpers(Count count) {
    if (std::cmp_less(count, 1)) throw std::invalid_argument("cacheflight: max_helpers must be at least 1");
    max_helpers_ = static_cast<std::size_t>(count);
    return *this;
  }

  [[nodiscard]] std::size_t max_keys() const noexcept { return max_keys_; }  ///< 0: no cap.
  [[nodiscard]] std::size_t max_helpers() const noexcept {
    return max_helpers_;
  }  ///< What `max_helpers` has set, or 64.
  [[nodiscard]] bool measures_age() const noexcept { return measures_age_; }  ///< What `measure_age` has set.
  [[nodiscard]] std::chrono::nanoseconds default_timeout() const noexcept {
    return default_timeout_;
  }  ///< `max()`: none.
  /// Empty: no events.
  [[nodiscard]] std::function<void(event const&)> const& on_event() const noexcept { return on_event_; }

 private:
  std::size_t max_keys_ = 0;
  std::size_t max_helpers_ = 64;
  bool measures_age_ = false;
  detail::limit default_timeout_ = detail::no_limit;
  std::function<void(event const&)> on_event_;
};

/// What became of a call (rule 46).
enum class call_role : unsigned char {
  none,    ///< It has not entered.
  led,     ///< It leads its flight: its task runs.
  joined,  ///< It waits for another call's task.
  refused  ///< Neither, for the reason that its error says.
};

/// What a call can tell of itself; see `run_options::report`.
struct call_report {
  call_role role = call_role::none;  ///< What it became.
  std::uint64_t flight_id = 0;       ///< As in `event::flight_id`; 0 if it was refused.
  std::size_t waiters = 0;           ///< Of its flight when it entered, with itself.
  /// When its flight became joinable, by the clock of the group. Empty unless the flight's beginning was
  /// noted: by a time limit, `not_before`, `options::measure_age`, or because there are events.
  std::optional<std::chrono::steady_clock::time_point> began;
};

namespace detail {

/// What few calls want: the others have a null pointer for all of it.
struct rare_options {
  call_report* report = nullptr;
  std::optional<std::chrono::nanoseconds> not_before;  // since the clock's epoch
  std::shared_ptr<flight_view> within{};               // null: inside of no task that is known
};

/// Null, or a `T` of its own, which is copied with it.
template <class T>
class copied {
 public:
  copied() noexcept {}
  copied(copied const& other) : it_(other.it_ ? new T(*other.it_) : nullptr) {}
  copied(copied&&) noexcept = default;
  copied& operator=(copied const& other) {
    it_.reset(other.it_ ? new T(*other.it_) : nullptr);
    return *this;
  }
  copied& operator=(copied&&) noexcept = default;
  ~copied() {}
  [[nodiscard]] T const* get() const noexcept { return it_.get(); }
  [[nodiscard]] T& made() {
    if (!it_) it_.reset(new T);
    return *it_;
  }

 private:
  std::unique_ptr<T> it_;
};

}  // namespace detail

/// What one call wants. Chainable: `run_options().timeout(2s).metadata(request_id)`.
class run_options {
 public:
  /// The group's default timeout, no limit to the caller's patience, no stop token, no metadata.
  run_options() noexcept {}
  run_options(run_options const&) = default;
  run_options(run_options&&) noexcept = default;
  run_options& operator=(run_options const&) = default;
  run_options& operator=(run_options&&) noexcept = default;
  ~run_options() {}

  /// Bounds the task of the flight that this call starts, counted from the call; ignored if it joins one.
  /// When it runs out every waiter gets `timeout_error` at once, even if the task ignores its stop request
  /// (rule 17). Overrides the group's default. Throws `std::invalid_argument` if it is zero or negative; a
  /// duration beyond the clock's range means none.
  template <class Rep, class Period>
  run_options& timeout(std::chrono::duration<Rep, Period> value) {
    timeout_ = detail::checked_limit(value, "timeout");
    return *this;
  }

  /// No limit for the task, even where the group has a default.
  run_options& no_timeout() noexcept {
    timeout_ = detail::no_limit;
    return *this;
  }

  /// Bounds this caller's own wait, as leader or joiner: it gets `timeout_error` with `timeout_scope::wait`
  /// and leaves; nobody else notices, unless it was the last (rule 18). Throws `std::invalid_argument` if it
  /// is zero or negative.
  template <class Rep, class Period>
  run_options& wait_timeout(std::chrono::duration<Rep, Period> value) {
    wait_timeout_ = detail::checked_limit(value, "wait_timeout");
    return *this;
  }

  /// Anything; handed to `on_event` with this call's events (rule 24).
  run_options& metadata(std::any value) noexcept {
    metadata_ = std::move(value);
    return *this;
  }

  /// Cancels this caller, on any thread, when a stop is requested: it leaves at once, alone, and gets what
  /// its front says for "you were cancelled" (rule 11). Not to be confused with the token that a task may
  /// take.
  run_options& stop_token(std::stop_token token) noexcept {
    stop_token_ = std::move(token);
    return *this;
  }

  /// Has the call write into `into` what became of it: once, in the step in which it enters, or is refused,
  /// and never later (rule 46). So `into` must live until then, which for `run` in a coroutine is until it is
  /// suspended, for `start` and a blocking `run` until they return. Other calls of the flight may still come
  /// and go. Throws `std::bad_alloc`.
  run_options& report(call_report& into) {
    rare_.made().report = &into;
    return *this;
  }

  /// Joins a flight only if it became joinable later than `moment`; otherwise it is superseded, and this call
  /// leads a new one, in one step (rule 50): what comes back was asked for after `moment`, so it shows every
  /// write that was done by then. A call that is refused supersedes nothing.
  ///
  /// `moment` is of the group's clock, `std::chrono::steady_clock`. A flight of which no clock has noted when
  /// it began counts as older: `options::measure_age` has all of them note it, so that callers with
  /// `not_before` share what plain calls have led. A moment in the future is the call's `std::invalid_argument`
  /// when it enters. Throws `std::bad_alloc`.
  template <class Clock, class Duration>
  run_options& not_before(std::chrono::time_point<Clock, Duration> moment) {
    static_assert(Clock::is_steady,
                  "cacheflight: not_before takes a time of the group's clock, std::chrono::steady_clock");
    rare_.made().not_before = std::chrono::ceil<std::chrono::nanoseconds>(moment.time_since_epoch());
    return *this;
  }

  /// The call is made by the task that was given `context`, or on its behalf: so it may lead a flight in
  /// that task's group after the group was closed, as long as the task runs (rule 58): what a task needs to
  /// be done is still started. Throws `std::bad_alloc`.
  run_options& within(task_context const& context) {
    rare_.made().within = context.view();
    return *this;
  }

  /// What bounds the task, given the group's default; `max()`: none.
  [[nodiscard]] std::chrono::nanoseconds timeout_or(std::chrono::nanoseconds fallback) const noexcept {
    return timeout_ == not_set ? fallback : timeout_;
  }
  [[nodiscard]] std::chrono::nanoseconds wait_timeout() const noexcept {
    return wait_timeout_;
  }  ///< `max()`: none.
  /// One that never stops, unless it was set.
  [[nodiscard]] std::stop_token const& stop_token() const noexcept { return stop_token_; }
  /// Empty, unless it was set.
  [[nodiscard]] std::any const& metadata() const noexcept { return metadata_; }
  /// The metadata, to be moved out. For fronts.
  [[nodiscard]] std::any&& take_metadata() noexcept { return std::move(metadata_); }
  /// Null: none. For fronts.
  [[nodiscard]] detail::rare_options const* rare() const noexcept { return rare_.get(); }

 private:
  static constexpr detail::limit not_set = (detail::limit::min)();  // no limit that can be asked for
  detail::limit timeout_ = not_set;
  detail::limit wait_timeout_ = detail::no_limit;
  std::stop_token stop_token_;
  std::any metadata_;
  detail::copied<detail::rare_options> rare_;
};

namespace detail {

/// `run_options` of a call that was given none: takes no room, and what asks it is left out by the compiler.
struct no_options {
  [[nodiscard]] static limit timeout_or(limit fallback) noexcept { return fallback; }
  [[nodiscard]] static limit wait_timeout() noexcept { return no_limit; }
  [[nodiscard]] static std::stop_token stop_token() noexcept { return {}; }
  [[nodiscard]] static std::any const& metadata() noexcept { return none; }
  [[nodiscard]] static std::any take_metadata() noexcept { return {}; }
  [[nodiscard]] static constexpr rare_options const* rare() noexcept { return nullptr; }
  operator run_options() const noexcept { return {}; }

 private:
  static inline std::any const& none = nothing<std::any>.object;
};

}  // namespace detail

}  // namespace cacheflight::inline v1
