// SPDX-License-Identifier: MIT

// drogon: `drogon::Task` starts when it is awaited, and belongs to an event loop. Besides the scenarios, a
// server that answers 200 clients with one execution.

#include "scenarios.hpp"

#include <drogon/drogon.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace {

using drogon::app;

drogon::AsyncTask detached(drogon::Task<void> started) { co_await std::move(started); }

struct on_drogon {
  template <class T>
  using task = drogon::Task<T>;

  static auto sleep(std::chrono::milliseconds takes) { return drogon::sleepCoro(app().getLoop(), takes); }
  static void spawn(task<void> started) { detached(std::move(started)); }
  static void run(task<void> started) {
    auto const kept = std::make_shared<task<void>>(std::move(started));
    app().getLoop()->queueInLoop([kept] { spawn(std::move(*kept)); });
    app().run();
  }
  static void post(std::function<void()> f) { app().getLoop()->queueInLoop(std::move(f)); }
  static void stop();
};

// ---- the server -------------------------------------------------------------------------------------------

cacheflight::group users;
constexpr int clients = 200;
std::atomic<int> executions = 0, arrived = 0;  // on the loop of the connections
int answered = 0, right = 0;                   // on the application's, which is the clients' too

drogon::Task<std::string> load_user(std::string id) {
  ++executions;
  while (arrived < clients) co_await on_drogon::sleep(std::chrono::milliseconds(1));
  co_return "user " + id;
}

drogon::Task<drogon::HttpResponsePtr> handle(drogon::HttpRequestPtr, std::string id) {
  ++arrived;
  auto* const loop = trantor::EventLoop::getEventLoopOfCurrentThread();
  auto const on_loop = [loop](std::function<void()> f) { loop->queueInLoop(std::move(f)); };
  std::shared_ptr<std::string const> const user =
      co_await users.run("user:" + id, load_user, id).resume_on(on_loop);
  auto const response = drogon::HttpResponse::newHttpResponse();
  response->setBody(*user);
  co_return response;
}

drogon::Task<void> ask(drogon::HttpClientPtr client) {
  auto const request = drogon::HttpRequest::newHttpRequest();
  request->setPath("/user/42");
  try {
    auto const response = co_await client->sendRequestCoro(request);
    right += response->body() == "user 42";
  } catch (std::exception const& e) {
    std::printf("a client: %s\n", e.what());
  }
  ++answered;
}

drogon::Task<void> serve() {
  auto const address = "http://" + app().getListeners().at(0).toIpPort();
  for (int i = 0; i < clients; ++i)
    detached(ask(drogon::HttpClient::newHttpClient(address, app().getLoop())));
  while (answered < clients) co_await on_drogon::sleep(std::chrono::milliseconds(1));
  app().quit();
}

void on_drogon::stop() { detached(serve()); }

}  // namespace

int main() {
  app().setLogLevel(trantor::Logger::kWarn).addListener("127.0.0.1", 0).setThreadNum(1);
  app().registerHandler("/user/{id}", &handle, {drogon::Get});
  int const failed = libraries::scenarios<on_drogon>().run();
  bool const one = executions == 1 && right == clients;
  std::printf("%s: a server answers %d of %d clients with %d execution\n", one ? "  ok" : "FAIL", right,
              clients, executions.load());
  return failed + !one;
}
