// SPDX-License-Identifier: MIT
#pragma once

// The thread that keeps time, and the helpers that do what it leaves (rule 33).

#include <cacheflight/detail/own_thread.hpp>

#include <atomic>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace cacheflight::inline v1 {

/// What a deadline driver drives: the core.
template <class Clock>
class deadline_work {
 public:
  using time_point = typename Clock::time_point;  ///< Of the platform's clock.
  /// Does what is due now, and runs nobody else's code for it (rule 33); returns when the next thing is due,
  /// `(time_point::max)()` if nothing is.
  virtual time_point run_due() noexcept = 0;
  /// Does one thing of what `run_due` has left to others, which may run anybody's code. False: there was
  /// nothing.
  virtual bool run_job() noexcept = 0;
  /// Since when something is left to others and nobody takes it; `(time_point::max)()` if nothing is.
  [[nodiscard]] virtual time_point oldest_job() const noexcept = 0;
  /// How many threads may run jobs.
  [[nodiscard]] virtual std::size_t most_helpers() const noexcept = 0;
  /// Keeps this alive until it is released.
  virtual void retain() noexcept = 0;
  /// Lets go, possibly destroying the driver that calls it.
  virtual void release() noexcept = 0;

 protected:
  ~deadline_work() = default;
};

/// One thread that keeps time: it sleeps until the next deadline, and is started when the first is armed.
/// What it leaves to others is done by helper threads: the first is started when there is something to do,
/// another one whenever something has waited for a millisecond, and one that had nothing to do for a second
/// ends. One that cannot be started is tried again.
template <class Clock>
class thread_driver {
 public:
  using time_point = typename Clock::time_point;  ///< Of the platform's clock.

  /// Starts the thread if it is not up. Throws `std::system_error` if it cannot be started. The work, and
  /// this with it, lives as long as the thread.
  void ensure(deadline_work<Clock>& work) {
    if (!up_.load(std::memory_order_acquire)) start(work, (time_point::max)());
  }

  /// `ensure` and `arm` in one step: for what can come after `close`, when the thread may be about to end.
  void rouse(deadline_work<Clock>& work, time_point when) {
    {
      std::scoped_lock lock(mutex_);
      if (up_.load(std::memory_order_relaxed)) return bring_forward(when);
    }
    start(work, when);
  }

  /// Something is due at `when`. Cheap unless that is earlier than what the thread sleeps for. Call it after
  /// the deadline can be seen by `run_due`: the thread announces "wake me for anything" before it looks, so a
  /// deadline is either seen or wakes it.
  void arm(time_point when) noexcept {
    if (when >= wake_.load(std::memory_order_acquire)) return;
    std::scoped_lock lock(mutex_);
    bring_forward(when);
  }

  /// Returns when `over()`, which others make so before they `tell`.
  template <class Predicate>
  void await(Predicate over) noexcept {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, over);
  }
  /// On any thread.
  void tell() noexcept {
    std::scoped_lock lock(mutex_);
    changed_.notify_all();
  }

  /// Takes the lock.
  void before_fork() noexcept { held_for_fork_ = std::unique_lock(mutex_); }
  /// Gives it back. `child`: in the new process, in which its threads are not; they are started again when
  /// they are needed. Returns, in the child, how many are not there, each of which has retained the work.
  std::size_t after_fork(bool child) noexcept {
    std::size_t threads = 0;
    if (child) {
      // One of them may be the helper that has forked, in its job: it goes on, and ends by itself.
      helper* mine = helpers_;
      while (mine && mine->id != std::this_thread::get_id()) mine = mine->next;
      threads = count_ + (up_.load(std::memory_order_relaxed) ? 1 : 0) - (mine ? 1 : 0);
      // Not destroyed: they speak of threads.
      ::new (static_cast<void*>(&thread_)) std::thread();
      ::new (static_cast<void*>(&changed_)) std::condition_variable();
      ::new (static_cast<void*>(&wanted_)) std::condition_variable();
      (void)ended_.release();
      if (mine) ::new (static_cast<void*>(&mine->thread)) std::thread(), mine->next = nullptr;
      helpers_ = mine;
      count_ = mine ? 1 : 0, idle_ = 0;
      up_.store(false, std::memory_order_relaxed);
      wake_.store((time_point::max)(), std::memory_order_relaxed);
    }
    held_for_fork_ = {};
    return threads;
  }

  /// The group is gone: no deadline will be armed any more. Returns when the threads have ended, but for the
  /// helper that calls it, if one does. If refused hand-overs are still to be tried again, they stay for
  /// those and end by themselves.
  void close() noexcept {
    std::unique_lock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
    wanted_.notify_all();
    std::thread keeper = std::move(thread_);
    if (keeper.joinable()) changed_.wait(lock, [&] { return done_ || lingers_; });
    for (helper* h = helpers_; h; h = h->next)
      if (h->thread.joinable() && (lingers_ || h->thread.get_id() == std::this_thread::get_id()))
        h->thread.detach();
    changed_.wait(lock, [&] { return lingers_ || nobody_to_join(); });
    std::unique_ptr<helper> const last = std::move(ended_);
    bool const lingers = lingers_;
    left_ = true;
    lock.unlock();  // what ends with the threads may still arm
    if (last) last->thread.join();
    if (!keeper.joinable()) return;
    if (lingers) keeper.detach();
    else keeper.join();
  }

 private:
  static constexpr std::chrono::milliseconds patience{1};
  static constexpr std::chrono::seconds idle_for{1};

  /// A helper that ends joins the one that has ended before it; `close` joins the last, one whose thread was
  /// detached is joined by nobody. The thread that keeps time joins none: helpers may run destructors of the
  /// user's thread-locals.
  struct helper {
    std::thread thread;
    std::thread::id id;  // its own, once it has begun
    helper* next = nullptr;
  };

  /// Under the lock.
  void bring_forward(time_point when) noexcept {
    if (when >= wake_.load(std::memory_order_relaxed)) return;
    wake_.store(when, std::memory_order_release);
    changed_.notify_all();
  }

  /// What a thread that was made outside of the lock, because that allocates (rule 41), is told under it.
  enum class verdict : unsigned char { none, stay, go };

  /// Starts the thread, unless another one is up meanwhile, and has it wake at `when`.
  void start(deadline_work<Clock>& work, time_point when) {
    auto const told = std::make_shared<std::atomic<verdict>>(verdict::none);
    std::thread fresh = detail::start_own_thread([this, &work, told]() noexcept {
      told->wait(verdict::none);
      if (*told == verdict::stay) loop(work);
    });
    bool stays;
    {
      std::scoped_lock lock(mutex_);
      stays = !up_.load(std::memory_order_relaxed);
      if (stays) {
        work.retain();
        thread_ = std::move(fresh);
        if (closed_)
          thread_.detach();  // started for what was refused after the group went: it ends by itself
        up_.store(true, std::memory_order_release);
      }
      bring_forward(when);
      *told = stays ? verdict::stay : verdict::go;
      told->notify_one();
    }
    if (!stays) fresh.join();
  }

  void loop(deadline_work<Clock>& work) noexcept {
    for (bool last_rounds = false;;) {
      wake_.store((time_point::max)(), std::memory_order_release);
      time_point next = work.run_due();
      time_point const oldest = work.oldest_job();
      if (oldest != (time_point::max)()) {
        time_point const now = Clock::now();
        call_helper(work, now - oldest >= patience);
        if (now + patience < next) next = now + patience;
      }
      std::unique_lock lock(mutex_);
      if (next < wake_.load(std::memory_order_relaxed)) wake_.store(next, std::memory_order_release);
      if (closed_) {
        if (!std::exchange(last_rounds, true)) continue;  // this round's answer may be older than close()
        if (wake_.load(std::memory_order_relaxed) == (time_point::max)()) {
          up_.store(false, std::memory_order_relaxed);
          done_ = true;
          changed_.notify_all();
          break;
        }
        lingers_ = true;
        changed_.notify_all();
      }
      while (closed_ == lingers_) {
        time_point const wake = wake_.load(std::memory_order_relaxed);
        if (wake == (time_point::max)()) changed_.wait(lock);
        else if (Clock::now() < wake) changed_.wait_until(lock, wake);
        else break;
      }
    }
    work.release();
  }

  // -- helpers

  /// One that is idle, or a new one if there is none or they have been busy for too long. On the thread that
  /// keeps time.
  void call_helper(deadline_work<Clock>& work, bool too_long) noexcept {
    {
      std::scoped_lock lock(mutex_);
      if (idle_ != 0) return wanted_.notify_one();
      if (count_ != 0 && (!too_long || count_ >= work.most_helpers())) return;
    }
    try {
      auto fresh = std::make_unique<helper>();
      auto const told = std::make_shared<std::atomic<verdict>>(verdict::none);
      fresh->thread = detail::start_own_thread([this, &work, told, self = fresh.get()]() noexcept {
        told->wait(verdict::none);
        help(work, *self);
      });
      std::scoped_lock lock(mutex_);
      work.retain();
      if (lingers_ || left_) fresh->thread.detach();  // otherwise `close` waits for it, if it has begun
      fresh->next = std::exchange(helpers_, fresh.get());
      (void)fresh.release();
      ++count_;
      *told = verdict::stay;
      told->notify_one();
    } catch (...) {  // it is tried again when the thread that keeps time looks again
    }
  }

  void help(deadline_work<Clock>& work, helper& self) noexcept {
    std::unique_ptr<helper> before;
    {
      std::unique_lock lock(mutex_);
      self.id = std::this_thread::get_id();
      for (bool ends = false; !ends;) {
        lock.unlock();
        while (work.run_job()) {
        }
        lock.lock();
        if (work.oldest_job() != (time_point::max)()) continue;
        if (closed_) break;
        ++idle_;
        ends = wanted_.wait_for(lock, idle_for) == std::cv_status::timeout;
        --idle_;
      }
      before = end(self);
    }
    if (before) before->thread.join();
    work.release();
  }

  /// Under the lock. Returns whom the caller must join.
  [[nodiscard]] std::unique_ptr<helper> end(helper& self) noexcept {
    helper** link = &helpers_;
    while (*link != &self) link = &(*link)->next;
    *link = self.next;
    --count_;
    std::unique_ptr<helper> gone(&self);
    if (gone->thread.joinable()) std::swap(gone, ended_);
    else gone.reset();
    changed_.notify_all();
    return gone;
  }

  [[nodiscard]] bool nobody_to_join() const noexcept {
    for (helper const* h = helpers_; h; h = h->next)
      if (h->thread.joinable()) return false;
    return true;
  }

  std::mutex mutex_;
  std::unique_lock<std::mutex> held_for_fork_;
  std::condition_variable changed_, wanted_;
  std::atomic<time_point> wake_{(time_point::max)()};
  std::atomic<bool> up_{false};
  std::thread thread_;
  helper* helpers_ = nullptr;
  std::unique_ptr<helper> ended_;
  std::size_t count_ = 0, idle_ = 0;
  bool closed_ = false;   // no deadlines any more
  bool lingers_ = false;  // refused hand-overs are still tried again
  bool done_ = false;     // the thread that keeps time has ended, or is about to
  bool left_ = false;     // `close` has returned: nobody joins any more
};

}  // namespace cacheflight::inline v1
