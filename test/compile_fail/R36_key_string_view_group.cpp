// expect: views do not own their text; use std::string keys
#include <cacheflight/cacheflight.hpp>

cacheflight::basic_group<std::string_view> flights;
