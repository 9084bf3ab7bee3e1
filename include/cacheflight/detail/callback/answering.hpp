// SPDX-License-Identifier: MIT
#pragma once

// A task that answers through a completion: how `answering` marks it, and its flight.

#include <cacheflight/detail/unwinding.hpp>
#include <cacheflight/group.hpp>

#include <any>
#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <stop_token>
#include <type_traits>
#include <typeinfo>
#include <utility>

namespace cacheflight::inline v1 {

template <class T>
class completion;

namespace detail::callback_front {

/// The flight as a completion sees it: without its types.
template <class T>
class answer_target {
 public:
  virtual bool resolve(std::shared_ptr<void const> value) noexcept = 0;
  virtual bool reject(std::exception_ptr exception) noexcept = 0;
  virtual void drop() noexcept = 0;
  [[nodiscard]] virtual std::stop_token stop() = 0;
  [[nodiscard]] virtual bool stopped() noexcept = 0;

 protected:
  ~answer_target() = default;
};

/// What a callback-style task "returns": a front of its own.
template <class T>
struct answers {
  using type = T;
};

template <class T, class F>
struct answering_task : answers_later {
  F function;
  explicit answering_task(F f) : function(std::move(f)) {}

  template <class... Args>
    requires std::is_invocable_v<F, completion<T>, Args...>
  answers<T> operator()(completion<T> done, Args&&... args) {
    std::invoke(std::move(function), std::move(done), std::forward<Args>(args)...);
    return {};
  }
};
template <class F>
struct inner_of {
  using type = void;
};
template <class T, class F>
struct inner_of<answering_task<T, F>> {
  using type = F;
};
template <class F>
struct is_answering : std::false_type {};
template <class T, class F>
struct is_answering<answering_task<T, F>> : std::true_type {
  using type = T;
};

/// What a task of `start` answers with.
template <class F>
struct answer_of_task {
  using type = typename bound_task<F>::result;
};
template <class T, class F>
struct answer_of_task<answering_task<T, F>> {
  using type = T;
};

/// A flight whose task answers through a completion. It can always be asked to stop: the completion has the
/// token.
template <class P, class Key, class F, class T>
class answering_flight final : public keyed_flight<P, Key>, private answer_target<T> {
 public:
  using core_type = core<P>;
  using value_type = typename result_of_answer<T>::value_type;

  template <class K>
  answering_flight(K&& key, std::any&& metadata, F&& task)
      : keyed_flight<P, Key>(std::forward<K>(key), std::move(metadata)), task_(std::move(task)) {}
  ~answering_flight() override {
    if (has_task_) std::destroy_at(std::addressof(task_));
  }

  [[nodiscard]] std::type_info const& type() const noexcept override { return detail::type_of<value_type>(); }

  [[nodiscard]] bool request_stop() noexcept override {
    std::stop_source stop(std::nostopstate);
    core_type::locked(*this, [&] {
      stopped_ = true;
      stop = stop_;
    });
    stop.request_stop();
    return true;
  }

  /// Consumes the task's reference, which becomes the completion's: the flight may be gone afterwards. Throws
  /// nothing, but lets through what unwinds the stack.
  void start() {
    if (!core_type::may_start(*this)) {
      destroy_task();
      return core_type::settle(*this, cause::abandoned, nullptr, nullptr);
    }
    core_type::stoppable(*this);
    core_type::retain(
        *this);  // for what follows the task, and then for a completion that outlives its flight
    std::exception_ptr failure;
    try {
      task_(completion<T>(this));
    } catch (...) {
      if (unwinding()) {
        returned(cause::abandoned, nullptr);
        throw;
      }
      failure = std::current_exception();
    }
    returned(failure ? cause::rejected : cause::open, std::move(failure));
  }

 private:
  /// `starting`: the task's function has not returned; `expected`: it has; `dropped`: the completion went
  /// before it did.
  enum class answer : unsigned char { starting, expected, dropped, settled };

  /// The task's function is through; `failed` says how if it did not return. Its captures go before its
  /// flight: one of them may be what keeps the completion.
  void returned(cause failed, std::exception_ptr&& failure) noexcept {
    destroy_task();
    bool const threw = failed != cause::open;
    // If the task threw, its error is the outcome, unless it answered first; that the completion was dropped
    // then does not count.
    answer const before =
        answer_.exchange(threw ? answer::settled : answer::expected, std::memory_order_acq_rel);
    bool const outlived = before == answer::starting && threw;
    if (before == answer::settled) answer_.store(answer::settled, std::memory_order_relaxed);
    else if (threw) settle(failed, nullptr, std::move(failure));
    else if (before == answer::dropped) settle(cause::abandoned, nullptr, nullptr);
    if (!outlived) core_type::release(*this);
  }

  void destroy_task() noexcept {
    has_task_ = false;
    std::destroy_at(std::addressof(task_));
  }

  bool resolve(std::shared_ptr<void const> value) noexcept override {
    return end(cause::resolved, std::move(value), nullptr);
  }
  bool reject(std::exception_ptr exception) noexcept override {
    return end(cause::rejected, nullptr, std::move(exception));
  }
  void drop() noexcept override {
    answer before = answer::starting;
    if (answer_.compare_exchange_strong(before, answer::dropped, std::memory_order_acq_rel)) return;
    end(cause::abandoned, nullptr, nullptr);
  }
  [[nodiscard]] std::stop_token stop() override {
    std::stop_source fresh;
    bool stopped = false;
    std::stop_token const token = core_type::locked(*this, [&] {
      if (!stop_.stop_possible()) std::swap(stop_, fresh), stopped = stopped_;
      return stop_.get_token();
    });
    if (stopped) (void)request_stop();
    return token;
  }

  [[nodiscard]] bool stopped() noexcept override {
    return core_type::locked(*this, [this] { return stopped_; });
  }

  bool end(cause why, std::shared_ptr<void const> value, std::exception_ptr exception) noexcept {
    bool const first = answer_.exchange(answer::settled, std::memory_order_acq_rel) != answer::settled;
    if (first) settle(why, std::move(value), std::move(exception));
    else core_type::release(*this);
    return first;
  }

  void settle(cause why, std::shared_ptr<void const> value, std::exception_ptr exception) noexcept {
    core_type::settle(*this, why, std::move(value), std::move(exception));
  }

  union {
    F task_;  // until it has returned
  };
  std::stop_source stop_{
      std::nostopstate};  // made when the task asks for it; this and the next under the shard's lock
  bool stopped_ = false;
  std::atomic<answer> answer_{answer::starting};
  bool has_task_ = true;  // an optional would take eight bytes more
};

}  // namespace detail::callback_front

}  // namespace cacheflight::inline v1
