// SPDX-License-Identifier: MIT

// The scenarios through the fronts that one thread can drive.

#include "fixture.hpp"

namespace cacheflight_test {

using fronts = testing::Types<hand_front, asio_coroutine_front, asio_handler_front, coroutine_front,
                              callback_front, sender_front>;

}  // namespace cacheflight_test

#include "scenarios.hpp"
