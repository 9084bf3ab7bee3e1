// SPDX-License-Identifier: MIT
#pragma once

// The one place that holds the version: CMake and the packaging files read it from here.

/// The major version.
#define CACHEFLIGHT_VERSION_MAJOR 0
/// The minor version.
#define CACHEFLIGHT_VERSION_MINOR 1
/// The patch version.
#define CACHEFLIGHT_VERSION_PATCH 0
