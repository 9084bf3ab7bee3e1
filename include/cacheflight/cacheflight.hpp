// SPDX-License-Identifier: MIT
#pragma once

/// Everything that needs only the standard library. Fronts are included one by one: `<cacheflight/asio.hpp>`.

#include <cacheflight/error.hpp>
#include <cacheflight/event.hpp>
#include <cacheflight/group.hpp>
#include <cacheflight/hash.hpp>
#include <cacheflight/options.hpp>
#include <cacheflight/platform.hpp>
#include <cacheflight/stop_flag.hpp>
#include <cacheflight/version.hpp>
