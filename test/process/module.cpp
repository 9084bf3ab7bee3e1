// SPDX-License-Identifier: MIT
#include "process/module.hpp"

namespace modules {
namespace {

struct row {
  char const* text;
  int id;
  row(int i) : text("the module's"), id(i) {}
};

module const all{call<shared_row>,
                 call<hidden_row>,
                 call<int>,
                 call<row>,
                 throw_it<cacheflight::timeout_error>,
                 throw_it<cacheflight::cancelled_error>,
                 throw_it<cacheflight::caller_stopped_error>,
                 throw_it<shared_error>,
                 caught};

}  // namespace
}  // namespace modules

extern "C" [[gnu::visibility("default")]] modules::module const* const cacheflight_module;
modules::module const* const cacheflight_module = &modules::all;
