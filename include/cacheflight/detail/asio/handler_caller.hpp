// SPDX-License-Identifier: MIT
#pragma once

// A caller with a completion handler: `async_run`.

#include <cacheflight/detail/asio/caller.hpp>
#include <cacheflight/detail/asio/task_flight.hpp>

#include <exception>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

template <class Result>
struct signature {
  using type = void(std::exception_ptr, Result);
};
template <>
struct signature<void> {
  using type = void(std::exception_ptr);
};

/// A caller with a completion handler: `async_run`.
template <class P, class Answer, class Handler, class IoExecutor>
class handler_caller final : public caller<P> {
 public:
  using core_type = core<P>;
  using value_type = typename result_of_answer<Answer>::value_type;
  using executor_type = net::associated_executor_t<Handler, IoExecutor>;
  using allocator_type = net::associated_allocator_t<Handler>;

  using work_type = std::decay_t<decltype(net::prefer(std::declval<executor_type const&>(),
                                                      net::execution::outstanding_work.tracked))>;

  [[nodiscard]] static handler_caller* make(Handler&& handler, IoExecutor const& io) {
    allocator here(net::get_associated_allocator(handler));
    handler_caller* const memory = std::allocator_traits<allocator>::allocate(here, 1);
    try {
      return ::new (static_cast<void*>(memory)) handler_caller(std::move(handler), io);
    } catch (...) {
      std::allocator_traits<allocator>::deallocate(here, memory, 1);
      throw;
    }
  }

  using caller<P>::watch;

  /// A member of some flight, or about to complete with what kept it from becoming one.
  void go() noexcept { this->suspend(net::get_associated_cancellation_slot(handler_)); }

  void fail(std::exception_ptr failure) {
    this->failure_ = failure;
    typename waiter<P>::waiters alone;
    if (this->hand_over(alone)) return;
    (void)take();
    std::rethrow_exception(failure);
  }

 private:
  using allocator = typename std::allocator_traits<allocator_type>::template rebind_alloc<handler_caller>;

  handler_caller(Handler&& handler, IoExecutor const& io)
      : caller<P>(context_guard::of(net::get_associated_executor(handler, io))),
        executor_(net::get_associated_executor(handler, io)),
        work_(net::prefer(executor_, net::execution::outstanding_work.tracked)),
        handler_(std::move(handler)) {}
  ~handler_caller() = default;

  [[nodiscard]] bool hand_over(typename waiter<P>::waiters&) noexcept override {
    return this->post_turn(executor_, net::get_associated_allocator(handler_));
  }

  /// The handler, when everything else is freed; the work goes with it.
  struct taken {
    work_type work;
    Handler handler;
  };
  [[nodiscard]] taken take() noexcept {
    this->unwatch();
    this->unpark();
    clear_slot();
    allocator here(net::get_associated_allocator(handler_));
    taken out{std::move(work_), std::move(handler_)};
    this->~handler_caller();
    std::allocator_traits<allocator>::deallocate(here, this, 1);
    return out;
  }

  void clear_slot() noexcept {
    if (auto slot = net::get_associated_cancellation_slot(handler_); slot.is_connected()) slot.clear();
  }

  void take_turn() override {
    clear_slot();
    std::exception_ptr failure;
    std::shared_ptr<value_type const> value;
    if (this->joined()) {
      try {
        value = this->template outcome<value_type>();
      } catch (...) {
        failure = std::current_exception();
      }
    } else {
      failure = this->failure_;
    }
    taken mine = take();
    if constexpr (std::is_void_v<Answer>) std::move(mine.handler)(std::move(failure));
    else std::move(mine.handler)(std::move(failure), std::move(value));
  }

  void drop_turn() noexcept override { (void)take(); }

  executor_type executor_;
  work_type work_;  // the context runs as long as this caller waits
  Handler handler_;
};

template <class Task>
struct awaitable_of;
template <class T, class Executor>
struct awaitable_of<net::awaitable<T, Executor>> {
  using answer = T;
  using executor_type = Executor;
};

template <class Group, class IoExecutor>
struct initiate_run {
  Group* flights;
  IoExecutor io;

  using executor_type = IoExecutor;
  [[nodiscard]] executor_type get_executor() const noexcept { return io; }

  template <class Handler, class K, class Task>
  void operator()(Handler&& handler, K key, run_options opts, Task task) const {
    using awaitable = awaitable_of<typename Task::result>;
    using caller_type =
        handler_caller<typename Group::platform_type, typename awaitable::answer, std::decay_t<Handler>, IoExecutor>;
    auto* const self = caller_type::make(std::decay_t<Handler>(std::forward<Handler>(handler)), io);
    std::exception_ptr failure;
    try {
      auto* const led =
          enter<typename awaitable::answer>(*flights, key, *self, opts, task, typename awaitable::executor_type(io));
      self->watch(opts.stop_token());  // before the task has begun (rule 34)
      if (led) led->start();
    } catch (...) {
      failure = std::current_exception();
    }
    if (failure) self->fail(std::move(failure));
    else self->go();
  }
};

template <class Group, class Executor, class K, class F, class Token>
auto start_run(Group& flights, Executor const& ex, K&& key, run_options opts, F&& task, Token&& token) {
  auto bound = bind_task(std::forward<F>(task));
  using awaitable = typename decltype(bound)::result;
  static_assert(
      requires { typename awaitable_of<awaitable>::answer; },
      "cacheflight: async_run takes tasks that return asio::awaitable<T>");
  using result = typename result_of_answer<typename awaitable_of<awaitable>::answer>::type;
  return net::async_initiate<Token, typename signature<result>::type>(
      initiate_run<Group, Executor>{&flights, ex}, token, access::bind_key<Group>(std::forward<K>(key)),
      std::move(opts), std::move(bound));
}

}  // namespace cacheflight::inline v1::detail::asio_front
