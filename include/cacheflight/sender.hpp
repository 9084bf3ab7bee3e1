// SPDX-License-Identifier: MIT
#pragma once

/// The front for senders (P2300, `std::execution` in C++26): tasks that return a sender make `run` return one.
///
/// The words of P2300 are those of stdexec, if `<stdexec/execution.hpp>` was included before or `CACHEFLIGHT_STDEXEC` is
/// defined; those of the standard library where it has senders (untested: no compiler here has them yet); otherwise
/// stand-ins in `cacheflight::execution`, with the same names, for senders written against the standard's members:
/// `sender_concept`, `completion_signatures` or `get_completion_signatures`, `connect`, `start`, `set_value`,
/// `set_error`, `set_stopped`, `get_env`, `query`. A task and all that await it need the same ones.
///
/// `run(key, task, args...)` completes with `set_value(std::shared_ptr<T const>)` (`set_value()` for `void`), with
/// `set_error(std::exception_ptr)` for every error of the flight or the call, or with `set_stopped()` if the receiver's
/// own stop token made this caller leave. `T` is what the task's sender sends: one value or none. Errors that are no
/// `std::exception_ptr` become one: of a `std::system_error` for a `std::error_code`, of the error itself otherwise. A
/// task's sender that completes with `set_stopped` without having been asked to has not answered: the flight ends as
/// abandoned. The sender can be connected as an lvalue, several times, if the key, the task and its arguments can be
/// copied: each of these operations is a call of its own.
///
/// The task's sender may ask its environment for a stop token (a `std::stop_token`) and, where the library has such
/// schedulers, for one that goes on where it is.
///
/// Who completes the receiver: the thread that ends the wait, as in `<cacheflight/coroutine.hpp>`; inside `start` if
/// the outcome is there at once and no turn is under way there. Leaving: the stop token of the receiver's environment. The operation state is the
/// waiter: joining allocates nothing. An operation state must not be destroyed between `start` and its completion, as
/// everywhere in P2300. Moving a receiver must not throw. The task, and the operation state that its sender made, are
/// destroyed when that has completed, before anybody gets the result. Unwinding that is no exception ends there, as in
/// coroutines.

#include <cacheflight/detail/execution.hpp>
#include <cacheflight/detail/launch.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {
namespace detail::sender_front {
inline namespace CACHEFLIGHT_SENDER_LIBRARY {

struct no_answer;

/// The type that all `set_value` signatures send.
template <class Signatures, class Found = no_answer>
struct answer_of;
template <template <class...> class List, class Found>
struct answer_of<List<>, Found> {
  static_assert(!std::is_same_v<Found, no_answer>, "cacheflight: the task's sender never sends a value");
  using type = Found;
};
template <template <class...> class List, class First, class... Rest, class Found>
struct answer_of<List<First, Rest...>, Found> : answer_of<List<Rest...>, Found> {};
template <template <class...> class List, class... Values, class... Rest, class Found>
struct answer_of<List<execution::set_value_t(Values...), Rest...>, Found> {
  static_assert(sizeof...(Values) <= 1,
                "cacheflight: the task's sender must send one value or none; send a struct or tuple");
  using sent =
      typename std::conditional_t<sizeof...(Values) == 0, std::type_identity<void>,
                                  std::remove_cvref<std::tuple_element_t<0, std::tuple<Values..., void>>>>::type;
  static_assert(std::is_same_v<Found, no_answer> || std::is_same_v<Found, sent>,
                "cacheflight: the task's sender may send values of different types; convert them to one");
  using type = typename answer_of<List<Rest...>, sent>::type;
};

template <class S>
using answer_t = typename answer_of<signatures_of<S>>::type;

/// The stop token of a receiver's environment; one that never stops if it has none.
template <class Receiver>
[[nodiscard]] auto stop_token_of(Receiver const& receiver) noexcept {
  if constexpr (requires { receiver.get_env().query(execution::get_stop_token_t{}); })
    return receiver.get_env().query(execution::get_stop_token_t{});
  else return std::stop_token();
}
template <class Token, class F>
struct stop_callback_of {
  using type = typename Token::template callback_type<F>;
};
template <class F>
struct stop_callback_of<std::stop_token, F> {
  using type = std::stop_callback<F>;
};

/// A flight whose task is a sender: owns the operation state.
template <class P, class Key, class Task>
class sender_flight final : public simple_flight<P, Key, Task, answer_t<typename Task::result>> {
  using answer = answer_t<typename Task::result>;
  using base = simple_flight<P, Key, Task, answer>;
  static_assert(!is_executor_bound<typename Task::function_type>,
                "cacheflight: a sender runs where it says; use the scheduler adaptors of your sender library");

 public:
  using core_type = core<P>;
  using base::base;

  [[nodiscard]] bool request_stop() noexcept override {
    stop_.request_stop();
    return base::request_stop();
  }

  /// The caller holds a reference meanwhile.
  void start() noexcept {
    if (!this->may_start()) return;
    core_type::retain(*this);  // the receiver's
    try {
      operation_.emplace(elide{[this] { return sender_front::connect(this->invoke(), receiver{this}); }});
    } catch (...) {
      return caught();
    }
    core_type::stoppable(*this);
    sender_front::start(*operation_);
  }

 private:
  struct receiver {
    using receiver_concept = execution::receiver_tag;
    sender_flight* flight;

    template <class... Values>
    void set_value(Values&&... values) && noexcept {
      std::shared_ptr<void const> made;
      try {
        if constexpr (!std::is_void_v<answer>) made = base::result::make(answer(std::forward<Values>(values)...));
      } catch (...) {
        return flight->caught();
      }
      flight->end(cause::resolved, std::move(made), nullptr);
    }
    template <class Error>
    void set_error(Error&& error) && noexcept {
      if constexpr (std::is_same_v<std::remove_cvref_t<Error>, std::exception_ptr>)
        flight->end(cause::rejected, nullptr, std::forward<Error>(error));
      else if constexpr (std::is_same_v<std::remove_cvref_t<Error>, std::error_code>)
        flight->end(cause::rejected, nullptr, std::make_exception_ptr(std::system_error(error)));
      else flight->end(cause::rejected, nullptr, std::make_exception_ptr(std::forward<Error>(error)));
    }
    void set_stopped() && noexcept { flight->end(cause::abandoned, nullptr, nullptr); }
    [[nodiscard]] task_environment get_env() const noexcept { return {&flight->stop_}; }
  };
  /// Constructs an immovable object in place.
  template <class F>
  struct elide {
    F make;
    operator std::invoke_result_t<F>() { return make(); }
  };
  template <class F>
  elide(F) -> elide<F>;

  /// In a handler.
  void caught() noexcept {
    if (unwinding()) end(cause::abandoned, nullptr, nullptr);
    else end(cause::rejected, nullptr, std::current_exception());
  }

  /// The operation has completed, and so may be destroyed; it may refer to the task, and goes first.
  void end(cause why, std::shared_ptr<void const> value, std::exception_ptr exception) noexcept {
    operation_.reset();
    this->unwind(why, std::move(value), std::move(exception));
    core_type::release(*this);
  }

  std::stop_source stop_;
  std::optional<decltype(sender_front::connect(std::declval<typename Task::result>(), std::declval<receiver>()))>
      operation_;
};

template <class Group, class K, class Task, class Receiver>
class operation_state final : inline_caller<typename Group::platform_type> {
  using P = typename Group::platform_type;
  using core_type = core<P>;
  using flight_type = sender_flight<P, typename Group::key_type, Task>;
  using result = result_of_answer<answer_t<typename Task::result>>;
  using stop_token = decltype(sender_front::stop_token_of(std::declval<Receiver const&>()));
  using stop_callback = typename stop_callback_of<stop_token, leave_on_stop<P>>::type;

 public:
  using operation_state_concept = execution::operation_state_tag;

  operation_state(Group* g, K key, run_options opts, Task task, Receiver receiver)
      : flights_(g),
        key_(std::move(key)),
        opts_(std::move(opts)),
        task_(std::move(task)),
        receiver_(std::move(receiver)) {}
  operation_state(operation_state&&) = delete;
  ~operation_state() = default;  // what watches the tokens goes first

  void start() & noexcept {
    auto const build = [&](K& k) { return new flight_type(std::move(k), opts_.take_metadata(), std::move(task_)); };
    bool leads = false;
    try {
      leads = access::enter(*flights_, key_, *this, opts_, detail::type_of<typename result::value_type>(), build) ==
              admission::leads;
    } catch (...) {
      return std::move(receiver_).set_error(std::current_exception());
    }
    if (stop_token const stop = sender_front::stop_token_of(receiver_); stop.stop_possible())
      on_stop_.emplace(stop, leave_on_stop<P>{this});
    if (opts_.stop_token().stop_possible()) on_own_stop_.emplace(opts_.stop_token(), leave_on_stop<P>{this});
    if (!leads) {
      if (!core_type::arm(*this)) core_type::give_turn(*this);
      return;
    }
    auto* const flight = static_cast<flight_type*>(this->joined());
    core_type::retain(*flight);
    if (!core_type::arm(*this)) core_type::give_turn(*this);
    // From here on this may be gone.
    flight->start();
    core_type::release(*flight);
  }

 private:
  [[nodiscard]] bool hand_over(typename waiter<P>::waiters& others) noexcept override {
    this->queue_turns(others);
    return true;
  }

  void take_turn() noexcept override {
    unwatch();
    bool left = false;
    std::shared_ptr<typename result::value_type const> value;
    std::exception_ptr failure;
    {
      finish_guard<P> const at_exit(*this);
      left = this->how_left() == departure::left;
      if (!left) failure = failure_of<P>(*this->joined(), this->how_left());
      if (!left && !failure) value = core_type::template take_value<typename result::value_type>(*this->joined());
    }
    Receiver receiver = std::move(receiver_);  // completing may destroy this
    if (left) std::move(receiver).set_stopped();
    else if (failure) std::move(receiver).set_error(std::move(failure));
    else if constexpr (std::is_void_v<typename result::type>) std::move(receiver).set_value();
    else std::move(receiver).set_value(std::move(value));
  }

  void unwatch() noexcept {
    on_stop_.reset();
    on_own_stop_.reset();
  }

  Group* flights_;
  K key_;
  run_options opts_;
  Task task_;
  Receiver receiver_;
  std::optional<stop_callback> on_stop_;
  std::optional<std::stop_callback<leave_on_stop<P>>> on_own_stop_;
};

template <class Result>
struct sent_signatures {
  using type = execution::completion_signatures<execution::set_value_t(Result),
                                                execution::set_error_t(std::exception_ptr), execution::set_stopped_t()>;
};
template <>
struct sent_signatures<void> {
  using type = execution::completion_signatures<execution::set_value_t(), execution::set_error_t(std::exception_ptr),
                                                execution::set_stopped_t()>;
};

/// What `run` returns.
template <class Group, class K, class Task>
class [[nodiscard]] run_sender {
 public:
  using sender_concept = execution::sender_tag;
  using completion_signatures =
      typename sent_signatures<typename result_of_answer<answer_t<typename Task::result>>::type>::type;

  template <class, class...>
  static consteval completion_signatures get_completion_signatures() noexcept {
    return {};
  }

  run_sender(Group* g, K key, run_options opts, Task task)
      : flights_(g), key_(std::move(key)), opts_(std::move(opts)), task_(std::move(task)) {}

  template <class Receiver>
  [[nodiscard]] auto connect(Receiver receiver) && {
    return operation_state<Group, K, Task, Receiver>(flights_, std::move(key_), std::move(opts_), std::move(task_),
                                                     std::move(receiver));
  }
  template <class Receiver>
    requires std::copy_constructible<K> && std::copy_constructible<Task>
  [[nodiscard]] auto connect(Receiver receiver) const& {
    return operation_state<Group, K, Task, Receiver>(flights_, key_, opts_, task_, std::move(receiver));
  }

 private:
  Group* flights_;
  K key_;
  run_options opts_;
  Task task_;
};

}  // namespace CACHEFLIGHT_SENDER_LIBRARY
}  // namespace detail::sender_front

/// Tasks that return a sender: `run` returns a sender.
template <detail::sender_front::sender Returned>
struct front<Returned> {
  template <class Group, class K, class Task>
  [[nodiscard]] static auto run(Group& flights, K key, run_options opts, Task task) {
    return detail::sender_front::run_sender<Group, K, Task>(std::addressof(flights), std::move(key), std::move(opts),
                                                            std::move(task));
  }
};

}  // namespace cacheflight::inline v1

#undef CACHEFLIGHT_SENDER_LIBRARY
