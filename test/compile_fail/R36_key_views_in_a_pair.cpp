// expect: views do not own their text; use std::string keys
#include <cacheflight/cacheflight.hpp>

using key = std::pair<int, std::optional<char const*>>;
struct hash {
  std::size_t operator()(key const&) const { return 0; }
};
cacheflight::basic_group<key, hash> flights;
