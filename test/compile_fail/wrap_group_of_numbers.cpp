// expect: wrap needs a group with text keys
#include <cacheflight/blocking.hpp>
#include <cacheflight/wrap.hpp>

int twice(int number);
cacheflight::basic_group<int> flights;
auto const get = cacheflight::wrap(flights, "twice", twice);
