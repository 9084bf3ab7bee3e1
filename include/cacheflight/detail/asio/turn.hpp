// SPDX-License-Identifier: MIT
#pragma once

// A turn on its way to an executor, which may refuse it, or drop it.

#include <cacheflight/detail/asio/serial.hpp>
#include <cacheflight/detail/process.hpp>

#include <memory>
#include <tuple>
#include <utility>

namespace cacheflight::inline v1::detail::asio_front {

/// Turns being given to an executor on this thread. An executor that throws, or takes and drops, destroys the
/// function object it was given: the turns are not lost then.
struct submission {
  void const* what;
  bool dropped = false, taken = false;

  explicit submission(void const* w) noexcept : what(w), outer_(std::exchange(under_way, this)) {}
  submission(submission const&) = delete;
  submission& operator=(submission const&) = delete;
  ~submission() { end(); }
  void end() noexcept {
    if (under_way == this) under_way = outer_;
  }
  static submission* of(void const* w) noexcept {
    return under_way && under_way->what == w ? under_way : nullptr;
  }

 private:
  submission* outer_;
  CACHEFLIGHT_STATIC_TLS static inline thread_local constinit submission* under_way = nullptr;
};

/// Somebody who is given turns, one at a time. `Self` has
/// - `referred()`: a pointer to itself, by which a turn knows, or keeps, it;
/// - `take_turn()`: on its executor;
/// - `drop_turn()`: the turn was destroyed, and nobody will call it;
/// - `turn_refused()`: its strand refused the turn, which was on its way there (see `with_strand`).
template <class Self>
class turn_taker {
 public:
  turn_taker(turn_taker const&) = delete;
  turn_taker& operator=(turn_taker const&) = delete;

 protected:
  turn_taker() = default;
  ~turn_taker() = default;

  /// Posts a turn to its executor. False: refused, nothing has changed.
  template <class Executor, class Allocator = std::allocator<void>>
  [[nodiscard]] bool post_turn(Executor ex, Allocator const& allocator = {}) noexcept {
    return give_turn(ex, allocator, [](auto const& to, auto&& it) { net::post(to, std::move(it)); });
  }

  /// The same without a detour, where the thread is one of the executor's. Throws what is thrown by a handler
  /// that the executor calls at once; `this` is gone then.
  template <class Executor, class Allocator = std::allocator<void>>
  [[nodiscard]] bool dispatch_turn(Executor ex, Allocator const& allocator = {}) {
    return give_turn(ex, allocator, [](auto const& to, auto&& it) { net::dispatch(to, std::move(it)); });
  }

 private:
  [[nodiscard]] Self& self() noexcept { return static_cast<Self&>(*this); }

  template <class Executor, class Allocator, class Give>
  [[nodiscard]] bool give_turn(Executor const& ex, Allocator const& allocator, Give give) {
    using reference =
        decltype(self().referred());  // spelled out: clang 16 cannot deduce a nested template's arguments
    return asio_front::with_strand(ex, [&]<class Found>(Found const& found) {
      if constexpr (is_strand<Found>)
        return submit([&] {
          give(found.get_inner_executor(),
               turn<reference, Allocator, Found>(self().referred(), allocator, found));
        });
      else return submit([&] { give(found, turn<reference, Allocator>(self().referred(), allocator)); });
    });
  }

  /// `give` makes a turn and gives it to an executor. False: refused. Throws only what a handler threw that
  /// the executor called at once.
  template <class Give>
  [[nodiscard]] bool submit(Give&& give) {
    submission now(this);
    try {
      give();
    } catch (...) {
      if (now.taken) throw;
      if (!now.dropped) disown_(turn_);  // some queue has it still
      return false;
    }
    now.end();
    if (now.dropped) self().drop_turn();
    return true;
  }

  /// The function object that is the turn; on a strand if it has one.
  template <class Reference, class Allocator, class... Strand>
  class turn {
   public:
    using allocator_type = Allocator;
    turn(Reference self, Allocator const& allocator, Strand const&... strand) noexcept
        : self_(std::move(self)), allocator_(allocator), strand_(strand...) {
      here();
    }
    turn(turn&& other) noexcept
        : self_(std::exchange(other.self_, nullptr)),
          allocator_(other.allocator_),
          strand_(std::move(other.strand_)) {
      here();
    }
    turn& operator=(turn&&) = delete;
    ~turn() {
      if (!self_) return;
      if (submission* const now = submission::of(taker())) now->dropped = true;
      else self_->drop_turn();
    }
    [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_; }

    void operator()() {
      if (!self_) return;
      if (submission* const now = submission::of(taker())) now->taken = true, now->what = nullptr;
      Reference const self = std::exchange(self_, nullptr);
      if constexpr (sizeof...(Strand) == 0) {
        self->take_turn();
      } else {
        auto const strand = std::move(std::get<0>(strand_));
        turn_taker& to = *self;
        if (!to.submit([&] { net::dispatch(strand, turn<Reference, Allocator>(self, allocator_)); }))
          self->turn_refused();
      }
    }

   private:
    [[nodiscard]] turn_taker* taker() const noexcept { return std::to_address(self_); }

    /// Its taker knows where it is, to disown it if the executor that has it refuses.
    void here() noexcept {
      if (!self_) return;
      taker()->turn_ = this;
      taker()->disown_ = [](void* t) { static_cast<turn*>(t)->self_ = nullptr; };
    }

    Reference self_;
    Allocator allocator_;
    [[no_unique_address]] std::tuple<Strand...> strand_;
  };

  void* turn_ = nullptr;  // wherever it was moved to last; used only when an executor threw
  void (*disown_)(void*) = nullptr;
};

}  // namespace cacheflight::inline v1::detail::asio_front
