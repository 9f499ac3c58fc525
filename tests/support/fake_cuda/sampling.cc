// Sampling, by the reference in kernels/sample.
#include <algorithm>
#include <cmath>

#include "support/fake_cuda/launch.h"
#include "support/fake_cuda/runtime.h"

namespace pamir::testing {
namespace {

using kernels::LogprobCudaArgs;
using kernels::SampleCudaArgs;

int64_t Span32(int64_t rows, int64_t stride, int64_t vocab) { return Span(rows, stride, vocab, 4); }

void LogprobsOf(const float* logits, int64_t rows, int64_t stride, int64_t vocab,
                const int32_t* tokens, float* logprobs) {
  kernels::LogprobArgs args;
  args.logits = logits, args.rows = rows, args.stride = stride, args.vocab = vocab;
  args.tokens = tokens, args.logprobs = logprobs;
  kernels::TokenLogprobsReference(args);
}

// What the reference gives at temperature 0, without sorting the vocabulary.
void Greedy(const SampleCudaArgs& a, int64_t row) {
  const float* logits = a.logits + row * a.stride;
  float best = -INFINITY;
  a.tokens[row] = 0;
  for (int64_t i = 0; i < a.vocab; ++i) {
    if (logits[i] > best) best = logits[i], a.tokens[row] = static_cast<int32_t>(i);
  }
  LogprobsOf(logits, 1, a.stride, a.vocab, a.tokens + row, a.logprobs + row);
}

void Draw(const SampleCudaArgs& a, int64_t row) {
  kernels::SampleArgs args;
  args.logits = a.logits + row * a.stride;
  args.rows = 1, args.stride = a.stride, args.vocab = a.vocab;
  args.params = a.params + row;
  args.tokens = a.tokens + row, args.logprobs = a.logprobs + row;
  kernels::SampleReference(args);
}

int Sample(const SampleCudaArgs& a, StreamRef stream) {
  if (a.rows == 0) return FakeState::Current().Return(0);
  if (a.vocab <= 0 || a.vocab > kernels::kSampleCudaVocabMax) return Refuse();
  return Launch("sample", stream)
      .Touches("logits", a.logits, Span32(a.rows, a.stride, a.vocab))
      .Touches("params", a.params, a.rows * static_cast<int64_t>(sizeof(kernels::SampleRow)), 8)
      .Touches("tokens", a.tokens, a.rows * 4)
      .Touches("logprobs", a.logprobs, a.rows * 4)
      .TouchesIfGiven("slots", a.slots, a.rows * 4)
      .Go([a] {
        for (int64_t r = 0; r < a.rows; ++r) {
          a.params[r].temperature > 0 ? Draw(a, r) : Greedy(a, r);
          if (a.slots == nullptr) continue;
          CheckDeviceRange("sample", -1, {"sampled", a.sampled + a.slots[r], 4});
          a.sampled[a.slots[r]] = a.tokens[r];
        }
      });
}

int TokenLogprobs(const LogprobCudaArgs& a, StreamRef stream) {
  if (a.rows == 0) return FakeState::Current().Return(0);
  return Launch("token_logprobs", stream)
      .Touches("logits", a.logits, Span32(a.rows, a.stride, a.vocab))
      .Touches("tokens", a.tokens, a.rows * 4)
      .Touches("logprobs", a.logprobs, a.rows * 4)
      .Go([a] { LogprobsOf(a.logits, a.rows, a.stride, a.vocab, a.tokens, a.logprobs); });
}

}  // namespace

void FillSampling(kernels::CudaApi* api) {
  api->sample = Sample;
  api->token_logprobs = TokenLogprobs;
}

}  // namespace pamir::testing
