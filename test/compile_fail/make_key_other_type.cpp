// expect: this type cannot be part of a key
#include <cacheflight/keys.hpp>

enum class role { reader, admin };
auto const key = cacheflight::make_key("user", role::admin);
