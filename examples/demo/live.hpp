// SPDX-License-Identifier: MIT
//
// The page, and what it asks the server for.
#pragma once

#include "call_books.hpp"
#include "protocol.hpp"

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace demo {

/// page.html, which needs nothing else.
reply page();

/// What goes on now. `requests`: calls for a user since the start, with CacheFlight and without it.
reply live(std::uint64_t requests, call_books const& db_calls, std::chrono::milliseconds db_latency,
           cacheflight::statistics const& books, std::vector<flight_view> const& flights);

/// Many calls for one user at once, and what they cost. They are made inside the server, because a browser
/// opens no more than six connections to it.
class burst {
 public:
  static constexpr std::int64_t most_calls = 200;
  static constexpr std::int64_t user_id = 42;

  /// Null while there is another: one at a time, so that the database's books tell its executions. Of others
  /// who ask for users meanwhile, it cannot tell them.
  static std::shared_ptr<burst> begin(std::atomic<bool>& under_way, call_books const& db_calls,
                                      std::int64_t calls);

  burst(std::atomic<bool>& under_way, call_books const& db_calls, std::size_t calls);
  ~burst() { under_way_ = false; }
  burst(burst const&) = delete;
  burst& operator=(burst const&) = delete;

  std::size_t size() const noexcept { return shots_.size(); }

  /// A call has been answered. May be called from several threads, once for each number below `size()`.
  void answered(std::size_t call, int status);

  /// When all have been.
  reply report() const;

 private:
  struct shot {
    double milliseconds;
    bool failed;
  };

  std::atomic<bool>& under_way_;
  call_books const& db_calls_;
  std::uint64_t executions_before_;
  std::chrono::steady_clock::time_point begun_;
  std::vector<shot> shots_;
};

}  // namespace demo
