// expect: an optional of what can be null itself cannot be part of a key
#include <cacheflight/keys.hpp>

namespace app {
struct limit {
  std::optional<int> value;
};
std::optional<int> to_key_part(limit const&);
struct settings {
  limit rows;
};
limit to_key_part(settings const&);
}  // namespace app

std::string const key = cacheflight::make_key("report", std::optional<app::settings>());
