// SPDX-License-Identifier: MIT

// Threads that have not used the library before, and for which there is no memory: their calls fail alone, or
// need none. Where a sanitizer or another C library has the allocator there is nothing to test.

#include "process/plugin.hpp"

#include <gtest/gtest.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__GLIBC__) && !defined(SANITIZED) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)

#include <cacheflight/cacheflight.hpp>

#include <dlfcn.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>

namespace {
[[gnu::tls_model("initial-exec")]] thread_local constinit bool no_memory = false;
[[gnu::tls_model("initial-exec")]] thread_local constinit int refused = 0;

bool refuses() noexcept { return no_memory && ++refused != 0; }
}  // namespace

// NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): glibc's declarations have other names
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t size) noexcept { return refuses() ? nullptr : __libc_malloc(size); }
void* calloc(std::size_t count, std::size_t size) noexcept {
  return refuses() ? nullptr : __libc_calloc(count, size);
}
void* realloc(void* block, std::size_t size) noexcept {
  return refuses() ? nullptr : __libc_realloc(block, size);
}
void* memalign(std::size_t alignment, std::size_t size) noexcept {
  return refuses() ? nullptr : __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) noexcept { return memalign(alignment, size); }
int posix_memalign(void** block, std::size_t alignment, std::size_t size) noexcept {
  void* const made = memalign(alignment, size);
  return made ? (*block = made, 0) : ENOMEM;
}
}
// NOLINTEND(readability-inconsistent-declaration-parameter-name)

namespace {

/// What `f` returns on a thread of its own, to which no memory is given meanwhile.
template <class F>
auto without_memory(F&& f) {
  decltype(f()) result{};
  std::thread([&] {
    no_memory = true;
    result = f();
    no_memory = false;
  }).join();
  return result;
}

/// The library as it is linked into this program, or into one that is loaded into it.
class R38_memory : public testing::TestWithParam<bool> {
 protected:
  R38_memory() {
    if (!GetParam()) return;
    loaded_ = dlopen(CACHEFLIGHT_PLUGIN, RTLD_NOW | RTLD_LOCAL);
    if (!loaded_) return;
    use_ = reinterpret_cast<plugin::uses const*>(dlsym(loaded_, "cacheflight_plugin"));
  }
  void SetUp() override { ASSERT_TRUE(use_) << dlerror(); }

  plugin::uses const& use() const { return *use_; }

 private:
  void* loaded_ = nullptr;  // stays
  plugin::uses const* use_ = &plugin::all;
};

TEST_P(R38_memory, a_thread_without_memory_can_join_and_wait) {
  plugin::service* const flights = use().open();
  std::thread answers([&] {
    while (use().waiters(flights) < 2) std::this_thread::yield();
    use().answer(flights);
  });
  EXPECT_EQ(without_memory([&] { return use().join(flights); }), 5);
  answers.join();
  use().close(flights);
}

TEST_P(R38_memory, a_thread_without_memory_can_let_a_result_go) {
  plugin::service* const flights = use().open();
  EXPECT_TRUE(without_memory([&] { return use().drop_last(flights); }));
  use().answer(flights);
  use().close(flights);
}

TEST_P(R38_memory, a_call_that_needs_memory_fails_alone) {
  plugin::service* const flights = use().open();
  EXPECT_TRUE(without_memory([&] { return use().lead(flights) == plugin::outcome::no_memory; }));
  EXPECT_TRUE(without_memory([&] { return use().start(flights) == plugin::outcome::no_memory; }));
  EXPECT_EQ(use().waiters(flights), 1U);
  EXPECT_EQ(use().start(flights), plugin::outcome::pending);
  use().answer(flights);
  EXPECT_EQ(use().lead(flights), plugin::outcome::value);
  use().close(flights);
}

TEST_P(R38_memory, a_thread_without_memory_takes_turns) {
  plugin::service* const flights = use().open();
  EXPECT_EQ(use().await(flights), plugin::outcome::pending);
  EXPECT_EQ(without_memory([&] { return use().answer(flights); }),
            2);  // the leader's callback, and the coroutine
  use().close(flights);
}

INSTANTIATE_TEST_SUITE_P(process, R38_memory, testing::Bool(),
                         [](auto const& loaded) { return loaded.param ? "plugin" : "program"; });

}  // namespace

#endif
