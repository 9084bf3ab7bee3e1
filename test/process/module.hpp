// SPDX-License-Identifier: MIT
#pragma once

// What a program and a module that it loads have in common (rule 43): this header, a group of the program's,
// and the calls that each makes of the other.

#include <cacheflight/callback.hpp>
#include <cacheflight/error.hpp>
#include <cacheflight/group.hpp>

#include <exception>
#include <memory>
#include <type_traits>

namespace modules {

/// A result by the recipe: visible.
struct [[gnu::visibility("default")]] shared_row {
  int id;
};

/// Compiled as hidden in both.
struct [[gnu::visibility("hidden")]] hidden_row {
  int id;
};

/// An error of the user's, by the recipe.
class [[gnu::visibility("default")]] shared_error : public std::exception {};

/// How a call went.
enum class answer { none, value, mismatch, failed };

using thrower = void (*)();

struct module {
  /// A call of the module's for the key, in somebody else's group.
  void (*call_shared)(cacheflight::group&, char const* key, answer&);
  void (*call_hidden)(cacheflight::group&, char const* key, answer&);
  void (*call_int)(cacheflight::group&, char const* key, answer&);
  /// The program has another type of that name.
  void (*call_unnamed)(cacheflight::group&, char const* key, answer&);
  void (*throw_timeout)();
  void (*throw_cancelled)();
  void (*throw_caller_stopped)();
  void (*throw_own)();
  char const* (*caught)(thrower);  ///< As what the module catches what the function throws.
};

/// As what an exception is caught here: the first that fits.
inline char const* caught_as(std::exception_ptr const& error) {
  try {
    std::rethrow_exception(error);
  } catch (cacheflight::timeout_error const&) {
    return "timeout_error";
  } catch (cacheflight::cancelled_error const&) {
    return "cancelled_error";
  } catch (cacheflight::error const&) {
    return "error";
  } catch (cacheflight::caller_stopped_error const&) {
    return "caller_stopped_error";
  } catch (shared_error const&) {
    return "shared_error";
  } catch (std::exception const&) {
    return "std::exception";
  } catch (...) {
    return "...";
  }
}

// Of each for itself, whatever the loader does with their names: it is the module's code that throws, and
// that catches.
namespace {

template <class Error>
void throw_it() {
  if constexpr (std::is_same_v<Error, cacheflight::timeout_error>)
    throw Error(cacheflight::timeout_scope::flight);
  else throw Error();
}

char const* caught(thrower f) {
  try {
    f();
    return "nothing";
  } catch (...) {
    return caught_as(std::current_exception());
  }
}

}  // namespace

inline int number(int i) { return i; }
template <class Row>
int number(Row const& row) {
  return row.id;
}

/// Calls and says how it went; 5 is the right answer.
template <class T>
void call(cacheflight::group& flights, char const* key, answer& how) {
  flights.start(
      key, [] { return T{5}; },
      [&how](std::exception_ptr const& error, std::shared_ptr<T const> const& result) {
        if (!error) {
          how = number(*result) == 5 ? answer::value : answer::failed;
          return;
        }
        try {
          std::rethrow_exception(error);
        } catch (cacheflight::type_mismatch_error const&) {
          how = answer::mismatch;
        } catch (...) {
          how = answer::failed;
        }
      });
}

}  // namespace modules
