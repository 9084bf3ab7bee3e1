// SPDX-License-Identifier: MIT
#pragma once

// Whether a handler has caught a forced unwinding, and no exception (rule 39).

#include <string_view>
#include <typeinfo>

#if __has_include(<cxxabi.h>)
#include <cxxabi.h>
#endif

namespace cacheflight::inline v1::detail {

/// In a handler: whether it caught a forced unwinding, and no exception (rule 39). That must
/// go on (`throw;`), and belongs to this stack alone: whoever keeps it, or throws it elsewhere, breaks the
/// program.
///
/// Two kinds. What C++ did not throw has no type: a thread that exits or is cancelled, another language's
/// exception. And stackful coroutines are shut down by an object that derives from nothing, which is known by
/// its name here, so that nothing of Boost need be included: `boost::context::detail::forced_unwind`,
/// `boost::coroutines::detail::forced_unwind`.
[[nodiscard]] inline bool unwinding() noexcept {
#if __has_include(<cxxabi.h>)
  std::type_info const* const type = abi::__cxa_current_exception_type();
  if (!type) return true;
  std::string_view const name = type->name();
  return name == "N5boost7context6detail13forced_unwindE" ||
         name == "N5boost10coroutines6detail13forced_unwindE";
#else
  return false;
#endif
}

}  // namespace cacheflight::inline v1::detail
