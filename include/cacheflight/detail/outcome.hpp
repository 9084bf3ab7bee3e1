// SPDX-License-Identifier: MIT
#pragma once

// What a caller that was released gets (rules 7 and 9), and gives back.

#include <cacheflight/detail/core.hpp>
#include <cacheflight/detail/process.hpp>

#include <exception>
#include <memory>

namespace cacheflight::inline v1::detail {

/// What a released waiter gets, unless it left by itself (`departure::left`), which each front reports in its
/// own world's words: an exception that is made here, where the caller resumes (rules 7, 14, 17, 18); null:
/// the flight's value.
template <class P>
[[nodiscard]] std::exception_ptr failure_of(flight<P> const& f, departure how) noexcept {
  if (how == departure::wait_timed_out)
    return std::make_exception_ptr(timeout_error(timeout_scope::wait, f.copy_key()));
  switch (f.why()) {
    case cause::resolved: return nullptr;
    case cause::rejected: return f.exception();
    case cause::timed_out: return std::make_exception_ptr(timeout_error(timeout_scope::flight, f.copy_key()));
    case cause::cancelled: return std::make_exception_ptr(cancelled_error(f.copy_key()));
    case cause::cleared: return std::make_exception_ptr(cancelled_error(f.copy_key(), cancel_reason::clear));
    case cause::drained: return std::make_exception_ptr(cancelled_error(f.copy_key(), cancel_reason::drain));
    case cause::destroyed:
      return std::make_exception_ptr(cancelled_error(f.copy_key(), cancel_reason::destroyed));
    default: return std::make_exception_ptr(abandoned_error(f.copy_key()));
  }
}

/// The same for those who throw.
template <class T, class P>
[[nodiscard]] std::shared_ptr<T const> outcome_of(waiter<P> const& w) {
  flight<P>& f = *w.joined();
  if (w.how_left() != departure::none || f.why() != cause::resolved)
    std::rethrow_exception(failure_of(f, w.how_left()));
  return core<P>::template take_value<T>(f);
}

/// Ends a waiter's membership at the end of a scope.
template <class P>
class finish_guard {
 public:
  explicit finish_guard(waiter<P>& w) noexcept : waiter_(w) {}
  finish_guard(finish_guard const&) = delete;
  finish_guard& operator=(finish_guard const&) = delete;
  ~finish_guard() { core<P>::finish(waiter_); }

 private:
  waiter<P>& waiter_;
};

/// Lets a waiter leave when a `std::stop_token` says so.
template <class P>
struct leave_on_stop {
  waiter<P>* self;
  void operator()() const noexcept { core<P>::leave(*self); }
};

}  // namespace cacheflight::inline v1::detail
