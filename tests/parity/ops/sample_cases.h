// Rows of logits and one call of the sampler, for the tests of its parity and of its distribution.
#ifndef PAMIR_TESTS_PARITY_OPS_SAMPLE_CASES_H_
#define PAMIR_TESTS_PARITY_OPS_SAMPLE_CASES_H_

#include <cstdint>
#include <vector>

#include "kernels/sample/sample.h"
#include "parity/ops/parity.h"

namespace pamir::parity {

struct Drawn {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
};

// Draws once per entry of `rows`, each from the same logits.
inline Drawn DrawAll(const KernelContext& context, const std::vector<float>& logits,
                     const std::vector<kernels::SampleRow>& rows) {
  const auto count = static_cast<int64_t>(rows.size());
  const auto vocab = static_cast<int64_t>(logits.size());
  const int threads = context.pool != nullptr ? context.pool->threads() : 1;
  std::vector<float> repeated;
  for (int64_t r = 0; r < count; ++r) repeated.insert(repeated.end(), logits.begin(), logits.end());
  std::vector<double> scratch(kernels::SampleScratchBytes(vocab, threads) / 8 + 1);
  Drawn drawn{std::vector<int32_t>(count, -1), std::vector<float>(count, 1)};
  kernels::SampleArgs args;
  args.logits = repeated.data();
  args.rows = count;
  args.stride = vocab;
  args.vocab = vocab;
  args.params = rows.data();
  args.tokens = drawn.tokens.data();
  args.logprobs = drawn.logprobs.data();
  args.scratch = scratch.data();
  kernels::Sample(context, args);
  return drawn;
}

// `count` rows with the same parameters at positions 0, 1, 2, ...
inline std::vector<kernels::SampleRow> Positions(kernels::SampleRow row, int64_t count) {
  std::vector<kernels::SampleRow> rows(count, row);
  for (int64_t i = 0; i < count; ++i) rows[i].position = static_cast<uint64_t>(i);
  return rows;
}

// Roughly normal, as logits are: sums of four uniforms; ties on purpose, by rounding to 1/64.
inline std::vector<float> Logits(int64_t vocab, uint64_t seed, float scale) {
  std::vector<float> logits(vocab);
  for (int64_t i = 0; i < vocab; ++i) {
    float sum = 0;
    for (uint32_t s = 0; s < 4; ++s) sum += PhiloxUniform(seed, s, i) - 0.5f;
    logits[i] = std::round(sum * scale * 64) / 64;
  }
  return logits;
}

}  // namespace pamir::parity

#endif  // PAMIR_TESTS_PARITY_OPS_SAMPLE_CASES_H_
