// expect: this is what the task returns, not the task.*run\(key, fetch, id\), not run\(key, fetch\(id\)\)
#include <cacheflight/asio.hpp>

boost::asio::awaitable<int> load(int id);

boost::asio::awaitable<void> caller(cacheflight::group& flights) { co_await flights.run("key", load(7)); }
