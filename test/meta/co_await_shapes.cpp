// SPDX-License-Identifier: MIT

// What g++ 12 destroys twice: an aggregate, a closure or an array that is built in an expression with a
// co_await, if its destructor does something. It is known here by a compiler that has the fault;
// scripts/lint-co-await must find each line that is marked `dies`, and no other.

#include <array>
#include <coroutine>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

/// Knows which of its objects are alive. Has a constructor, so it is no aggregate.
class tracked {
 public:
  tracked() { alive.insert(this); }
  tracked(tracked const&) { alive.insert(this); }
  tracked& operator=(tracked const&) = default;
  ~tracked() {
    if (alive.erase(this) == 0) ++destroyed_twice;
  }

  static inline std::set<tracked const*> alive;
  static inline int destroyed_twice = 0;
};

struct aggregate {
  tracked content{};
  int number = 0;
};
struct outer {
  aggregate content;
};
struct with_constructor {
  explicit with_constructor(tracked const& c, int = 0) : content(c) {}
  tracked content;
};
struct trivial {
  int number;
  int other;
};

struct awaiter {
  bool await_ready() { return false; }
  void await_suspend(std::coroutine_handle<> suspended) { suspended.resume(); }
  tracked await_resume() { return {}; }
};
template <class... Args>
awaiter run(Args&&... args) {
  [[maybe_unused]] std::tuple<std::decay_t<Args>...> const bound(std::forward<Args>(args)...);
  return {};
}
awaiter run_by_value(aggregate) { return {}; }
awaiter run_by_reference(aggregate const&) { return {}; }
template <class Function>
Function on(int, Function f) {
  return f;
}
int work(tracked const&) { return 1; }
void both(std::function<int()> const&, tracked const&) {}
void both(aggregate const&, tracked const&) {}
aggregate make() { return {}; }

struct task {
  struct promise_type {
    task get_return_object() { return {}; }
    std::suspend_never initial_suspend() { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_value(aggregate const&) {}
    void unhandled_exception() {}
  };
};

// clang-format off

// ---- built as an argument

task lambda() { tracked t; co_await run([t] { return work(t); }); co_return make(); }  // dies
task lambda_in_on() { tracked t; co_await run(on(1, [t] { return work(t); })); co_return make(); }  // dies
task lambda_in_a_function_object() { tracked t; co_await run(std::function<int()>([t] { return work(t); })); co_return make(); }  // dies
task lambda_called_at_once() { tracked t; co_await run([t] { return t; }()); co_return make(); }  // dies
task lambda_beside() { tracked t; both([t] { return work(t); }, co_await run()); co_return make(); }  // dies
task aggregate_argument() { tracked t; co_await run(aggregate{t, 3}); co_return make(); }  // dies
task aggregate_by_value() { tracked t; co_await run_by_value({t, 3}); co_return make(); }  // dies
task aggregate_by_reference() { tracked t; co_await run_by_reference({t, 3}); co_return make(); }  // dies
task aggregate_designated() { tracked t; co_await run(aggregate{.content = t, .number = 3}); co_return make(); }  // dies
task aggregate_empty() { co_await run(aggregate{}); co_return make(); }  // dies
task aggregate_nested() { tracked t; co_await run(outer{{t, 3}}); co_return make(); }  // dies
task aggregate_within() { tracked t; co_await run(std::make_shared<aggregate>(aggregate{t, 3})); co_return make(); }  // dies
task aggregate_in_an_optional() { tracked t; co_await run(std::optional<aggregate>{aggregate{t, 3}}); co_return make(); }  // dies
task aggregate_beside() { tracked t; both(aggregate{t, 3}, co_await run()); co_return make(); }  // dies
task array_argument() { tracked t; co_await run(std::array<tracked, 2>{t, t}); co_return make(); }  // dies

// ---- built of the result

task variable() { aggregate const a{co_await run(), 3}; co_return a; }  // dies
task variable_equals() { aggregate const a = {co_await run(), 3}; co_return a; }  // dies
task variable_auto() { auto const a = aggregate{co_await run(), 3}; co_return a; }  // dies
task variable_array() { [[maybe_unused]] tracked const a[]{co_await run()}; co_return make(); }  // dies
task assigned() { aggregate a; a = {co_await run(), 3}; co_return a; }  // dies
task returned() { co_return aggregate{co_await run(), 3}; }  // dies
task returned_in_braces() { co_return {co_await run(), 3}; }  // dies
task pushed() { std::vector<aggregate> v; v.push_back({co_await run(), 3}); co_return v[0]; }  // dies

// ---- what to write instead

task function_and_arguments() { tracked t; co_await run(work, t, tracked()); co_return make(); }
task lambda_with_a_name() { tracked t; auto const f = [t] { return work(t); }; co_await run(f); co_return make(); }
task lambda_moved_from_its_name() { tracked t; auto f = [t] { return work(t); }; co_await run(on(1, std::move(f))); co_return make(); }
task aggregate_with_a_name() { tracked t; aggregate a{t, 3}; co_await run(std::move(a)); co_return make(); }
task aggregate_from_a_function() { co_await run(make()); co_return make(); }
task aggregate_copied() { tracked t; aggregate const a{t, 3}; co_await run(aggregate(a)); co_return make(); }
task constructor() { tracked t; co_await run(with_constructor{t, 3}); co_return make(); }
task pair_and_tuple() { tracked t; co_await run(std::pair<tracked, int>{t, 3}, std::tuple<tracked, int>{t, 3}); co_return make(); }
task operation_with_a_name() { tracked t; auto operation = run(aggregate{t, 3}); co_await std::move(operation); co_return make(); }
task result_with_a_name() { tracked const r = co_await run(); aggregate const a{r, 3}; co_return a; }
task result_in_a_constructor() { with_constructor const a{co_await run(), 3}; co_return make(); }
task result_in_a_pair() { std::pair<tracked, int> const a{co_await run(), 3}; co_return make(); }
task nothing_to_destroy() { co_await run(trivial{1, 2}); co_return make(); }

// clang-format on

int wrong = 0;

void check(char const* name, task (*shape)(), [[maybe_unused]] bool dies) {
  tracked::alive.clear();
  tracked::destroyed_twice = 0;
  (void)shape();
  bool const died = tracked::destroyed_twice != 0 || !tracked::alive.empty();
#if defined(__clang__)
  bool const right = !died;
#elif defined(__GNUC__) && __GNUC__ == 12
  bool const right = died == dies;
#else
  bool const right = !died || dies;  // no advice that is needed can be missing
#endif
  if (right) return;
  ++wrong;
  std::printf("%s: destroyed twice: %d, not destroyed: %zu\n", name, tracked::destroyed_twice,
              tracked::alive.size());
}

}  // namespace

int main() {
#define DIES(name) check(#name, name, true)
#define LIVES(name) check(#name, name, false)
  DIES(lambda);
  DIES(lambda_in_on);
  DIES(lambda_in_a_function_object);
  DIES(lambda_called_at_once);
  DIES(lambda_beside);
  DIES(aggregate_argument);
  DIES(aggregate_by_value);
  DIES(aggregate_by_reference);
  DIES(aggregate_designated);
  DIES(aggregate_empty);
  DIES(aggregate_nested);
  DIES(aggregate_within);
  DIES(aggregate_in_an_optional);
  DIES(aggregate_beside);
  DIES(array_argument);
  DIES(variable);
  DIES(variable_equals);
  DIES(variable_auto);
  DIES(variable_array);
  DIES(assigned);
  DIES(returned);
  DIES(returned_in_braces);
  DIES(pushed);
  LIVES(function_and_arguments);
  LIVES(lambda_with_a_name);
  LIVES(lambda_moved_from_its_name);
  LIVES(aggregate_with_a_name);
  LIVES(aggregate_from_a_function);
  LIVES(aggregate_copied);
  LIVES(constructor);
  LIVES(pair_and_tuple);
  LIVES(operation_with_a_name);
  LIVES(result_with_a_name);
  LIVES(result_in_a_constructor);
  LIVES(result_in_a_pair);
  LIVES(nothing_to_destroy);
  return wrong == 0 ? 0 : 1;
}
