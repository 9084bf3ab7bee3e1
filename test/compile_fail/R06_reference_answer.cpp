// expect: must not return a reference.*Return a value or a std::shared_ptr
// Asio has no awaitable of a reference in every version; our own words come from what all fronts share.
#include <cacheflight/detail/task.hpp>

using result = cacheflight::detail::result_of_answer<int const&>::type;
