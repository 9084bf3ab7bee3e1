// expect: not_before takes a time of the group's clock, std::chrono::steady_clock
#include <cacheflight/blocking.hpp>

#include <chrono>

int main() { (void)cacheflight::run_options().not_before(std::chrono::system_clock::now()); }
