// SPDX-License-Identifier: MIT
#pragma once

/// A function that coalesces its own calls: `cacheflight::wrap`.

#include <cacheflight/detail/task.hpp>
#include <cacheflight/group.hpp>
#include <cacheflight/keys.hpp>
#include <cacheflight/options.hpp>

#include <concepts>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace cacheflight::inline v1 {

template <class... Arguments>
inline constexpr bool detail::included<detail::wrap_header, Arguments...> = true;

/// What `wrap` returns. Thread safety: calls may be made at the same time from any threads.
template <class Group, class F>
class wrapped {
  static_assert(detail::string_like<typename Group::key_type>,
                "cacheflight: wrap needs a group with text keys");
  static_assert(std::copy_constructible<F>,
                "cacheflight: wrap calls the function many times, so it must be copyable");

 public:
  /// What `wrap` does.
  template <class G>
  wrapped(Group& flights, std::string prefix, run_options opts, G&& function)
      : flights_(std::addressof(flights)),
        prefix_(std::move(prefix)),
        options_(std::move(opts)),
        function_(std::forward<G>(function)) {
    detail::require_task<F>(function_);
  }

  /// `group.run(key(args...), function, args...)`: what that returns, and throws. It is as lazy, and owns
  /// what it needs: the key; a copy of the function; the arguments, text among them as `std::string`,
  /// whatever it was passed as.
  template <class... Args>
    requires(!detail::options_argument<Args> && ...)
  [[nodiscard]] auto operator()(Args&&... args) const {
    return (*this)(run_options(options_), std::forward<Args>(args)...);
  }

  /// The same with options for this call, instead of those that `wrap` was given.
  template <class... Args>
  [[nodiscard]] auto operator()(run_options opts, Args&&... args) const {
    std::string named = key(args...);  // first: it refuses what `own` cannot read
    return flights_->run(std::move(named), std::move(opts), function_, own(std::forward<Args>(args))...);
  }

  /// The key that a call with these arguments has, for `cancel` and `has`: `make_key(prefix, args...)`.
  template <class... Args>
  [[nodiscard]] std::string key(Args const&... args) const {
    return cacheflight::make_key(prefix_, args...);
  }

 private:
  /// The task may outlive its caller, and what a view or pointer of the caller's points at.
  template <class T>
  [[nodiscard]] static decltype(auto) own(T&& arg) {
    using bound = std::decay_t<T>;
    if constexpr (std::same_as<bound, std::string_view> || std::same_as<bound, char const*> ||
                  std::same_as<bound, char*>)
      return std::string(arg);
    else if constexpr (std::same_as<bound, std::optional<std::string_view>> ||
                       std::same_as<bound, std::optional<char const*>> ||
                       std::same_as<bound, std::optional<char*>>)
      return arg ? std::optional<std::string>(std::in_place, *arg) : std::nullopt;
    else return std::forward<T>(arg);
  }

  Group* flights_;
  std::string prefix_;
  run_options options_;
  F function_;
};

/// `function` with its calls coalesced by `flights`, under the key `make_key(prefix, args...)`:
///
///     auto get_user = cacheflight::wrap(flights, "user", fetch_user);
///     std::shared_ptr<user const> u = co_await get_user(id);  // blocks if fetch_user returns a plain value
///
/// Works for every task that the group's `run` takes: coroutines, plain functions, senders, with a leading
/// `std::stop_token` or without, wrapped in `on`. All arguments of a call become parts of its key and must be
/// what `make_key` takes. Bind what does not shape the result: `wrap(flights, "user",
/// std::bind_front(fetch_user, &pool))`. The prefix keeps the functions of one group apart; two with the same
/// prefix share flights, or fail with `type_mismatch_error`.
///
/// The group must outlive the wrapper and, where `run` is lazy, the await of what a call returned; the
/// wrapper itself need not. Throws `std::invalid_argument` if `function` is null.
template <class Group, class F>
  requires(!detail::options_argument<F>)
[[nodiscard]] auto wrap(Group& flights, std::string prefix, F&& function) {
  return wrapped<Group, std::decay_t<F>>(flights, std::move(prefix), run_options(),
                                         std::forward<F>(function));
}

/// The same, with options for every call that brings none of its own.
template <class Group, class F>
[[nodiscard]] auto wrap(Group& flights, std::string prefix, run_options opts, F&& function) {
  return wrapped<Group, std::decay_t<F>>(flights, std::move(prefix), std::move(opts),
                                         std::forward<F>(function));
}

}  // namespace cacheflight::inline v1
