// SPDX-License-Identifier: MIT
//
// The front for threads: `run` blocks. Eight threads, one execution; one that does not want to wait so long,
// one that is stopped; a task that runs on another thread than the one that asked first.
//
// Prints:
//     8 threads, 1 execution(s), the same object: true
//     one timed out, one was stopped, the first got its page all the same: true
#include <cacheflight/blocking.hpp>

#include <chrono>
#include <future>
#include <iostream>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using page = std::shared_ptr<std::string const>;

// The expensive work. Here it takes until it is told to go on, so that everybody else has time to join.
std::string render(std::string name, std::shared_future<void> go_on) {
  go_on.wait();
  return "page " + name;
}

// Waiters are threads that sleep in the group; nothing else tells from outside that they do.
void await_waiters(cacheflight::group const& flights, std::size_t count) {
  while (flights.stats().waiters < count) std::this_thread::yield();
}

bool eight_threads_one_execution() {
  cacheflight::group flights;
  std::promise<void> go_on;
  std::shared_future<void> const gate = go_on.get_future().share();
  std::vector<page> pages(8);
  {
    std::vector<std::jthread> threads;
    for (page& mine : pages) threads.emplace_back([&] { mine = flights.run("home", render, "home", gate); });
    await_waiters(flights, pages.size());
    go_on.set_value();
  }
  bool same = *pages[0] == "page home";
  for (page const& one : pages) same = same && one == pages[0];  // the same object, not eight equal ones
  std::cout << "8 threads, " << flights.stats().started
            << " execution(s), the same object: " << std::boolalpha << same << "\n";
  return same && flights.stats().started == 1;
}

// Both leave while the task runs on. A thread that runs the task on its own stack could not, so it is sent
// elsewhere.
bool leaving_alone() {
  cacheflight::group flights;
  std::promise<void> go_on;
  std::shared_future<void> const gate = go_on.get_future().share();
  std::jthread worker;  // stands for your thread pool
  auto const pool = [&worker](cacheflight::work work) { worker = std::jthread(work); };
  page patient;
  std::jthread leader([&] { patient = flights.run("home", cacheflight::on(pool, render), "home", gate); });
  await_waiters(flights, 1);

  bool impatient_left = false;
  try {
    (void)flights.run("home", cacheflight::run_options().wait_timeout(20ms), render, "home", gate);
  } catch (cacheflight::timeout_error const& error) {
    impatient_left = error.scope() == cacheflight::timeout_scope::wait;  // not the flight: this thread's wait
  }

  bool stopped_left = false;
  std::jthread stopped([&](std::stop_token stop) {
    try {
      (void)flights.run("home", cacheflight::run_options().stop_token(stop), render, "home", gate);
    } catch (cacheflight::caller_stopped_error const&) {
      stopped_left = true;
    }
  });
  await_waiters(flights, 2);
  stopped.request_stop();
  stopped.join();

  go_on.set_value();
  leader.join();
  bool const right =
      impatient_left && stopped_left && patient && *patient == "page home" && flights.stats().started == 1;
  std::cout << "one timed out, one was stopped, the first got its page all the same: " << std::boolalpha
            << right << "\n";
  return right;
}

int main() {
  bool const coalesced = eight_threads_one_execution();
  bool const left = leaving_alone();
  return coalesced && left ? 0 : 1;
}
