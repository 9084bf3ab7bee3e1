// expect: this type cannot be part of a key
#include <cacheflight/blocking.hpp>
#include <cacheflight/wrap.hpp>

#include <vector>

int sum(std::vector<int> numbers);
cacheflight::group flights;
auto const answer = cacheflight::wrap(flights, "sum", sum)(std::vector{1, 2});
