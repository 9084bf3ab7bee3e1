// SPDX-License-Identifier: MIT
#pragma once

// Which types are the same, in a program and in what it loads (rules 8 and 43).

#include <cstddef>
#include <string_view>
#include <typeinfo>

// Before the name of a class that is thrown, or asked for by its type: it is one in all modules of a process, though they
// be compiled with hidden visibility. Not where there is no such thing.
#if defined(__GNUC__) && !defined(_WIN32) && !defined(__CYGWIN__)
#define CACHEFLIGHT_VISIBLE [[gnu::visibility("default")]]
#else
#define CACHEFLIGHT_VISIBLE
#endif

namespace cacheflight::inline v1::detail {

/// Whether a type can be one translation unit's own, by its mangled name: of an unnamed namespace, of a function with
/// internal linkage, a closure. It may say so of another type as well.
[[nodiscard]] inline bool can_be_local(std::string_view name) noexcept {
  if (name.find("_GLOBAL__N_") != name.npos || name.find('$') != name.npos) return true;
  for (std::size_t at = name.find('L'); at != name.npos; at = name.find('L', at + 1))
    if (at + 1 < name.size() && name[at + 1] >= '0' && name[at + 1] <= '9') return true;
  return false;
}

/// Whether two types are the same. `==` takes it from their names with libstdc++, and clang does not mark those that
/// each translation unit has for itself: two of those are then the same only as one object.
[[nodiscard]] inline bool same_type(std::type_info const& a, std::type_info const& b) noexcept {
  return &a == &b || (a == b && !detail::can_be_local(a.name()));
}

}  // namespace cacheflight::inline v1::detail
