// SPDX-License-Identifier: MIT
//
// Metrics: two groups, one place for Prometheus to look. prometheus-cpp's server is on 127.0.0.1, on a free
// port; with a port as the argument it is there, and stays until Enter is pressed, so that a browser or
// Prometheus can have a look.
//
// Prints:
//     …
//     cacheflight_hit_total{group="users"} 7
//     …
//     cacheflight_miss_total{group="users"} 1
//     …
//     cacheflight_error_total{group="orders"} 1
//     …
#include <cacheflight/blocking.hpp>
#include <cacheflight/prometheus.hpp>

#include <prometheus/exposer.h>
#include <prometheus/text_serializer.h>

#include <functional>
#include <iostream>
#include <latch>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

std::string load_user(std::string id, std::latch& all_ask) {
  all_ask.wait();
  return "user " + id;
}
int load_order() { throw std::runtime_error("no such order"); }

int main(int argc, char** argv) {
  // One for the program. prometheus-cpp serves it; a program with a server of its own answers GET /metrics
  // with prometheus::TextSerializer().Serialize(metrics->Collect()), as examples/server does.
  auto const metrics = std::make_shared<cacheflight::prometheus_metrics>();
  prometheus::Exposer exposer(std::string("127.0.0.1:") + (argc > 1 ? argv[1] : "0"));
  exposer.RegisterCollectable(metrics);

  // One line for each group; with durations it also has the histogram. The names are for people, and never
  // keys.
  cacheflight::task_durations const durations;
  cacheflight::group users{cacheflight::options().max_keys(100).on_event(durations)};
  cacheflight::group orders;
  metrics->attach("users", users, durations);
  metrics->attach("orders", orders);

  // Eight threads ask for one user, one for an order that is not there.
  std::latch all_ask(1);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i)
      threads.emplace_back([&] { (void)users.run("user:42", load_user, "42", std::ref(all_ask)); });
    while (users.stats().waiters < 8) std::this_thread::yield();
    all_ask.count_down();
  }
  try {
    (void)orders.run("order:7", load_order);
  } catch (std::runtime_error const&) {
  }

  std::string const text = prometheus::TextSerializer().Serialize(metrics->Collect());
  std::cout << text;
  bool right = true;
  for (char const* line :
       {"cacheflight_miss_total{group=\"users\"} 1\n", "cacheflight_hit_total{group=\"users\"} 7\n",
        "cacheflight_task_duration_ms_count{group=\"users\"} 1\n",
        "cacheflight_max_keys{group=\"users\"} 100\n", "cacheflight_error_total{group=\"orders\"} 1\n"})
    right = right && text.find(line) != std::string::npos;
  if (argc > 1) {
    std::cout << "\nhttp://127.0.0.1:" << exposer.GetListeningPorts().at(0)
              << "/metrics until Enter is pressed" << std::endl;
    std::cin.get();
  }
  return right ? 0 : 1;
}
