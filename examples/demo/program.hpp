// SPDX-License-Identifier: MIT
//
// What the server and the load generator have in common as programs.
#pragma once

#include <boost/program_options/errors.hpp>

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <iostream>
#include <string>
#include <system_error>

namespace demo {

/// Makes room for `wanted` open sockets and files, or for as many as may be, and returns how many: the usual
/// soft limit of 1024 is too low for a burst of 1000 connections.
inline std::size_t allow_descriptors(std::size_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
    throw std::system_error(errno, std::generic_category(), "RLIMIT_NOFILE");
  if (limit.rlim_cur >= wanted) return wanted;
  limit.rlim_cur = std::min<rlim_t>(wanted, limit.rlim_max);
  if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
    throw std::system_error(errno, std::generic_category(), "RLIMIT_NOFILE");
  return static_cast<std::size_t>(limit.rlim_cur);
}

/// Refuses an option that lies outside of its range.
inline void require_between(int least, int value, int most, std::string const& option) {
  if (value >= least && value <= most) return;
  throw boost::program_options::error("--" + option + " must lie between " + std::to_string(least) + " and " +
                                      std::to_string(most));
}

/// Runs a program whose errors are one line and an exit status: 2 for a mistake on the command line, 1 for
/// everything else.
inline int run_program(char const* name, int (*program)(int, char**), int argc, char** argv) {
  try {
    return program(argc, argv);
  } catch (boost::program_options::error const& mistake) {
    std::cerr << name << ": " << mistake.what() << " (see --help)\n";
    return 2;
  } catch (std::exception const& error) {
    std::cerr << name << ": " << error.what() << "\n";
    return 1;
  }
}

}  // namespace demo
