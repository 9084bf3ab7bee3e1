// SPDX-License-Identifier: MIT
#pragma once

/// `std::future` as a result, for callers that want to go on and ask later.

#include <cacheflight/callback.hpp>

#include <exception>
#include <future>
#include <memory>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

/// Joins or leads like `group::start`, with the same tasks, and returns a `std::future` of `std::shared_ptr<T
/// const>` (`void` for `void`):
///
///     auto task = cacheflight::on(on_pool, std::bind_front(load_user, id));
///     std::future<std::shared_ptr<user const>> u = cacheflight::run_future(flights, "user:" + id, task);
///
/// A task that returns a plain value and has no executor (`on`) runs inside this call. The future is ready as
/// soon as the flight has ended, inside the call that ended it. The future's errors are those of the callback
/// front. Destroying the future does not make the caller leave, nor does it block; `run_options::stop_token`
/// and `wait_timeout` do make it leave.
template <class Key, class Hash, class Equal, class Platform, class K, class F>
[[nodiscard]] auto run_future(basic_group<Key, Hash, Equal, Platform>& flights, K&& key, run_options opts,
                              F&& task) {
  using answer = typename detail::callback_front::answer_of_task<std::decay_t<F>>::type;
  using result = typename detail::result_of_answer<answer>::type;
  // A promise that is destroyed unanswered while it has a future allocates in its destructor: it gets one
  // when the call is under way.
  auto const promise = std::make_shared<std::promise<result>>();
  if constexpr (std::is_void_v<answer>) {
    flights.start(std::forward<K>(key), std::move(opts), std::forward<F>(task),
                  detail::callback_front::immediate{[promise](std::exception_ptr error) {
                    if (error) promise->set_exception(std::move(error));
                    else promise->set_value();
                  }});
  } else {
    flights.start(std::forward<K>(key), std::move(opts), std::forward<F>(task),
                  detail::callback_front::immediate{[promise](std::exception_ptr error, result value) {
                    if (error) promise->set_exception(std::move(error));
                    else promise->set_value(std::move(value));
                  }});
  }
  return promise->get_future();
}
/// The same, without options.
template <class Key, class Hash, class Equal, class Platform, class K, class F>
  requires(!detail::options_argument<F>)
[[nodiscard]] auto run_future(basic_group<Key, Hash, Equal, Platform>& flights, K&& key, F&& task) {
  return cacheflight::run_future(flights, std::forward<K>(key), run_options{}, std::forward<F>(task));
}

}  // namespace cacheflight::inline v1
