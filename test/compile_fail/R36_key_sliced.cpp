// expect: a cast that may lose something
#include <cacheflight/cacheflight.hpp>

struct user_id {
  int number;
  bool operator==(user_id const&) const = default;
};
struct user_of_tenant : user_id {
  int tenant;
};
template <>
struct std::hash<user_id> {
  std::size_t operator()(user_id u) const { return static_cast<std::size_t>(u.number); }
};

bool caller(cacheflight::basic_group<user_id>& flights) { return flights.has(user_of_tenant{{1}, 2}); }
