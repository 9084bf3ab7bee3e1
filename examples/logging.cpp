// SPDX-License-Identifier: MIT
//
// Events in a log, without secrets in it. A key may name a person or be a session's token: the log gets what
// `cacheflight::redactor` makes of it, which tells keys apart and nothing else. Exceptions' texts and
// metadata are the task's and the callers' own, and no better.
//
// Prints:
//     info    miss               key #…  flight …  waiters …  request 17
//     info    task_started       key #…  flight …  waiters …  request 17
//     info    hit                key #…  flight …  waiters 2  request 18
//     info    task_resolved      key #…  flight …  waiters 2  request 17  after … ms
//     info    miss               key #…  flight …  waiters …  request 19
//     info    task_started       key #…  flight …  waiters …  request 19
//     warning task_rejected      key #…  flight …  waiters 1  request 19  after … ms: Connection refused
//     7 lines for 2 keys, no secret in them: true
#include <cacheflight/callback.hpp>
#include <cacheflight/redact.hpp>

#include <any>
#include <chrono>
#include <exception>
#include <iomanip>
#include <iostream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <syncstream>
#include <system_error>
#include <utility>
#include <vector>

using cacheflight::event_type;

/// Writes events to a stream, which stands for your logging library. May be called from several threads at
/// once.
class event_logger {
 public:
  explicit event_logger(std::ostream& log) : log_(log) {}

  void operator()(cacheflight::event const& event) const {
    bool const bad = event.type == event_type::task_rejected || event.type == event_type::task_timed_out ||
                     event.type == event_type::max_keys_rejected;
    std::osyncstream line(log_);
    line << (bad ? "warning " : "info    ") << std::left << std::setw(18) << to_string(event.type) << " key #"
         << redact_(event.key) << "  flight " << event.flight_id << "  waiters " << event.waiters;
    // The callers' metadata: here the number of the request, to find it again in other logs.
    if (auto const* request = std::any_cast<int>(&event.metadata)) line << "  request " << *request;
    if (event.duration > event.duration.zero())
      line << "  after " << std::chrono::duration_cast<std::chrono::milliseconds>(event.duration).count()
           << " ms";
    if (event.error) line << ": " << reason(event.error);
    line << "\n";
  }

 private:
  // Not `what()`, which may quote what was asked for; a code's message is a fixed text.
  static std::string reason(std::exception_ptr const& error) {
    try {
      std::rethrow_exception(error);
    } catch (std::system_error const& failure) {
      return failure.code().message();
    } catch (...) {
      return "unknown";
    }
  }

  std::ostream& log_;
  cacheflight::redactor redact_;  // with a random secret of its own
};

int main() {
  std::ostringstream log;
  cacheflight::group flights(cacheflight::options().on_event(event_logger(log)));

  // A backend that answers when this program says so.
  using completion = cacheflight::completion<std::string>;
  std::vector<completion> asked;
  auto const ask =
      cacheflight::answering<std::string>([&asked](completion done) { asked.push_back(std::move(done)); });
  auto const ignore = [](std::exception_ptr, std::shared_ptr<std::string const>) {};

  flights.start("session:alice:s3cr3t", cacheflight::run_options().metadata(17), ask, ignore);
  flights.start("session:alice:s3cr3t", cacheflight::run_options().metadata(18), ask, ignore);
  asked[0].set_value("a session");
  flights.start("session:bob:passw0rd", cacheflight::run_options().metadata(19), ask, ignore);
  auto const refused = std::make_error_code(std::errc::connection_refused);
  asked[1].set_exception(
      std::make_exception_ptr(std::system_error(refused, "no session for bob with passw0rd")));

  std::string const text = log.str();
  int lines = 0;
  std::set<std::string> keys;
  for (std::size_t at = 0; (at = text.find('#', at)) != text.npos; ++lines)
    keys.insert(text.substr(at++, 25));
  bool clean = true;
  for (char const* secret : {"alice", "s3cr3t", "bob", "passw0rd"})
    clean = clean && text.find(secret) == text.npos;
  std::cout << text << lines << " lines for " << keys.size() << " keys, no secret in them: " << std::boolalpha
            << clean << "\n";
  return lines == 7 && keys.size() == 2 && clean ? 0 : 1;
}
