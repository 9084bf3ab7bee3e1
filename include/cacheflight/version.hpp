// SPDX-License-Identifier: MIT
#pragma once

// The one place that holds the version: CMake and the packaging files read it from here.
#define CACHEFLIGHT_VERSION_MAJOR 0
#define CACHEFLIGHT_VERSION_MINOR 1
#define CACHEFLIGHT_VERSION_PATCH 0
