// SPDX-License-Identifier: MIT
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace bench {

namespace net = boost::asio;

/// What one writes by hand with Asio: mutex, map, a vector of handlers, and `co_spawn` for the task.
class naive_asio_group {
 public:
  using value = std::shared_ptr<int const>;

  /// To be awaited. `task()` returns `awaitable<int>` and runs on `ex`, as the handlers do.
  template <class Task>
  auto run(std::string key, net::any_io_executor ex, Task task) {
    return net::async_initiate<net::use_awaitable_t<> const, void(std::exception_ptr, value)>(
        initiation{this}, net::use_awaitable, std::move(key), std::move(ex), std::move(task));
  }

 private:
  struct waiter {
    virtual ~waiter() = default;
    virtual void complete(net::any_io_executor const& ex, std::exception_ptr error, value v) = 0;
  };
  template <class Handler>
  struct waiter_of final : waiter {
    explicit waiter_of(Handler h) : handler(std::move(h)) {}
    void complete(net::any_io_executor const& otherwise, std::exception_ptr error, value v) override {
      auto const ex = net::get_associated_executor(handler, otherwise);
      net::post(ex, [h = std::move(handler), e = std::move(error), x = std::move(v)]() mutable {
        std::move(h)(std::move(e), std::move(x));
      });
    }
    Handler handler;
  };

  struct initiation {
    naive_asio_group* self;
    template <class Handler, class Task>
    void operator()(Handler&& handler, std::string key, net::any_io_executor ex, Task task) const {
      auto mine = std::make_unique<waiter_of<std::decay_t<Handler>>>(std::forward<Handler>(handler));
      bool leads = false;
      {
        std::scoped_lock const lock(self->mutex_);
        auto& waiters = self->flights_[key];
        leads = waiters.empty();
        waiters.push_back(std::move(mine));
      }
      if (!leads) return;
      net::co_spawn(ex, task(), [group = self, k = std::move(key), ex](std::exception_ptr error, int v) {
        std::vector<std::unique_ptr<waiter>> waiters;
        {
          std::scoped_lock const lock(group->mutex_);
          auto const at = group->flights_.find(k);
          waiters = std::move(at->second);
          group->flights_.erase(at);
        }
        value const shared = error ? nullptr : std::make_shared<int const>(v);
        for (auto const& w : waiters) w->complete(ex, error, shared);
      });
    }
  };

  std::mutex mutex_;
  std::unordered_map<std::string, std::vector<std::unique_ptr<waiter>>> flights_;
};

}  // namespace bench
