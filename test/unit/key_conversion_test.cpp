// SPDX-License-Identifier: MIT
#include <cacheflight/blocking.hpp>
#include <cacheflight/callback.hpp>
#include <cacheflight/detail/key_conversion.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <memory_resource>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>

namespace {

namespace cf = cacheflight;
namespace cd = cacheflight::detail;
using namespace std::string_view_literals;

// ---- which types are accepted -----------------------------------------------------------------------------

template <class Key, class Hash = cf::default_hash<Key>, class Equal = cf::default_equal<Key>>
struct of {
  using rules = cd::key_rules<Key, Hash, Equal>;
  template <class... K>
  static constexpr bool all = (rules::template accepts<K> && ...);
  template <class... K>
  static constexpr bool none = !(rules::template accepts<K> || ...);
};

enum plain { one };
enum class scoped : std::int8_t { one };
struct to_int {
  operator int() const { return 1; }
};
struct to_long_long {
  operator long long() const { return 1; }
};

using numbers = of<int>;
static_assert(
    numbers::all<int, int&, int const&, short, unsigned, long long, unsigned char, signed char, std::size_t>);
static_assert(numbers::none<bool, char, wchar_t, char8_t, char16_t, char32_t, float, double, long double>);
static_assert(
    numbers::none<char const*, char*, char (&)[8], char const (&)[8], void*, std::nullptr_t, std::string>);
static_assert(numbers::none<plain, scoped, to_int, to_long_long, std::optional<int>, std::pair<int, int>>);

static_assert(
    of<std::uint64_t>::none<bool, char, double, char const (&)[8], char (&)[8], plain, std::nullptr_t>);
static_assert(of<bool>::all<bool> && of<bool>::none<int, char, char const*, double, std::true_type>);
static_assert(of<char>::all<char> && of<char>::none<int, signed char, unsigned char, char8_t, bool>);
static_assert(of<double>::all<double> && of<double>::none<float, long double, int>);
static_assert(of<plain>::all<plain> && of<plain>::none<int, scoped>);
static_assert(of<scoped>::all<scoped> && of<scoped>::none<int, std::int8_t, plain>);
struct base {};
struct derived : base {};
static_assert(of<base*>::all<base*, base*&> && of<base*>::none<derived*, std::nullptr_t, int, base>);

struct any_hash {
  std::size_t operator()(auto const&) const { return 0; }
};
static_assert(of<std::pair<int, int>, any_hash>::all<std::pair<int, int>>);
static_assert(of<std::pair<int, int>, any_hash>::none<std::pair<long, int>, std::tuple<int, int>>);
static_assert(of<std::tuple<int>, any_hash>::none<std::tuple<long>, int>);
static_assert(of<std::optional<int>>::all<std::optional<int>>);
static_assert(of<std::optional<int>>::none<int, long, std::optional<long>, std::nullopt_t>);
static_assert(of<std::chrono::duration<int>, any_hash>::none<std::chrono::seconds>);

// Other classes: what converts implicitly, nothing narrowed and nothing sliced off.
struct user_id {
  user_id(int n) : number(n) {}
  bool operator==(user_id const&) const = default;
  int number;
};
struct user_of_tenant : user_id {
  using user_id::user_id;
  int tenant = 0;
};
struct to_user_id {
  operator user_id() const { return 1; }
};
struct explicit_id {
  explicit explicit_id(int) {}
  bool operator==(explicit_id const&) const = default;
};
struct flag {
  flag(bool) {}
  bool operator==(flag const&) const = default;
};
using users = of<user_id, any_hash>;
static_assert(users::all<user_id, int, short, to_user_id>);
static_assert(users::none<long long, unsigned, double, user_of_tenant, explicit_id, std::nullptr_t>);
static_assert(of<explicit_id, any_hash>::all<explicit_id> && of<explicit_id, any_hash>::none<int>);
static_assert(of<flag, any_hash>::all<bool> &&
              of<flag, any_hash>::none<int, char const*, char const (&)[4], double>);

// Text.
struct name {
  name(char const* t) : text(t) {}
  operator std::string_view() const { return text; }
  std::string text;
};
using texts = of<std::string>;
static_assert(
    texts::all<std::string, std::string_view, char const*, char*, char (&)[8], char const (&)[8], name>);
static_assert(texts::all<std::pmr::string, std::pmr::string&>);
static_assert(texts::none<int, char, double, std::nullptr_t, std::wstring, std::optional<std::string>>);
static_assert(of<std::string, any_hash>::all<std::string_view, char const*, std::pmr::string,
                                             name>);  // not transparent
static_assert(of<std::string, any_hash>::none<int, char, std::nullptr_t>);
static_assert(of<std::wstring>::all<std::wstring_view, wchar_t const*> &&
              of<std::wstring>::none<char const*, int>);

// Transparent groups.
struct by_number {
  using is_transparent = void;
  std::size_t operator()(user_id const& u) const { return static_cast<std::size_t>(u.number); }
  std::size_t operator()(long long n) const { return static_cast<std::size_t>(n); }
};
struct same_number {
  using is_transparent = void;
  bool operator()(user_id const& a, user_id const& b) const { return a == b; }
  bool operator()(user_id const& a, long long b) const { return a.number == b; }
};
using transparent_users = of<user_id, by_number, same_number>;
static_assert(transparent_users::all<user_id, int, long long>);
static_assert(
    transparent_users::none<double, float, unsigned long long, scoped, std::nullptr_t, char const*>);

// ---- what becomes of values -------------------------------------------------------------------------------

template <class Key>
struct held_flight {
  explicit held_flight(cf::basic_group<Key>& flights, auto const& key) {
    flights.start(key, cf::answering<int>([this](cf::completion<int> c) { answer.emplace(std::move(c)); }),
                  [this](std::exception_ptr, std::shared_ptr<int const> v) { value = v ? *v : -1; });
  }
  std::optional<int> value;
  std::optional<cf::completion<int>> answer;
};

TEST(R36_keys, an_integer_that_fits_is_the_key_that_it_says) {
  cf::basic_group<std::uint64_t> flights;
  EXPECT_EQ(*flights.run(7, [&] { return flights.has(7U) && flights.has(std::uint64_t{7}) ? 1 : 0; }), 1);
  EXPECT_EQ(*flights.run(std::int8_t{7}, [&] { return flights.has(7) ? 1 : 0; }), 1);
  cf::basic_group<std::int8_t> small;
  EXPECT_EQ(
      *small.run(-128, [&] { return small.has(-128LL) && !small.has(128) && !small.has(128U) ? 1 : 0; }), 1);
}

TEST(R36_keys, an_integer_that_does_not_fit_is_nobodys_key) {
  cf::basic_group<int> flights;
  held_flight<int> const seven(flights, 7), minus_one(flights, -1);
  auto const other = 7 + (1LL << 32);
  auto const task = [] { return 0; };
  auto const callback = [](std::exception_ptr, std::shared_ptr<int const>) {
    ADD_FAILURE() << "there is no call";
  };
  EXPECT_TRUE(flights.has(7LL));
  EXPECT_FALSE(flights.has(8LL)) << "it fits, and is nobody's";
  EXPECT_FALSE(flights.has(other));
  EXPECT_FALSE(flights.cancel(other));
  EXPECT_FALSE(flights.has((std::numeric_limits<unsigned>::max)()));
  EXPECT_FALSE(flights.cancel((std::numeric_limits<std::uint64_t>::max)()));
  EXPECT_THROW((void)flights.run(other, task), std::out_of_range);
  EXPECT_THROW((void)flights.run(other, cf::run_options(), task), std::out_of_range);
  EXPECT_THROW((void)flights.run((std::numeric_limits<unsigned>::max)(), task), std::out_of_range);
  EXPECT_THROW(flights.start(other, task, callback), std::out_of_range);
  EXPECT_EQ(flights.size(), 2U);
  EXPECT_EQ(flights.stats().misses, 2U);
  EXPECT_EQ(flights.stats().hits, 0U);
  cf::basic_group<std::uint64_t> of_unsigned;
  EXPECT_THROW((void)of_unsigned.run(-1, task), std::out_of_range);
  EXPECT_FALSE(of_unsigned.has(-1));
}

TEST(R36_keys, the_text_of_the_error_does_not_tell_the_number) {
  cf::basic_group<std::uint8_t> flights;
  try {
    (void)flights.run(12345, [] { return 0; });
    ADD_FAILURE();
  } catch (std::out_of_range const& e) {
    EXPECT_EQ(std::string_view(e.what()).find("12345"), std::string_view::npos) << e.what();
    EXPECT_EQ(std::string_view(e.what()).find("cacheflight: "), 0U) << e.what();
  }
}

enum class small_number : std::int8_t {};
struct small_hash {
  using is_transparent = void;
  std::size_t operator()(small_number n) const { return static_cast<std::size_t>(n); }
  std::size_t operator()(long long n) const { return static_cast<std::size_t>(n); }
};
struct small_equal {
  using is_transparent = void;
  bool operator()(small_number a, small_number b) const { return a == b; }
  bool operator()(small_number a, long long b) const { return static_cast<long long>(a) == b; }
};

TEST(R36_keys, an_enumeration_is_made_of_numbers_only_where_hash_and_equality_say_so_and_only_of_its_own) {
  cf::basic_group<small_number, small_hash, small_equal> flights;
  EXPECT_EQ(*flights.run(5, [&] { return flights.has(small_number(5)) && !flights.has(5 + 256) ? 1 : 0; }),
            1);
  EXPECT_THROW((void)flights.run(5 + 256, [] { return 0; }), std::out_of_range);
  static_assert(of<small_number, small_hash, small_equal>::none<double, bool, char, char const*>);
}

struct account_number {
  std::size_t digits;
};
struct account {
  account_number number;
};
struct account_hash {
  using is_transparent = void;
  std::size_t operator()(account const& a) const { return a.number.digits; }
  std::size_t operator()(account_number n) const { return n.digits; }
};
struct account_equal {
  using is_transparent = void;
  bool operator()(account const& a, account const& b) const { return a.number.digits == b.number.digits; }
  bool operator()(account const& a, account_number n) const { return a.number.digits == n.digits; }
};

TEST(R36_keys, what_hash_and_equality_take_is_looked_up_as_it_is) {
  cf::basic_group<account, account_hash, account_equal> flights;
  auto const look = [&] { return flights.has(account_number{7}) && !flights.has(account_number{8}) ? 1 : 0; };
  EXPECT_EQ(*flights.run(account{{7}}, look), 1);
  EXPECT_EQ(*flights.run(account{{7}}, [&] { return flights.cancel(account_number{8}) ? 1 : 0; }), 0);
}

struct path_hash {
  std::size_t operator()(std::filesystem::path const& p) const { return hash_value(p); }
};

TEST(R36_keys, a_null_pointer_is_no_text) {
  cf::group flights;
  cf::basic_group<std::string, std::hash<std::string>, std::equal_to<std::string>> plain_hash;
  cf::basic_group<std::wstring> wide;
  char const* const volatile text = nullptr;  // volatile: not seen by the compiler, which would warn
  wchar_t const* const volatile wide_text = nullptr;
  char const* const none = text;
  auto const task = [] { return 0; };
  EXPECT_THROW((void)flights.run(none, task), std::invalid_argument);
  EXPECT_THROW((void)flights.run(const_cast<char*>(none), task), std::invalid_argument);
  EXPECT_THROW(flights.start(none, task, [](std::exception_ptr, auto) {}), std::invalid_argument);
  EXPECT_THROW((void)flights.has(none), std::invalid_argument);
  EXPECT_THROW((void)flights.cancel(none), std::invalid_argument);
  EXPECT_THROW((void)plain_hash.run(none, task), std::invalid_argument);
  EXPECT_THROW((void)plain_hash.has(none), std::invalid_argument);
  EXPECT_THROW((void)wide.run(wide_text, task), std::invalid_argument);
  cf::basic_group<std::filesystem::path, path_hash> paths;  // made of text, but no text itself
  EXPECT_THROW((void)paths.has(none), std::invalid_argument);
  EXPECT_THROW((void)paths.run(none, task), std::invalid_argument);
  EXPECT_EQ(*paths.run("/tmp", task), 0);
}

// ---- key types with a say of their own --------------------------------------------------------------------

struct document {  // prints itself; another tenant's is another one
  std::string title;
  int tenant = 0;
  operator std::string_view() const { return title; }
  bool operator==(document const&) const = default;
};

}  // namespace
template <>
struct std::hash<document> {
  std::size_t operator()(document const& d) const {
    return std::hash<std::string>()(d.title) ^ static_cast<std::size_t>(d.tenant);
  }
};
namespace {

TEST(R36_keys, a_type_that_converts_to_text_keeps_its_own_equality_and_hash) {
  static_assert(std::same_as<cf::default_hash<document>, std::hash<document>>);
  static_assert(std::same_as<cf::default_equal<document>, std::equal_to<document>>);
  static_assert(of<document>::none<char const*, std::string>);
  cf::basic_group<document> flights;
  held_flight<document> const first(flights, document{"salaries", 1});
  EXPECT_TRUE(flights.has(document{"salaries", 1}));
  EXPECT_FALSE(flights.has(document{"salaries", 2}));
  EXPECT_FALSE(flights.cancel(document{"salaries", 2}));
  EXPECT_EQ(*flights.run(document{"salaries", 2}, [] { return 2; }), 2);
}

struct label {  // its text is all that it says
  explicit label(std::string_view t) : text(t) {}
  operator std::string_view() const { return text; }
  std::string text;
};

TEST(R36_keys, a_type_that_only_converts_to_text_is_compared_and_hashed_as_such) {
  static_assert(std::same_as<cf::default_hash<label>, cf::keyed_string_hash>);
  static_assert(std::same_as<cf::default_hash<std::string>, cf::keyed_string_hash>);
  static_assert(std::same_as<cf::default_hash<std::pmr::string>, cf::keyed_string_hash>);
  static_assert(std::same_as<cf::default_equal<std::pmr::string>, cf::string_equal>);
  cf::basic_group<label> flights;
  EXPECT_EQ(*flights.run("a", [&] { return flights.has(label("a")) && flights.has("a"sv) ? 1 : 0; }), 1);
  cf::basic_group<std::pmr::string> polymorphic;
  EXPECT_EQ(*polymorphic.run("a"sv, [&] { return polymorphic.has(std::string("a")) ? 1 : 0; }), 1);
  cf::basic_group<name> of_pointers;  // cannot be made of a view
  char buffer[] = "a";
  EXPECT_EQ(*of_pointers.run(buffer, [&] { return of_pointers.has("a"sv) ? 1 : 0; }), 1);
}

struct verdict {  // with a say of its own in what `&&` is
  bool value;
  explicit operator bool() const { return value; }
  [[maybe_unused]] friend bool operator&&(bool, verdict) { return true; }
  [[maybe_unused]] friend bool operator!(verdict) { return true; }
};
struct same_text {
  verdict operator()(std::string const& a, std::string const& b) const { return {a == b}; }
};
struct one_hash {
  std::size_t operator()(std::string const&) const { return 1; }
};

TEST(R36_keys, an_equality_may_return_what_has_operators_of_its_own) {
  cf::basic_group<std::string, one_hash, same_text> flights;
  EXPECT_EQ(*flights.run(
                "a", [&] { return flights.has("a") && !flights.has("b") && !flights.cancel("b") ? 1 : 0; }),
            1);
}

struct handle {  // `&` gives the address of what it wraps
  long padding[2] = {};
  int raw = 7;
  int const* operator&() const { return std::addressof(raw); }
  bool operator==(handle const& other) const { return raw == other.raw; }
};
struct handle_hash {
  std::size_t operator()(handle const& h) const { return static_cast<std::size_t>(h.raw); }
};

namespace hostile {
template <class T>
void operator&(T&&) = delete;

struct task {
  void operator()(cf::completion<int> done) const { done.set_value(7); }
};
}  // namespace hostile

TEST(R36_keys, an_address_operator_of_a_users_namespace_is_not_used) {
  cf::group flights;
  int answer = 0;
  flights.start("k", cf::answering<int>(hostile::task()),
                [&](std::exception_ptr, std::shared_ptr<int const> got) { answer = *got; });
  EXPECT_EQ(answer, 7);
}

TEST(R36_keys, an_overloaded_address_is_not_taken_for_the_keys) {
  int events = 0;
  cf::basic_group<handle, handle_hash> flights(cf::options().on_event([&](cf::event const& e) {
    ASSERT_NE(e.key_as<handle>(), nullptr);
    EXPECT_EQ(e.key_as<handle>()->raw, 7);
    ++events;
  }));
  EXPECT_EQ(*flights.run(handle(), [] { return 1; }), 1);
  EXPECT_EQ(events, 3);
  std::optional<cf::completion<int>> answer;
  std::exception_ptr error;
  flights.start(handle(), cf::answering<int>([&](cf::completion<int> c) { answer.emplace(std::move(c)); }),
                [&](std::exception_ptr e, std::shared_ptr<int const>) { error = e; });
  EXPECT_TRUE(flights.cancel(handle()));
  try {
    std::rethrow_exception(error);
  } catch (cf::cancelled_error const& e) {
    ASSERT_NE(e.key_as<handle>(), nullptr);
    EXPECT_EQ(e.key_as<handle>()->raw, 7);
  }
}

}  // namespace
