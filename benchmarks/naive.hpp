// SPDX-License-Identifier: MIT
#pragma once

// What one writes by hand in a quarter of an hour: the peers.

#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

namespace bench {

/// Mutex, map and shared_future: for threads.
class naive_group {
 public:
  template <class Task>
  int run(std::string const& key, Task&& task) {
    std::unique_lock lock(mutex_);
    auto const [at, leads] = flights_.try_emplace(key);
    if (!leads) {
      std::shared_future<int> const wait = at->second;
      lock.unlock();
      return wait.get();
    }
    std::promise<int> answer;
    std::shared_future<int> const result = at->second = answer.get_future().share();
    lock.unlock();
    try {
      answer.set_value(task());
    } catch (...) {
      answer.set_exception(std::current_exception());
    }
    lock.lock();
    flights_.erase(key);
    lock.unlock();
    return result.get();
  }

  /// For the memory of keys in flight: begins, and ends, a flight without waiting for it.
  std::promise<int> begin(std::string const& key) {
    std::scoped_lock const lock(mutex_);
    std::promise<int> answer;
    flights_[key] = answer.get_future().share();
    return answer;
  }
  int end(std::string const& key, std::promise<int> answer) {
    answer.set_value(1);
    std::scoped_lock const lock(mutex_);
    auto const at = flights_.find(key);
    int const result = at->second.get();
    flights_.erase(at);
    return result;
  }

 private:
  std::mutex mutex_;
  std::unordered_map<std::string, std::shared_future<int>> flights_;
};

}  // namespace bench
