// SPDX-License-Identifier: MIT
//
// A task on a real callback-style API, hiredis' asynchronous one. Many threads ask for one key: one GET is
// sent. When the connection is lost, everybody is told. Usage: redis SOCKET, the Unix socket of a Redis
// server that nobody else uses.
//
// Prints:
//     16 threads, 1 GET(s), the same object: true
//     connection lost: redis: …
//     16 of 16 threads were told
#include <cacheflight/callback.hpp>

#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <exception>
#include <iostream>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

using value = std::optional<std::string>;  // none: no such key
using value_ptr = std::shared_ptr<value const>;
using completion = cacheflight::completion<value>;

std::exception_ptr failure(std::string const& what) {
  return std::make_exception_ptr(std::runtime_error("redis: " + what));
}

/// A connection with the thread that drives it: hiredis is not thread-safe, so requests are queued for that
/// thread.
class redis_client {
 public:
  explicit redis_client(std::string const& socket) : connection_(redisAsyncConnectUnix(socket.c_str())) {
    if (!connection_ || connection_->err) {
      std::string const why = connection_ ? connection_->errstr : "no memory";
      if (connection_) redisAsyncFree(connection_);
      throw std::runtime_error("redis: " + why);
    }
    connection_->ev = {
        this,
        [](void* self) { static_cast<redis_client*>(self)->events_ |= POLLIN; },
        [](void* self) { static_cast<redis_client*>(self)->events_ &= ~POLLIN; },
        [](void* self) { static_cast<redis_client*>(self)->events_ |= POLLOUT; },
        [](void* self) { static_cast<redis_client*>(self)->events_ &= ~POLLOUT; },
        [](void* self) { static_cast<redis_client*>(self)->connection_ = nullptr; }};  // hiredis frees it
    thread_ = std::jthread([this](std::stop_token stop) { drive(stop); });
  }
  ~redis_client() {
    thread_.request_stop();
    wake();
    thread_.join();
    close(wake_);
  }

  /// Sends a GET and answers when the reply comes. Returns at once; any thread.
  void get(std::string key, completion done) {
    {
      std::lock_guard const lock(mutex_);
      requests_.push_back({std::move(key), std::move(done)});
    }
    wake();
  }

  /// While it is paused it sends nothing.
  void pause() { paused_ = true; }
  void resume() {
    paused_ = false;
    paused_.notify_all();
  }

 private:
  struct request {
    std::string key;
    completion done;
  };

  void drive(std::stop_token const& stop) {
    while (!stop.stop_requested()) {
      pollfd sockets[] = {{wake_, POLLIN, 0},
                          {connection_ ? connection_->c.fd : -1, static_cast<short>(events_), 0}};
      if (poll(sockets, 2, -1) < 0 && errno != EINTR)
        throw std::system_error(errno, std::generic_category(), "poll");
      paused_.wait(true);
      if (sockets[0].revents) {
        std::uint64_t ignored;
        (void)!read(wake_, &ignored, sizeof ignored);
        send();
      }
      // Each of the two may find that the connection is lost, and free it.
      if (connection_ && (sockets[1].revents & ~POLLOUT)) redisAsyncHandleRead(connection_);
      if (connection_ && (sockets[1].revents & POLLOUT)) redisAsyncHandleWrite(connection_);
    }
    if (connection_) redisAsyncFree(connection_);  // calls `on_reply` without a reply for what is under way
  }

  void send() {
    std::vector<request> requests;
    {
      std::lock_guard const lock(mutex_);
      requests.swap(requests_);
    }
    for (request& one : requests) {
      auto done = std::make_unique<completion>(std::move(one.done));
      if (!connection_) done->set_exception(failure("not connected"));
      else if (redisAsyncCommand(connection_, on_reply, done.get(), "GET %b", one.key.data(),
                                 one.key.size()) == REDIS_OK)
        (void)done.release();  // hiredis has it now, and hands it to `on_reply`, once
      else done->set_exception(failure("cannot send"));
    }
  }

  static void on_reply(redisAsyncContext* connection, void* reply, void* privdata) {
    std::unique_ptr<completion> const done(static_cast<completion*>(privdata));
    auto const* const got = static_cast<redisReply const*>(reply);
    if (!got) done->set_exception(failure(connection->err ? connection->errstr : "connection closed"));
    else if (got->type == REDIS_REPLY_STRING) done->set_value(std::string(got->str, got->len));
    else if (got->type == REDIS_REPLY_NIL) done->set_value(std::nullopt);
    else done->set_exception(failure(got->str ? got->str : "unexpected reply"));
  }

  void wake() {
    std::uint64_t const one = 1;
    (void)!write(wake_, &one, sizeof one);
  }

  redisAsyncContext* connection_;  // this and events_: the thread's own, once it runs
  int events_ = 0;
  int const wake_ = eventfd(0, EFD_CLOEXEC);
  std::atomic<bool> paused_ = false;
  std::mutex mutex_;
  std::vector<request> requests_;  // guarded by mutex_
  std::jthread thread_;
};

/// A second connection, to prepare and to check.
class redis_admin {
 public:
  explicit redis_admin(std::string const& socket) : connection_(redisConnectUnix(socket.c_str())) {
    if (!connection_ || connection_->err) throw std::runtime_error("redis: no server on " + socket);
  }
  std::string operator()(char const* command) {
    struct freer {
      void operator()(void* reply) const noexcept { freeReplyObject(reply); }
    };
    std::unique_ptr<redisReply, freer> const reply(
        static_cast<redisReply*>(redisCommand(connection_.get(), command)));
    if (!reply || reply->type == REDIS_REPLY_ERROR)
      throw std::runtime_error(std::string("redis: failed: ") + command);
    return reply->type == REDIS_REPLY_INTEGER ? std::to_string(reply->integer)
                                              : std::string(reply->str, reply->len);
  }
  /// How many GETs the server has executed since the last CONFIG RESETSTAT.
  std::string gets() {
    constexpr std::string_view label = "cmdstat_get:calls=";
    std::string const stats = (*this)("INFO commandstats");
    auto const at = stats.find(label);
    if (at == std::string::npos) return "0";
    return stats.substr(at + label.size(), stats.find(',', at) - at - label.size());
  }

 private:
  struct closer {
    void operator()(redisContext* c) const noexcept { redisFree(c); }
  };
  std::unique_ptr<redisContext, closer> connection_;
};

struct outcome {
  std::exception_ptr error;
  value_ptr got;
};

/// `callers` threads ask for the key; meanwhile the client is paused, so that all of them are in time to
/// share one request.
template <class Meanwhile>
std::vector<outcome> ask(cacheflight::group& flights, redis_client& client, std::string const& key,
                         int callers, Meanwhile meanwhile) {
  std::vector<outcome> outcomes(static_cast<std::size_t>(callers));
  std::latch all_called(callers);
  auto const get = [&client, key](completion done) { client.get(key, std::move(done)); };
  client.pause();
  {
    std::vector<std::jthread> threads;
    for (outcome& mine : outcomes) {
      threads.emplace_back([&] {
        flights.start("redis:" + key, cacheflight::answering<value>(get),
                      [&](std::exception_ptr error, value_ptr got) {
                        mine = {std::move(error), std::move(got)};
                        all_called.count_down();
                      });
      });
    }
  }  // `start` returns at once: all have asked, nobody has an answer
  meanwhile();
  client.resume();
  all_called.wait();
  return outcomes;
}

int run(std::string const& socket) {
  redis_admin admin(socket);
  admin("SET greeting hello");
  admin("CONFIG RESETSTAT");
  cacheflight::group flights;
  redis_client client(socket);

  auto const found = ask(flights, client, "greeting", 16, [] {});
  std::string const gets = admin.gets();
  bool const same = std::all_of(found.begin(), found.end(), [&](outcome const& one) {
    return !one.error && one.got && one.got == found[0].got && *one.got == "hello";
  });
  std::cout << "16 threads, " << gets << " GET(s), the same object: " << std::boolalpha << same << "\n";

  auto const missing = ask(flights, client, "no such key", 1, [] {});
  bool const none = !missing[0].error && missing[0].got && !*missing[0].got;

  // The server hangs up before it has answered.
  auto const lost =
      ask(flights, client, "greeting", 16, [&] { admin("CLIENT KILL TYPE normal SKIPME yes"); });
  std::size_t told = 0;
  for (outcome const& one : lost) {
    try {
      if (one.error) std::rethrow_exception(one.error);
    } catch (std::runtime_error const& error) {
      if (told++ == 0) std::cout << "connection lost: " << error.what() << "\n";
    }
  }
  std::cout << told << " of 16 threads were told\n";
  return same && gets == "1" && none && told == 16 && flights.stats().started == 3 ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: redis SOCKET\n";
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (std::exception const& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
