// expect: an optional of what can be null itself cannot be part of a key
#include <cacheflight/keys.hpp>

std::string const key = cacheflight::make_key("report", std::optional<std::optional<int>>());
