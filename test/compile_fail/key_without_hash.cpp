// expect: Key needs std::hash and ==, or give the group a Hash and an Equal of its own
#include <cacheflight/cacheflight.hpp>

struct user_id {
  int number;
};

bool caller(cacheflight::basic_group<user_id>& flights) { return flights.has(user_id{7}); }
