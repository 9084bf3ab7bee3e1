// SPDX-License-Identifier: MIT
#pragma once

// Which types are the same, in a program and in what it loads (rules 8 and 43).

#include <cstddef>
#include <string_view>
#include <typeinfo>

// Before the name of a class that is thrown, or asked for by its type: it is one in all modules of a process,
// though they be compiled with hidden visibility. Not where there is no such thing.
#if defined(__GNUC__) && !defined(_WIN32) && !defined(__CYGWIN__)
#define CACHEFLIGHT_VISIBLE [[gnu::visibility("default")]]
#else
#define CACHEFLIGHT_VISIBLE
#endif

namespace cacheflight::inline v1::detail {

/// Whether a type can be one translation unit's own, by its mangled name: of an unnamed namespace, of a
/// function, which may have internal linkage, a closure, or made of something internal. It may say so of
/// another type as well.
[[nodiscard]] inline bool can_be_local(std::string_view name) noexcept {
  auto const digit = [&](std::size_t at) { return at < name.size() && name[at] >= '0' && name[at] <= '9'; };
  for (std::size_t at = 0; at < name.size();) {
    if (digit(at)) {  // an identifier, by its length
      std::size_t length = 0;
      for (; digit(at); ++at) length = length * 10 + static_cast<std::size_t>(name[at] - '0');
      std::string_view const identifier = name.substr(at, length);
      if (identifier.find("_GLOBAL__N_") != name.npos || identifier.find('$') != name.npos) return true;
      at += length < name.size() - at ? length : name.size() - at;
      continue;
    }
    switch (name[at++]) {
      case '$':
      case 'Z': return true;  // of a function
      case 'L':               // a literal of a number, or something internal, or a literal of an enumeration
        if (at < name.size() && (name[at] < 'a' || name[at] > 'z')) return true;
        while (at < name.size() && name[at] != 'E') ++at;
        break;
      case 'D':  // of a vector, with a number that is no length
        if (at < name.size() && name[at] == 'v') return true;
        break;
      case 'S': {  // something again, by a number of base 36
        std::size_t end = at;
        while (digit(end) || (end < name.size() && name[end] >= 'A' && name[end] <= 'Z')) ++end;
        if (end < name.size() && name[end] == '_') at = end + 1;
        break;
      }
      case 'T':
      case 'A':
      case '_':  // a number, not a length
        while (digit(at)) ++at;
        break;
      default: break;
    }
  }
  return false;
}

/// Whether two types are the same. `==` takes it from their names with libstdc++, and clang does not mark
/// those that each translation unit has for itself, as g++ does: two of those are then the same only as one
/// object.
[[nodiscard]] inline bool same_type(std::type_info const& a, std::type_info const& b) noexcept {
#if defined(__clang__)
  return &a == &b || (a == b && !detail::can_be_local(a.name()));
#else
  return a == b;
#endif
}

}  // namespace cacheflight::inline v1::detail
