// From logits to a token: greedy, or temperature, top-k and top-p with a counter-based random
// number.
//
// The draw is a function of (logits, parameters, seed, choice, position) alone.
//   1. Likeliest first means by logit descending, then by id ascending. Greedy takes the first.
//   2. top_k keeps the k likeliest; then top_p keeps, of these, the fewest likeliest ones whose
//      probabilities (softmax of logit / temperature over what top_k kept) sum to at least top_p,
//      and at least one. Neither sorts the vocabulary.
//   3. u = PhiloxUniform(seed, choice, position); walking the kept ids upwards, the token is the
//   first
//      whose cumulative probability mass exceeds u times the kept mass.
// Logits may be -inf (never drawn); a NaN is passed over. Where no logit is above -inf: token 0.
#ifndef PAMIR_KERNELS_SAMPLE_SAMPLE_H_
#define PAMIR_KERNELS_SAMPLE_SAMPLE_H_

#include <cstdint>

#include "base/kernel_context.h"

namespace pamir::kernels {

struct SampleRow {
  float temperature = 1;  // 0: greedy
  int32_t top_k = 0;      // 0: all
  float top_p = 1;
  uint64_t seed = 0;
  uint32_t choice = 0;
  uint64_t position = 0;  // of the token being drawn, within the sequence
};

struct SampleArgs {
  const float* logits = nullptr;  // [rows][stride]
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t vocab = 0;                  // ids 0 .. vocab - 1 take part
  const SampleRow* params = nullptr;  // [rows]
  int32_t* tokens = nullptr;          // [rows] out
  float* logprobs = nullptr;  // [rows] out: log softmax(logits)[token], temperature 1, no cuts
  void* scratch = nullptr;    // SampleScratchBytes(vocab, threads)
};
int64_t SampleScratchBytes(int64_t vocab, int threads);
void Sample(const KernelContext& context, const SampleArgs& args);
void SampleReference(const SampleArgs& args);

// logprobs[r] = log softmax(logits[r])[tokens[r]].
struct LogprobArgs {
  const float* logits = nullptr;
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t vocab = 0;
  const int32_t* tokens = nullptr;
  float* logprobs = nullptr;
};
void TokenLogprobs(const KernelContext& context, const LogprobArgs& args);
void TokenLogprobsReference(const LogprobArgs& args);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_H_
