// SPDX-License-Identifier: MIT

// For type_identity_test.cpp: types of the same names as there.

#include <typeinfo>

namespace other_types {

namespace {
struct row {
  int i;
};
}  // namespace
struct visible {};

std::type_info const& other_row() noexcept;
std::type_info const& other_visible() noexcept;

std::type_info const& other_row() noexcept { return typeid(row); }
std::type_info const& other_visible() noexcept { return typeid(visible); }

}  // namespace other_types
