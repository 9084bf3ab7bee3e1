// SPDX-License-Identifier: MIT
#pragma once

// The calls of user code that are under way (rule 40).

#include <cacheflight/detail/core/shard.hpp>
#include <cacheflight/detail/list.hpp>

#include <mutex>

namespace cacheflight::inline v1::detail {

/// A call of the user's code, on this thread, that the group's destructor waits for, unless it is called
/// inside of it; in a list of its shard.
template <class P>
class outcall : public list_node {
 public:
  /// Under the lock.
  explicit outcall(shard<P>& s) noexcept : shard_(s), thread_(P::this_thread()) {
    s.outcalls.push_back(*this);
  }
  ~outcall() {
    if (kept_) kept_->release();
  }

  [[nodiscard]] core<P>& owner() const noexcept { return *shard_.owner; }

  /// The group was destroyed inside of it.
  [[nodiscard]] bool outlives_group() const noexcept { return kept_ != nullptr; }

  /// Under the lock: it is over. True: the destructor waits, and must be told, with a reference to the core.
  [[nodiscard]] bool over() noexcept {
    if (kept_) return false;
    this->unlink();
    if (!shard_.gone) return false;
    shard_.owner->retain();
    return true;
  }
  void end() noexcept {
    core<P>& owner = *shard_.owner;
    bool last;
    {
      std::scoped_lock lock(shard_.mutex);
      last = over();
    }
    if (last) owner.tell_destructor();
  }

  /// Under the lock: what is not waited for, because this thread is in the middle of it, keeps the core.
  /// Returns whether nothing else is under way.
  [[nodiscard]] static bool keep_mine(shard<P>& s) noexcept {
    list<outcall> others;
    while (outcall* const one = s.outcalls.pop_front()) {
      if (one->thread_ != P::this_thread()) {
        others.push_back(*one);
      } else {
        s.owner->retain();
        one->kept_ = s.owner;
      }
    }
    s.outcalls.splice(others);
    return s.outcalls.empty();
  }

  /// Under the lock: whether one is this thread's.
  [[nodiscard]] static bool is_mine(shard<P>& s) noexcept {
    bool mine = false;
    s.outcalls.for_each([&](outcall const& one) { mine |= one.thread_ == P::this_thread(); });
    return mine;
  }

  /// Under the lock, in a child process: only this thread's are under way there.
  static void forget_others(shard<P>& s) noexcept {
    list<outcall> mine;
    while (outcall* const one = s.outcalls.pop_front())
      if (one->thread_ == P::this_thread()) mine.push_back(*one);
    s.outcalls.splice(mine);
  }

 private:
  shard<P>& shard_;
  typename P::thread_id thread_;
  core<P>* kept_ = nullptr;
};

/// Room for an outcall. The code around it knows whether there is one: an optional would cost calls without
/// events.
template <class P>
union outcall_room {
  outcall_room() noexcept {}
  ~outcall_room() {}
  outcall<P> made;
};
}  // namespace cacheflight::inline v1::detail
