// SPDX-License-Identifier: MIT
#pragma once

#include <atomic>
#include <cstdint>
#include <stop_token>
#include <utility>

namespace demo {

/// What became of the calls to the database: one that is in none of the last three goes on.
struct call_books {
  std::atomic<std::uint64_t> begun = 0;
  std::atomic<std::uint64_t> answered = 0;
  std::atomic<std::uint64_t> failed = 0;
  std::atomic<std::uint64_t> stopped = 0;  // asked to stop before there was an answer
};

/// One call, from its beginning to its end, however it ends.
class booked_call {
 public:
  booked_call(call_books& books, std::stop_token stop) : books_(books), stop_(std::move(stop)) {
    ++books_.begun;
  }
  ~booked_call() {
    ++(answered_ ? books_.answered : stop_.stop_requested() ? books_.stopped : books_.failed);
  }
  booked_call(booked_call const&) = delete;
  booked_call& operator=(booked_call const&) = delete;

  void answered() noexcept { answered_ = true; }

 private:
  call_books& books_;
  std::stop_token stop_;
  bool answered_ = false;
};

}  // namespace demo
