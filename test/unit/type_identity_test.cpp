// SPDX-License-Identifier: MIT
#include <cacheflight/detail/type_identity.hpp>

#include <gtest/gtest.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <type_traits>
#include <typeinfo>
#include <vector>

namespace other_types {

using cacheflight::detail::can_be_local;
using cacheflight::detail::same_type;

// unit/other_types.cpp: types of the same names.
std::type_info const& other_row() noexcept;
std::type_info const& other_visible() noexcept;

namespace {
struct row {};
}  // namespace
struct visible {};

namespace {

// Mangled names, as all our compilers make them.
TEST(R43_type_identity, what_a_translation_unit_can_have_for_itself_is_known_by_its_name) {
  EXPECT_TRUE(can_be_local("N12_GLOBAL__N_13rowE"));  // (anonymous namespace)::row
  EXPECT_TRUE(can_be_local("St6vectorIN12_GLOBAL__N_13rowESaIS1_EE"));
  EXPECT_TRUE(can_be_local("ZL4loadvE3row"));                   // static void load() { struct row }
  EXPECT_TRUE(can_be_local("ZN3appL4loadEvE3row"));             // the same in a namespace
  EXPECT_TRUE(can_be_local("St13type_identityIZ4mainE3$_1E"));  // clang's closures
  EXPECT_TRUE(can_be_local("ZmiXS0_E5local"));          // of an operator, in which clang marks nothing
  EXPECT_TRUE(can_be_local("6reportIXadL_ZL3varEEE"));  // made of a variable with internal linkage
  EXPECT_TRUE(can_be_local("6reportIL5level1EE"));      // or of an enumerator, which looks like that
  EXPECT_TRUE(can_be_local("6reportIDv4_fE"));
  for (char const* const name : {"L0", "L9", "LL5", "-L5", "1aL5", "SZ", "Z", "$", "3$_0", "Li5EZ", "S1_Z",
                                 "DZ_", "L{", "S2_Z", "SZi", "10abcdefghijZ", "S$_", "A1Z"})
    EXPECT_TRUE(can_be_local(name)) << name;
  for (char const* const name :
       {"Li5E", "Li5", "SZ_", "S1Z_", "SL_", "T1_", "A4_i", "_12", "1Z", "9Z", "2L5", "N1a1ZE", "NS_1ZE",
        "Di", "10abcdefghiZ", "Lz", "La5E", "SAZ_", "18446744073709551596"})
    EXPECT_FALSE(can_be_local(name)) << name;
  EXPECT_FALSE(can_be_local("N3XML4NodeE"));
  EXPECT_FALSE(can_be_local("5HTML5"));
  EXPECT_FALSE(can_be_local(std::string_view("L5", 1)));
  EXPECT_FALSE(can_be_local(std::string_view("a123", 2)));
  EXPECT_FALSE(can_be_local("i"));
  EXPECT_FALSE(can_be_local(""));
  EXPECT_FALSE(can_be_local("L"));
  EXPECT_FALSE(can_be_local("3URL"));
  EXPECT_FALSE(can_be_local("St5arrayIiLm5EE"));
  EXPECT_FALSE(can_be_local(typeid(std::type_identity<std::vector<std::string>>).name()));
  EXPECT_TRUE(can_be_local(typeid(std::vector<row>).name()));
}

// Without the zero at its end; the address sanitizer sees who looks further.
TEST(R43_type_identity, a_name_may_end_anywhere) {
  for (std::string_view const name : {"12ab", "Li5E", "Dv4_f", "SAB_", "S1_", "T1_", "A4_i", "_12"})
    for (std::size_t length = 1; length <= name.size(); ++length) {
      std::vector<char> const cut(name.begin(), name.begin() + static_cast<std::ptrdiff_t>(length));
      EXPECT_EQ(can_be_local({cut.data(), cut.size()}), name.starts_with("Dv") && length > 1)
          << name << ' ' << length;
    }
  EXPECT_FALSE(can_be_local(std::string_view("12", 1)));
}

TEST(R43_type_identity, a_type_is_the_same_as_itself_only) {
  EXPECT_TRUE(same_type(typeid(row), typeid(row)));
  EXPECT_TRUE(same_type(typeid(std::string), typeid(std::string)));
  EXPECT_FALSE(same_type(typeid(row), typeid(std::string)));
  EXPECT_FALSE(same_type(typeid(int), typeid(unsigned)));
}

TEST(R43_type_identity, types_in_unnamed_namespaces_are_two_in_two_files) {
  EXPECT_FALSE(same_type(typeid(row), other_row()));
  EXPECT_TRUE(same_type(typeid(visible), other_visible()));
}

/// What a type is described by: here another object for the same type, as in what was loaded.
struct described : std::type_info {
  explicit described(char const* name) : std::type_info(name) {}
};

TEST(R43_type_identity, what_describes_a_type_twice_is_compared_by_name) {
#ifndef _LIBCPP_VERSION
  EXPECT_TRUE(same_type(described("3row"), described("3row")));
  EXPECT_FALSE(same_type(described("3row"), described("3now")));
#endif
#ifdef __clang__
  EXPECT_FALSE(same_type(described("N12_GLOBAL__N_13rowE"), described("N12_GLOBAL__N_13rowE")));
#else
  static char const one[] = "*N12_GLOBAL__N_13rowE", other[] = "*N12_GLOBAL__N_13rowE";  // marked by g++
  EXPECT_FALSE(same_type(described(one), described(other)));
#endif
}

}  // namespace
}  // namespace other_types
