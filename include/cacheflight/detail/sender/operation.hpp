// SPDX-License-Identifier: MIT
#pragma once

// What `run` returns, which is a sender, and the operation that waits once it is connected and started.

#include <cacheflight/detail/outcome.hpp>
#include <cacheflight/detail/sender/execution.hpp>
#include <cacheflight/detail/sender/task.hpp>
#include <cacheflight/detail/turns.hpp>
#include <cacheflight/detail/work.hpp>
#include <cacheflight/group.hpp>

#include <concepts>
#include <exception>
#include <memory>
#include <optional>
#include <stop_token>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::sender_front {
inline namespace CACHEFLIGHT_SENDER_LIBRARY {

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

/// A call that waits.
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
    auto const build = [&](K& k) {
      return new flight_type(std::move(k), opts_.take_metadata(), std::move(task_));
    };
    bool leads = false;
    try {
      leads = access::enter(*flights_, key_, *this, opts_, detail::type_of<typename result::value_type>(),
                            build) == admission::leads;
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
      if (!left && !failure)
        value = core_type::template take_value<typename result::value_type>(*this->joined());
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
  using type = execution::completion_signatures<
      execution::set_value_t(Result), execution::set_error_t(std::exception_ptr), execution::set_stopped_t()>;
};
template <>
struct sent_signatures<void> {
  using type =
      execution::completion_signatures<execution::set_value_t(), execution::set_error_t(std::exception_ptr),
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
    return operation_state<Group, K, Task, Receiver>(flights_, std::move(key_), std::move(opts_),
                                                     std::move(task_), std::move(receiver));
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
}  // namespace cacheflight::inline v1::detail::sender_front
