// expect: Key needs std::hash and ==, or give the group a Hash and an Equal of its own
#include <cacheflight/cacheflight.hpp>

struct document {
  std::string title;
  int tenant;
  operator std::string_view() const { return title; }
  bool operator==(document const&) const = default;
};

cacheflight::basic_group<document> flights;
