// SPDX-License-Identifier: MIT
//
// The command line of both servers.
#pragma once

#include <string>

namespace demo {

struct settings {
  std::string program;  // what it is called
  int threads;
  int most_threads;
  std::string threads_are;  // for the help

  int port = 8000;
  std::string database{};
  // Long enough for the shell on a slow machine to start fifty `curl` processes meanwhile.
  int db_latency_ms = 1000;
  int max_keys = 10'000;
  int timeout_ms = 5000;
  int busy_timeout_ms = 2000;
  int grace_ms = 5000;
  bool log_events = false;
};

/// False if there is nothing to do but to have printed the help.
bool parse(int argc, char** argv, settings& chosen);

/// Says where the server listens, and how to try it.
void announce(unsigned short port, settings const& chosen);

}  // namespace demo
