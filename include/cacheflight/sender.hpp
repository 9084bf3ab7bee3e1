// SPDX-License-Identifier: MIT
#pragma once

/// The front for senders (P2300, `std::execution` in C++26): tasks that return a sender make `run` return
/// one.
///
/// The words of P2300 are those of stdexec, if `<stdexec/execution.hpp>` was included before or
/// `CACHEFLIGHT_STDEXEC` is defined; those of the standard library where it has senders (untested: no
/// compiler here has them yet); otherwise stand-ins in `cacheflight::execution`, with the same names, for
/// senders written against the standard's members: `sender_concept`, `completion_signatures` or
/// `get_completion_signatures`, `connect`, `start`, `set_value`, `set_error`, `set_stopped`, `get_env`,
/// `query`. A task and all that await it need the same ones.
///
/// `run(key, task, args...)` completes with `set_value(std::shared_ptr<T const>)` (`set_value()` for `void`),
/// with `set_error(std::exception_ptr)` for every error of the flight or the call, or with `set_stopped()` if
/// the receiver's own stop token made this caller leave. `T` is what the task's sender sends: one value or
/// none. Errors that are no `std::exception_ptr` become one: of a `std::system_error` for a
/// `std::error_code`, of the error itself otherwise. A task's sender that completes with `set_stopped`
/// without having been asked to has not answered: the flight ends as abandoned. The sender can be connected
/// as an lvalue, several times, if the key, the task and its arguments can be copied: each of these
/// operations is a call of its own.
///
/// The task's sender may ask its environment for a stop token (a `std::stop_token`) and, where the library
/// has such schedulers, for one that goes on where it is.
///
/// Who completes the receiver: the thread that ends the wait, as in `<cacheflight/coroutine.hpp>`; inside
/// `start` if the outcome is there at once and no turn is under way there. Leaving: the stop token of the
/// receiver's environment. The operation state is the waiter: joining allocates nothing. An operation state
/// must not be destroyed between `start` and its completion, as everywhere in P2300. Moving a receiver must
/// not throw. The task, and the operation state that its sender made, are destroyed when that has completed,
/// before anybody gets the result. Unwinding that is no exception ends there, as in coroutines.

#include <cacheflight/detail/sender/execution.hpp>
#include <cacheflight/detail/sender/operation.hpp>
#include <cacheflight/group.hpp>

#include <memory>
#include <utility>

namespace cacheflight::inline v1 {

/// Tasks that return a sender: `run` returns a sender.
template <detail::sender_front::sender Returned>
struct front<Returned> {
  template <class Group, class K, class Task>
  [[nodiscard]] static auto run(Group& flights, K key, run_options opts, Task task) {
    return detail::sender_front::run_sender<Group, K, Task>(std::addressof(flights), std::move(key),
                                                            std::move(opts), std::move(task));
  }
};

}  // namespace cacheflight::inline v1

#undef CACHEFLIGHT_SENDER_LIBRARY
