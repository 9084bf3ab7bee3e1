// SPDX-License-Identifier: MIT
#include "settings.hpp"

#include "program.hpp"

#include <boost/program_options.hpp>

#include <filesystem>
#include <iostream>
#include <system_error>

namespace demo {

namespace po = boost::program_options;

namespace {

std::string default_database() {
  std::error_code error;
  auto const program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / "demo_users.sqlite3").string();
}

}  // namespace

bool parse(int argc, char** argv, settings& chosen) {
  po::options_description options("Usage: " + chosen.program + " [options]\n\nOptions", 100);
  auto add = options.add_options();
  add("help", "print this and exit");
  add("port", po::value(&chosen.port)->default_value(chosen.port), "port on 127.0.0.1; 0 picks a free one");
  add("threads", po::value(&chosen.threads)->default_value(chosen.threads), chosen.threads_are.c_str());
  add("database", po::value(&chosen.database)->default_value(default_database(), "beside this program"),
      "SQLite file, made if missing");
  add("db-latency-ms", po::value(&chosen.db_latency_ms)->default_value(chosen.db_latency_ms),
      "SIMULATED network latency of each call to the database");
  add("max-keys", po::value(&chosen.max_keys)->default_value(chosen.max_keys),
      "users in flight at once; beyond that 503");
  add("timeout-ms", po::value(&chosen.timeout_ms)->default_value(chosen.timeout_ms),
      "time limit of a flight; beyond that 504");
  add("busy-timeout-ms", po::value(&chosen.busy_timeout_ms)->default_value(chosen.busy_timeout_ms),
      "how long a query waits while the database is locked; beyond that 503");
  add("grace-ms", po::value(&chosen.grace_ms)->default_value(chosen.grace_ms),
      "how long requests may go on when the server is told to stop; beyond that 503");
  add("log-events", po::bool_switch(&chosen.log_events),
      "log all of CacheFlight's events instead of failures only");

  po::variables_map given;
  po::store(po::command_line_parser(argc, argv).options(options).positional({}).run(), given);
  if (given.count("help")) {
    std::cout << options;
    return false;
  }
  po::notify(given);
  require_between(0, chosen.port, 65'535, "port");
  require_between(1, chosen.threads, chosen.most_threads, "threads");
  require_between(0, chosen.db_latency_ms, 3'600'000, "db-latency-ms");
  require_between(1, chosen.max_keys, 1'000'000'000, "max-keys");
  require_between(1, chosen.timeout_ms, 3'600'000, "timeout-ms");
  require_between(0, chosen.busy_timeout_ms, 3'600'000, "busy-timeout-ms");
  require_between(1, chosen.grace_ms, 3'600'000, "grace-ms");
  return true;
}

void announce(unsigned short port, settings const& chosen) {
  std::cout << "listening on http://127.0.0.1:" << port << " (" << chosen.threads
            << " threads, simulated database latency " << chosen.db_latency_ms
            << " ms); Ctrl-C stops it\n\nOpen that page in a browser, or try, in another terminal:\n\n"
            << "  for i in $(seq 1 50); do curl -s http://localhost:" << port << "/user/42 & done; wait\n"
            << "  curl http://localhost:" << port << "/stats       # for Prometheus: /metrics\n\n"
            << "total_db_calls is then 1: fifty requests, one query.\n"
            << std::endl;
}

}  // namespace demo
