// SPDX-License-Identifier: MIT
#pragma once

/// Where callers meet: `group`, and `basic_group` for keys of other types.

#include <cacheflight/detail/blocked_caller.hpp>
#include <cacheflight/detail/core.hpp>
#include <cacheflight/detail/elsewhere.hpp>
#include <cacheflight/detail/front.hpp>
#include <cacheflight/detail/key_binding.hpp>
#include <cacheflight/detail/keyed_flight.hpp>
#include <cacheflight/detail/task.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/error.hpp>
#include <cacheflight/event.hpp>
#include <cacheflight/hash.hpp>
#include <cacheflight/options.hpp>
#include <cacheflight/platform.hpp>

#include <any>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

/// The library. Users need `group`, `options`, `run_options`, the errors, and the front that they include.
namespace cacheflight::inline v1 {

/// What a flight is, as `snapshot()` saw it.
enum class flight_state : unsigned char {
  joinable,   ///< Calls with its key join it.
  superseded  ///< Nobody can join it any more; it goes on for those who wait (rule 49).
};

/// A flight as `snapshot()` saw it.
template <class Name>
struct flight_info {
  Name key;                                     ///< The key, or what was made of it.
  std::uint64_t id;                             ///< As in `event::flight_id`.
  std::size_t waiters;                          ///< Callers that wait for it.
  std::optional<std::chrono::nanoseconds> age;  ///< Since the leader's call; see `options::measure_age`.
  std::optional<std::chrono::nanoseconds> time_left;  ///< Until its timeout; zero or negative: about to fire.
  flight_state state;                                 ///< Whether it can be joined.
};

namespace detail {

struct access;

}  // namespace detail

/// A group for keys of any type; `cacheflight::group` is the one for text, and what most programs need.
///
/// Callers share a group; it maps keys to flights. When many callers want the same key at the same time, the
/// work runs once and all of them get the result. Nothing is stored at rest: a coalescer, not a cache.
///
/// Thread safety: every member function may be called at any time from any thread, also from tasks, event
/// callbacks and completion handlers (rule 27). The destructor is `clear()` and lets go: no call may be
/// *entering* then, but calls that wait or run are fine (rule 30); it does not wait for tasks, only for user
/// code that the group has called on other threads (rule 40): event callbacks, and whatever its helper
/// threads run (rule 33), coroutines and callbacks without a scheduler that a time limit has resumed, and
/// stop callbacks among it. So do not hold then what these need.
///
/// `Key` is any equality-comparable type that can be moved and owns what it compares. With a string-like key
/// the bytes are what counts, and calls with `std::string_view` or literals look up without building a
/// string; a string-like type with an `==` and a `std::hash` of its own keeps them. `Hash` and `Equal` run
/// under a lock and must not call the group. Copying a `Key` for an exception happens outside of locks.
///
/// What is given for a key (rule 36) is a `Key`, or becomes one only if nothing can be lost: any integer for
/// an integer (see `run` for values that do not fit); text for text; for other classes what converts to them
/// implicitly, without narrowing or slicing. Bool, characters, floating-point numbers, pointers,
/// enumerations, `std::pair`, `std::tuple`, `std::optional` and `std::chrono`'s types must be a `Key`. If
/// both `Hash` and `Equal` have `is_transparent`, what they take without narrowing it is looked up as it is,
/// and a key is made of it by a constructor, explicit ones included. All else is refused at compile time,
/// `nullptr` always.
template <class Key, class Hash = default_hash<Key>, class Equal = default_equal<Key>,
          class Platform = std_platform>
class basic_group {
  static_assert(std::is_object_v<Key> && std::same_as<Key, std::decay_t<Key>>,
                "cacheflight: Key is a plain type: no reference, no array, not const");
  static_assert(!detail::points_at_text<Key>,
                "cacheflight: pointers do not own their text; use std::string keys");
  static_assert(!detail::views_text<Key>, "cacheflight: views do not own their text; use std::string keys");
  static_assert(
      requires(Hash const& hash, Equal const& equal, Key const& key) {
        static_cast<std::uint64_t>(hash(key));
        static_cast<bool>(equal(key, key));
      },
      "cacheflight: Key needs std::hash and ==, or give the group a Hash and an Equal of its own "
      "(for a class whose text is all that counts: cacheflight::keyed_string_hash and "
      "cacheflight::string_equal)");

 public:
  using key_type = Key;            ///< What flights are told apart by.
  using hasher = Hash;             ///< Hashes keys, and what they are looked up by.
  using key_equal = Equal;         ///< Compares them.
  using platform_type = Platform;  ///< Mutex, clock and threads: `std_platform` outside of tests.

  /// No cap, no default timeout, no events. Throws what `Hash` and memory allocation throw.
  basic_group() : basic_group(options{}) {}
  /// As `opts` says. Throws what memory allocation throws, and what moving its arguments throws.
  explicit basic_group(options opts, Hash hash = Hash(), Equal equal = Equal())
      : hash_(std::move(hash)),
        equal_(std::move(equal)),
        core_(new detail::core<Platform>(std::move(opts))) {}

  basic_group(basic_group const&) = delete;
  basic_group& operator=(basic_group const&) = delete;
  /// `clear()`, and lets go: see above.
  ~basic_group() { core_->let_go(); }

  /// Joins the flight of `key`, or leads a new one that runs `task(args...)` (rules 1 and 2). What it returns
  /// and how the caller waits depends on what the task returns, and is said in full in the front's header:
  ///
  /// | the task returns | include | `run` returns |
  /// |---|---|---|
  /// | `asio::awaitable<T>` | `cacheflight/asio.hpp` | `asio::awaitable<std::shared_ptr<T const>>` |
  /// | another coroutine | `cacheflight/coroutine.hpp` | what any coroutine can await, for the same |
  /// | a sender of a `T` | `cacheflight/sender.hpp` | a sender of a `std::shared_ptr<T const>` |
  /// | a plain `T` | `cacheflight/blocking.hpp` | `std::shared_ptr<T const>`, once there is a result |
  /// | later, by callback | `cacheflight/callback.hpp` | `start` instead of `run`, with a callback |
  ///
  /// A `T` that is `void` comes back as `void`.
  ///
  /// `task` and `args` are bound as `std::jthread` does it: decayed copies, moved into the call when it
  /// leads, passed as rvalues, destroyed when the task has unwound; `std::ref` passes references. If the task
  /// takes a leading `std::stop_token`, `stop_flag` or `task_context` it gets one. In an expression with a `co_await` prefer
  /// a function with bound arguments to a capturing lambda, and build no aggregates: g++ 12 destroys closures
  /// and aggregates there twice.
  ///
  /// The key is bound like an argument: what owns its text, a `std::string` or a `char` buffer, is copied or
  /// moved into the call; a `std::string_view`, `char const*` or literal is borrowed until the call has been
  /// awaited; only a caller that leads makes a key of it. A `char` pointer or buffer is text up to its first
  /// zero.
  ///
  /// Errors, where the front delivers them: what the task threw, unchanged (rule 7); `timeout_error`,
  /// `cancelled_error`, `abandoned_error`; `max_keys_error` and `type_mismatch_error` if the call could
  /// neither join nor lead; what hashing, comparing or binding threw, and `std::bad_alloc`, for this call
  /// alone (rule 31). Thrown at once, by this function itself in every front, before there is a call:
  /// `std::invalid_argument` for a null task or a null `char const*` as a key, `std::out_of_range` for an
  /// integer that is no value of the group's key type.
  ///
  /// Average complexity: one hash, one lock and one lookup to join; one lock more, and memory for the flight
  /// and its result (which each thread recycles), to lead.
  template <class K, class F, class... Args>
    requires(!detail::options_argument<F>)
  [[nodiscard(
      "cacheflight: co_await what run returns, or nothing runs; "
      "(void) what a blocking run returns, if you do not need it")]] auto
  run(K&& key, F&& task, Args&&... args) {
    detail::require_order<K, F>();
    return dispatch(std::forward<K>(key), detail::no_options{},
                    detail::bind_task(std::forward<F>(task), std::forward<Args>(args)...));
  }

  /// The same, with options for this call.
  template <class K, class F, class... Args>
  [[nodiscard(
      "cacheflight: co_await what run returns, or nothing runs; "
      "(void) what a blocking run returns, if you do not need it")]] auto
  run(K&& key, run_options opts, F&& task, Args&&... args) {
    detail::require_order<K, F>();
    return dispatch(std::forward<K>(key), std::move(opts),
                    detail::bind_task(std::forward<F>(task), std::forward<Args>(args)...));
  }

  /// Joins or leads like `run`, and has `callback(std::exception_ptr, std::shared_ptr<T const>)` called once
  /// with the outcome (`callback(std::exception_ptr)` for `void`). Bind the task's arguments with
  /// `std::bind_front`. Needs `<cacheflight/callback.hpp>`, which says which tasks, and who calls. Throws at
  /// once what `run` throws at once.
  template <class K, class F, class Callback>
    requires(!detail::options_argument<F>)
  void start(K&& key, F&& task, Callback&& callback) {
    begin(std::forward<K>(key), detail::no_options{}, std::forward<F>(task),
          std::forward<Callback>(callback));
  }

  /// The same, with options for this call.
  template <class K, class F, class Callback>
  void start(K&& key, run_options opts, F&& task, Callback&& callback) {
    begin(std::forward<K>(key), std::move(opts), std::forward<F>(task), std::forward<Callback>(callback));
  }

  /// Whether a joinable flight has the key now; false for an integer that is no value of the key type. Throws
  /// what hashing, comparing and converting the key throw, and `std::invalid_argument` for a null `char
  /// const*`.
  template <class K>
  [[nodiscard]] bool has(K const& key) const {
    return binding::with_probe(key, [this](auto const& probe) {
      return core_->has(hash_of(probe), [&](flight_type const& f) { return same_key(own_key(f), probe); });
    });
  }

  /// Joinable flights. Exact at rest; while calls are in progress, a number that was right for each part of
  /// the table when it was read.
  [[nodiscard]] std::size_t size() const noexcept { return core_->size(); }

  /// Dooms the flight of `key`, whether or not its task has started or obeys: when this returns, the key is
  /// free and the outcome of every waiter is `cancelled_error`; the task has been asked to stop, and what it
  /// still yields is dropped (rules 13 and 15). Returns false if no joinable flight had the key. Throws what
  /// `has` throws.
  template <class K>
  bool cancel(K const& key) {
    return binding::with_probe(key, [this](auto const& probe) {
      return core_->cancel(hash_of(probe), [&](flight_type const& f) { return same_key(own_key(f), probe); });
    });
  }

  /// The flight of `key`, if there is one, stops being joinable, and nothing else happens to it: its task
  /// goes on, and its waiters get its outcome; the last of them who leaves still dooms it. Who calls after
  /// this has returned gets nothing that was asked for before: the next call leads a new flight (rule 49).
  /// For after a write: `database.write(value); cache.erase(key); flights.supersede(key);`. Who fills a cache
  /// with what it was given, task or caller, must not store what is superseded: the guide *A cache in front*
  /// shows how. Returns whether there was such a flight. `clear()` reaches superseded flights, `cancel(key)`
  /// does not. Throws what `has` throws.
  template <class K>
  bool supersede(K const& key) {
    return binding::with_probe(key, [this](auto const& probe) {
      return core_->supersede(hash_of(probe),
                              [&](flight_type const& f) { return same_key(own_key(f), probe); });
    });
  }

  /// The same for every flight that was joinable when it was called; some that start meanwhile may be among
  /// them.
  void supersede() noexcept { core_->supersede_all(); }

  /// Cancels every flight that was up when it was called; some that start meanwhile may be among them.
  void clear() noexcept { core_->clear(); }

  /// From here on a call that would lead gets `closed_error` (rule 58). Calls still join what is up, and a
  /// task that was admitted before may still lead what it needs, with `run_options::within`. For ever; again
  /// it does nothing. Any thread, any time.
  void close() noexcept { core_->close(); }

  /// Whether it was closed, by `close` or by a drain.
  [[nodiscard]] bool closed() const noexcept { return core_->closed(); }

  /// `close()`, and then blocks this thread until nothing is up (rule 59): no flight, no task, also none that
  /// is asked to stop, and all callers have gone on. (A coroutine that another thread resumes may still be at
  /// it.) Returns true then; false if the group was destroyed meanwhile. Any number of threads may drain, and
  /// `async_drain` (Asio) and `when_drained` (coroutines, callbacks) are for those that must not block.
  ///
  /// Throws `deadlock_error` inside of what it would wait for, as far as that is known: a task that `run` has
  /// called on this stack and somebody waits for, an event, or a callback or coroutine that has its turn here.
  /// Nobody can tell for an event loop whose thread it blocks. Throws `std::bad_alloc`. The group is closed
  /// before, or in spite of that.
  bool drain() { return drain_for(detail::no_limit); }

  /// The same, for at most so long: then all that is up is cancelled, as by `clear()`, with the reason
  /// `cancel_reason::drain`, and everybody who drains gets false, without waiting for tasks to unwind. Throws
  /// `std::invalid_argument` if the time is zero or negative, and `std::system_error` if the thread that
  /// keeps time cannot be started.
  template <class Rep, class Period>
  bool drain(std::chrono::duration<Rep, Period> timeout) {
    return drain_for(detail::checked_limit(timeout, "drain's timeout"));
  }

  /// The flights that are up now, in no order: a moment's view of each part of the table. Detached tasks are
  /// not among them; `stats().detached` counts them. Any thread, any time (rule 27). Each part is
  /// locked for as long as it takes to note its flights, not for copying keys (rule 5). Throws what copying a
  /// key throws, and `std::bad_alloc`. Linear in the number of flights.
  [[nodiscard]] auto snapshot() const {
    return snapshot([](Key const& key) -> Key const& { return key; });
  }

  /// The same, with `name(key)` in place of the key: a redacted form, say (rule 32). `name` runs outside of
  /// locks.
  template <class Name>
    requires std::invocable<Name&, Key const&>
  [[nodiscard]] auto snapshot(Name&& name) const {
    using clock = typename Platform::clock;
    std::vector<flight_info<std::decay_t<std::invoke_result_t<Name&, Key const&>>>> up;
    core_->for_each_flight([&](auto const& seen, typename clock::time_point now) {
      using time_point = typename clock::time_point;
      flight_type const& f = *seen.flight;
      std::optional<std::chrono::nanoseconds> age, left;
      if (f.started() != time_point()) age = now - f.started();
      if (seen.until != (time_point::max)()) left = seen.until - now;
      up.push_back({std::invoke(name, own_key(f)), f.id(), seen.waiters, age, left,
                    seen.superseded ? flight_state::superseded : flight_state::joinable});
    });
    return up;
  }

  /// The books. Exact at rest; each flight's entries are made before its waiters resume (rule 23).
  [[nodiscard]] statistics stats() const noexcept { return core_->stats(); }

 private:
  friend struct detail::access;
  using core_type = detail::core<Platform>;

  bool drain_for(detail::limit timeout) {
    close();
    if (core_->is_around_here() || detail::inline_caller<Platform>::in_turn()) throw deadlock_error();
    auto fresh = std::make_unique<detail::drain_flight<Platform>>();
    detail::blocked_caller<Platform> self(detail::here());
    core_->drain(self, std::move(fresh), timeout, false);
    self.wait();
    return *self.template outcome<bool>();
  }

  using flight_type = detail::flight<Platform>;
  using keyed_type = detail::keyed_flight<Platform, Key>;

  using rules = detail::key_rules<Key, Hash, Equal>;
  using binding = detail::key_binding<Key, Hash, Equal>;

  [[nodiscard]] static Key const& own_key(flight_type const& f) noexcept {
    return static_cast<keyed_type const&>(f).own_key();
  }

  template <class Probe>
  [[nodiscard]] std::uint64_t hash_of(Probe const& probe) const {
    // Spreads what weak hashes, such as the identity of integers, leave in few bits.
    std::uint64_t h = static_cast<std::uint64_t>(hash_(probe));
    if constexpr (!std::same_as<Hash, keyed_string_hash> || sizeof(std::size_t) < sizeof h)
      h = (h ^ (h >> 32)) * 0x9e3779b97f4a7c15, h ^= h >> 29;
    return h;
  }

  /// As a plain `bool`: an `Equal` may return what has operators of its own.
  template <class Probe>
  [[nodiscard]] bool same_key(Key const& own, Probe const& probe) const {
    return static_cast<bool>(equal_(own, probe));
  }

  template <class K, class Options, class F, class Callback>
  void begin(K&& key, Options&& opts, F&& task, Callback&& callback) {
    detail::require_order<K, F>();
    using entry = detail::callback_entry<std::enable_if_t<!std::is_void_v<K>, basic_group>>;
    static_assert(detail::complete<entry>, "cacheflight: start needs #include <cacheflight/callback.hpp>");
    detail::require_task<std::decay_t<F>>(task);
    detail::require_callback<std::decay_t<Callback>>(callback);
    rules::template require_route<K>();
    if constexpr (detail::complete<entry> && rules::template accepts<K>)
      entry::start(*this, binding::bind(std::forward<K>(key)), std::forward<Options>(opts),
                   std::forward<F>(task), std::forward<Callback>(callback));
  }

  template <class K, class Options, class Task>
  auto dispatch(K&& key, Options&& opts, Task&& task) {
    using returned = typename std::remove_cvref_t<Task>::result;
    if constexpr (std::is_reference_v<returned>) {
      (void)sizeof(detail::result_of_answer<returned>);  // says why not
    } else if constexpr (!rules::template accepts<K>) {
      rules::template require_route<K>();
    } else if constexpr (detail::has_front<returned>) {
      constexpr bool is_moved = std::same_as<K, Key>;
      if constexpr (requires { front<returned>::borrows_key; } && !is_moved &&
                    rules::template route<K>() == detail::key_route::text &&
                    detail::makes_key<Key, std::string_view>)
        return front<returned>::run(*this, detail::text_of_key(key), std::forward<Options>(opts),
                                    std::forward<Task>(task));
      else
        return front<returned>::run(*this, binding::bind(std::forward<K>(key)), std::forward<Options>(opts),
                                    std::forward<Task>(task));
    } else {
      detail::explain_missing_front<returned>();
    }
  }

  /// `core::enter` for a bound key: leads with a flight made by `build(key)`, throws for a call that can do
  /// neither.
  template <class K, class Options, class Build>
  detail::entry enter(K& key, detail::waiter<Platform>& w, Options const& opts, std::type_info const& type,
                      Build&& build, bool ready_to_suspend, bool lets_go = false) {
    auto const& probe = binding::probe_of(key);
    detail::call const c{hash_of(probe),
                         &type,
                         opts.timeout_or(core_->settings().default_timeout()),
                         opts.wait_timeout(),
                         &opts.metadata(),
                         opts.rare(),
                         ready_to_suspend,
                         lets_go};
    typename core_type::unseen_flight fresh;
    // Once a flight is built the key may have moved into it.
    auto const same = [&](flight_type const& f) {
      return fresh.get() ? same_key(own_key(f), own_key(*fresh.get())) : same_key(own_key(f), probe);
    };
    detail::entry const in = core_->enter(c, w, fresh, same, [&]() -> flight_type* { return build(key); });
    if (in.how == detail::admission::joined || in.how == detail::admission::leads) return in;
    refuse(in.how, fresh.get() ? fresh.get()->copy_key() : binding::copy(key), c, fresh);
  }

  /// Apart, so that calls which are not refused can be inlined.
  [[noreturn, gnu::noinline, gnu::cold]] void refuse(detail::admission how, detail::key_copy key,
                                                     detail::call const& c,
                                                     typename core_type::unseen_flight const& fresh) {
    using detail::admission;
    if (how == admission::type_mismatch) throw type_mismatch_error(std::move(key));
    if (how == admission::group_gone) throw cancelled_error(std::move(key), cancel_reason::destroyed);
    bool const closed = how == admission::closed;
    core_->report_refusal(key.view, c, fresh,
                          closed ? event_type::closed_rejected : event_type::max_keys_rejected);
    if (closed) throw closed_error(std::move(key));
    throw max_keys_error(std::move(key));
  }

  [[no_unique_address]] Hash hash_;
  [[no_unique_address]] Equal equal_;
  core_type* core_;
};

/// The group for text keys.
using group = basic_group<std::string>;

namespace detail {

/// What fronts and tests see of a group.
struct access {
  template <class Group>
  [[nodiscard]] static auto& core(Group& flights) noexcept {
    return *flights.core_;
  }
  template <class Group, class K>
  [[nodiscard]] static auto bind_key(K&& key) {
    return Group::binding::bind(std::forward<K>(key));
  }
  template <class Group, class K, class Options = run_options, class Build>
  static admission enter(Group& flights, K& key, waiter<typename Group::platform_type>& w,
                         Options const& opts, std::type_info const& type, Build&& build) {
    return flights.enter(key, w, opts, type, std::forward<Build>(build), false).how;
  }
  /// For a caller that can be resumed from now on.
  template <class Group, class K, class Options, class Build>
  static entry enter_suspended(Group& flights, K& key, waiter<typename Group::platform_type>& w,
                               Options const& opts, std::type_info const& type, Build&& build,
                               bool ready_to_suspend, bool lets_go = false) {
    return flights.enter(key, w, opts, type, std::forward<Build>(build), ready_to_suspend, lets_go);
  }
};

}  // namespace detail
}  // namespace cacheflight::inline v1
