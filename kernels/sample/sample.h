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
#include "kernels/sample/sample_args.h"

namespace pamir::kernels {

int64_t SampleScratchBytes(int64_t vocab, int threads);
void Sample(const KernelContext& context, const SampleArgs& args);

void TokenLogprobs(const KernelContext& context, const LogprobArgs& args);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_H_
