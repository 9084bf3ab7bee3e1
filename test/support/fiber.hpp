// SPDX-License-Identifier: MIT
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

// The sanitizers must be told of each switch.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CACHEFLIGHT_TEST_TSAN
#elif __has_feature(address_sanitizer)
#define CACHEFLIGHT_TEST_ASAN
#endif
#elif defined(__SANITIZE_THREAD__)
#define CACHEFLIGHT_TEST_TSAN
#elif defined(__SANITIZE_ADDRESS__)
#define CACHEFLIGHT_TEST_ASAN
#endif
#if defined(CACHEFLIGHT_TEST_TSAN)
#include <sanitizer/tsan_interface.h>
#elif defined(CACHEFLIGHT_TEST_ASAN)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cacheflight_test {

/// A function with a stack of its own, which stops where it says so, and goes on on whatever thread resumes
/// it.
class fiber {
 public:
  explicit fiber(std::function<void()> run) : run_(std::move(run)), stack_(256 * 1024) {
    getcontext(self_.get());
    self_->uc_stack.ss_sp = stack_.data();
    self_->uc_stack.ss_size = stack_.size();
    self_->uc_link = nullptr;
    auto const address = reinterpret_cast<std::uintptr_t>(this);
    makecontext(self_.get(), reinterpret_cast<void (*)()>(&fiber::enter), 2, static_cast<unsigned>(address),
                static_cast<unsigned>(std::uint64_t{address} >> 32));
#if defined(CACHEFLIGHT_TEST_TSAN)
    own_ = __tsan_create_fiber(0);
#endif
  }
  fiber(fiber const&) = delete;
  fiber& operator=(fiber const&) = delete;
#if defined(CACHEFLIGHT_TEST_TSAN)
  ~fiber() { __tsan_destroy_fiber(own_); }
#endif

  /// Until it suspends, or is through.
  void resume() {
#if defined(CACHEFLIGHT_TEST_TSAN)
    resumer_ = __tsan_get_current_fiber();
    __tsan_switch_to_fiber(own_, 0);
#elif defined(CACHEFLIGHT_TEST_ASAN)
    void* here = nullptr;
    __sanitizer_start_switch_fiber(&here, stack_.data(), stack_.size());
#endif
    swapcontext(back_.get(), self_.get());
#if defined(CACHEFLIGHT_TEST_ASAN)
    __sanitizer_finish_switch_fiber(here, nullptr, nullptr);
#endif
  }
  /// Called inside of it.
  void suspend() { leave(false); }

 private:
  static void enter(unsigned low, unsigned high) {
    auto* const self = reinterpret_cast<fiber*>(static_cast<std::uintptr_t>(std::uint64_t{high} << 32 | low));
    self->arrived();
    self->run_();
    self->leave(true);
  }

  void leave([[maybe_unused]] bool for_good) {
#if defined(CACHEFLIGHT_TEST_TSAN)
    __tsan_switch_to_fiber(resumer_, 0);
#elif defined(CACHEFLIGHT_TEST_ASAN)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &own_, resumer_, resumer_size_);
#endif
    swapcontext(self_.get(), back_.get());
    arrived();
  }
  void arrived() {
#if defined(CACHEFLIGHT_TEST_ASAN)
    __sanitizer_finish_switch_fiber(own_, &resumer_, &resumer_size_);
#endif
  }

  std::function<void()> run_;
  std::vector<std::byte> stack_;
  std::unique_ptr<ucontext_t> self_ = std::make_unique<ucontext_t>(), back_ = std::make_unique<ucontext_t>();
#if defined(CACHEFLIGHT_TEST_TSAN)
  void *own_ = nullptr, *resumer_ = nullptr;
#elif defined(CACHEFLIGHT_TEST_ASAN)
  void* own_ = nullptr;
  void const* resumer_ = nullptr;
  std::size_t resumer_size_ = 0;
#endif
};

}  // namespace cacheflight_test
