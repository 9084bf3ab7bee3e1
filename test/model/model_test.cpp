// SPDX-License-Identifier: MIT

// Programs that rapidcheck makes, and makes shorter when they fail. What a program does is compared with the
// model after each operation. RC_PARAMS chooses other sizes and seeds: "max_success=100000 seed=7".

#include "front_runners.hpp"
#include "hand_runner.hpp"
#include "program.hpp"

#include <gtest/gtest.h>

#include <rapidcheck.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ostream>
#include <string>
#include <vector>

namespace cacheflight_model {

void showValue(program const& p, std::ostream& out) { out << p.text() << p.hex(); }

namespace {

int const parameters_are_set = setenv("RC_PARAMS", "max_success=" CACHEFLIGHT_MODEL_PROGRAMS " seed=1", 0);

rc::Gen<std::uint8_t> any_byte() {
  return rc::gen::resize(rc::kNominalSize, rc::gen::arbitrary<std::uint8_t>());
}
rc::Gen<program> any_program() {
  auto const any_operation = rc::gen::construct<operation>(any_byte(), any_byte(), any_byte());
  return rc::gen::construct<program>(
      any_byte(), any_byte(), rc::gen::scale(2.0, rc::gen::container<std::vector<operation>>(any_operation)));
}

template <class Runner>
class model_of : public testing::Test {};

struct front_names {
  template <class Runner>
  static std::string GetName(int) {
    return std::is_same_v<Runner, hand_runner>       ? "hand"
           : std::is_same_v<Runner, callback_runner> ? "callback"
                                                     : "coroutine";
  }
};
using fronts = testing::Types<hand_runner, callback_runner, coroutine_runner>;
TYPED_TEST_SUITE(model_of, fronts, front_names);

TYPED_TEST(model_of, the_contract_agrees_with_every_program) {
  static_cast<void>(parameters_are_set);
  auto* runner = new TypeParam;
  std::uint64_t programs = 0;
  bool const fine = rc::check([&] {
    program const p = *any_program();
    ++programs;
    if (runner->run(p)) return;
    std::string const wrong = runner->wrong();
    TypeParam::forget();  // what the violation left behind is not touched any more
    runner = new TypeParam;
    RC_FAIL(wrong);
  });
  EXPECT_TRUE(fine);
  std::printf("rapidcheck: %llu programs, %llu commands\n", static_cast<unsigned long long>(programs),
              static_cast<unsigned long long>(runner->operations()));
  if (fine) delete runner;
}

}  // namespace
}  // namespace cacheflight_model
