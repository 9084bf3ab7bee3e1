// SPDX-License-Identifier: MIT
#pragma once

// A task that returns a sender: what it sends, and the flight that owns its operation.

#include <cacheflight/detail/launch.hpp>
#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/sender/execution.hpp>
#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::sender_front {
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
  using sent = typename std::conditional_t<
      sizeof...(Values) == 0, std::type_identity<void>,
      std::remove_cvref<std::tuple_element_t<0, std::tuple<Values..., void>>>>::type;
  static_assert(std::is_same_v<Found, no_answer> || std::is_same_v<Found, sent>,
                "cacheflight: the task's sender may send values of different types; convert them to one");
  using type = typename answer_of<List<Rest...>, sent>::type;
};

template <class S>
using answer_t = typename answer_of<signatures_of<S>>::type;

/// A flight whose task is a sender: owns the operation state.
template <class P, class Key, class Task>
class sender_flight final : public simple_flight<P, Key, Task, answer_t<typename Task::result>> {
  using answer = answer_t<typename Task::result>;
  using base = simple_flight<P, Key, Task, answer>;
  static_assert(
      !is_executor_bound<typename Task::function_type>,
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
        if constexpr (!std::is_void_v<answer>)
          made = base::result::make(answer(std::forward<Values>(values)...));
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
  std::optional<decltype(sender_front::connect(std::declval<typename Task::result>(),
                                               std::declval<receiver>()))>
      operation_;
};

}  // namespace CACHEFLIGHT_SENDER_LIBRARY
}  // namespace cacheflight::inline v1::detail::sender_front
