// expect: pointers do not own their text; use std::string keys
#include <cacheflight/cacheflight.hpp>

cacheflight::basic_group<char const*> flights;
