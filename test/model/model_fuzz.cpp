// SPDX-License-Identifier: MIT

// libFuzzer's side: any bytes are a program. What it finds is kept in corpus/ and replayed by `model_run
// --replay`.
//
//   model_fuzz -max_len=200 <new corpus> test/model/corpus
//   model_fuzz -merge=1 -max_len=200 <empty folder> <new corpus>

#include "front_runners.hpp"
#include "hand_runner.hpp"
#include "program.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace {

using namespace cacheflight_model;

template <class Runner>
void run(program const& p, char const* front) {
  static auto* const r = new Runner;
  if (r->run(p)) return;
  std::fprintf(stderr, "%s\nviolated: %s\nagain with: model_run --front %s --hex %s\n", p.text().c_str(),
               r->wrong(), front, p.hex().c_str());
  std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size);
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed);

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
  static program p;
  p.assign({data, size});
  switch ((p.second >> 1) & 3) {
    case 1: run<callback_runner>(p, "callback"); break;
    case 2: run<coroutine_runner>(p, "coroutine"); break;
    default: run<hand_runner>(p, "hand"); break;
  }
  return 0;
}

/// Half of the time whole operations are inserted, dropped or moved, so that those behind them keep their
/// meaning.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::minstd_rand random(seed);
  std::size_t const operations = size < 2 ? 0 : (size - 2) / 3;
  if (random() % 2 || operations == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::uint8_t* const at = data + 2 + 3 * (random() % operations);
  auto const behind = static_cast<std::size_t>(data + size - at);
  switch (random() % 3) {
    case 0:
      if (size + 3 > max_size) return LLVMFuzzerMutate(data, size, max_size);
      std::memmove(at + 3, at, behind);
      for (int i = 0; i < 3; ++i) at[i] = static_cast<std::uint8_t>(random() >> 8);
      return size + 3;
    case 1: std::memmove(at, at + 3, behind - 3); return size - 3;
    default: {
      std::uint8_t* const other = data + 2 + 3 * (random() % operations);
      for (int i = 0; i < 3; ++i) std::swap(at[i], other[i]);
      return size;
    }
  }
}
