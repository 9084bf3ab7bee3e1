// SPDX-License-Identifier: MIT
#pragma once

// A task on its way to the strand that it runs on.

#include <cacheflight/detail/asio/finished.hpp>
#include <cacheflight/detail/asio/serial.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// The strand must not get stuck; see `with_strand`. One that we made is no safer: in a context that is
/// going, what is in a strand's queue is never destroyed.
template <class Flight>
struct launching {
  explicit launching(Flight* f) : flight(f->referred()) {
    body.emplace(Flight::drive(typename Flight::reference(f)));
  }
  launching(launching const&) = delete;
  launching& operator=(launching const&) = delete;
  ~launching() { refuse(nullptr); }

  /// On the strand.
  void go() noexcept {
    if (taken.exchange(true)) return;
    std::exception_ptr failure;
    // A stop request that came first has found no coroutine to cancel; one that comes now waits for the
    // strand.
    if (Flight::core_type::may_start(*flight)) {
      try {
        flight->spawn(std::move(*body));
      } catch (...) {
        failure = std::current_exception();
      }
    }
    end(std::move(failure));
  }
  /// Does nothing if the executor has called, or will call, all the same.
  void refuse(std::exception_ptr failure) noexcept {
    if (!taken.exchange(true)) end(std::move(failure));
  }

 private:
  void end(std::exception_ptr failure) noexcept {
    body.reset();
    flight->handed_over(std::move(failure));
  }

  flight_reference<Flight> flight;
  std::optional<typename Flight::body_type> body;
  std::atomic<bool> taken{false};
};

/// What is posted for it.
template <class Flight>
struct starter {
  std::shared_ptr<launching<Flight>> task;
  void operator()() const noexcept { task->go(); }

  struct attempt_type {
    std::shared_ptr<launching<Flight>> task;
    void refused() const noexcept { task->refuse(std::current_exception()); }
  };
  [[nodiscard]] attempt_type attempt() const noexcept { return {task}; }
};

}  // namespace cacheflight::inline v1::detail::asio_front
