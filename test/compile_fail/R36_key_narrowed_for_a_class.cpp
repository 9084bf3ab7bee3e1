// expect: a cast that may lose something
#include <cacheflight/cacheflight.hpp>

struct user_id {
  user_id(int n) : number(n) {}
  bool operator==(user_id const&) const = default;
  int number;
};
template <>
struct std::hash<user_id> {
  std::size_t operator()(user_id u) const { return static_cast<std::size_t>(u.number); }
};

bool caller(cacheflight::basic_group<user_id>& flights) { return flights.has(7 + (1LL << 32)); }
