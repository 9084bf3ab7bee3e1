// SPDX-License-Identifier: MIT
#pragma once

// Included before anything that an older standard would not understand.

#if __cplusplus < 202002L && !(defined(_MSVC_LANG) && _MSVC_LANG >= 202002L)
#error "cacheflight needs C++20: compile with -std=c++20"
#endif
