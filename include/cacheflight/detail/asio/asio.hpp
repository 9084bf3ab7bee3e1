// SPDX-License-Identifier: MIT
#pragma once

// Which Asio it is, Boost's or the standalone one, with the headers of it that the front needs.

#if defined(CACHEFLIGHT_STANDALONE_ASIO)
#include <asio/any_io_executor.hpp>
#include <asio/associated_allocator.hpp>
#include <asio/associated_cancellation_slot.hpp>
#include <asio/associated_executor.hpp>
#include <asio/async_result.hpp>
#include <asio/awaitable.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/dispatch.hpp>
#include <asio/error.hpp>
#include <asio/execution/executor.hpp>
#include <asio/execution/outstanding_work.hpp>
#include <asio/execution_context.hpp>
#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>
#include <asio/is_executor.hpp>
#include <asio/post.hpp>
#include <asio/prefer.hpp>
#include <asio/query.hpp>
#include <asio/require.hpp>
#include <asio/strand.hpp>
#include <asio/system_executor.hpp>
#include <asio/this_coro.hpp>
#include <asio/thread_pool.hpp>
#include <asio/version.hpp>

#include <system_error>
#else
#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/associated_allocator.hpp>
#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/dispatch.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/execution/executor.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/execution_context.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/is_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/query.hpp>
#include <boost/asio/require.hpp>
#include <boost/asio/strand.hpp>
#include <boost/asio/system_executor.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/version.hpp>
#include <boost/system/system_error.hpp>
#endif

// Older versions cannot co_await an asynchronous operation, and their any_io_executor::target does not check
// its type.
#if defined(CACHEFLIGHT_STANDALONE_ASIO) && ASIO_VERSION < 102600
#error "cacheflight: standalone Asio 1.26 or newer is needed"
#elif !defined(CACHEFLIGHT_STANDALONE_ASIO) && BOOST_ASIO_VERSION < 102600
#error "cacheflight: Boost 1.81 or newer is needed"
#endif

namespace cacheflight::inline v1 {

class caller_cancelled_error;  // <cacheflight/asio.hpp>

namespace detail::asio_front {
#if defined(CACHEFLIGHT_STANDALONE_ASIO)
namespace net = ::asio;
using system_error = std::system_error;
#else
namespace net = ::boost::asio;
using system_error = ::boost::system::system_error;
#endif
}  // namespace detail::asio_front
}  // namespace cacheflight::inline v1
