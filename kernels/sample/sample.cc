// Checks, the choice of back end, rows over threads, and one row's draw put together from the
// passes of sample_row.h.
#include "kernels/sample/sample.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/philox.h"
#include "base/units.h"
#include "kernels/sample/sample_cut.h"
#include "kernels/sample/sample_row.h"

namespace pamir::kernels {
namespace {

// 1 / temperature is limited, so that a temperature too small to invert means "only the likeliest".
constexpr float kMaxInverseTemperature = 1e30f;
constexpr int64_t kAlignment = 64;

// One thread's scratch: a weight and an id for each token of the vocabulary, and the bins of a cut.
struct RowScratch {
  float* weights;
  CutScratch cut;
};

int64_t ThreadScratchBytes(int64_t vocab) {
  const int64_t bins = kCutBins * static_cast<int64_t>(sizeof(double) + sizeof(float));
  return bins + 2 * RoundUp(vocab * static_cast<int64_t>(sizeof(float)), kAlignment);
}

RowScratch ScratchOf(const SampleArgs& args, int part) {
  char* at = static_cast<char*>(args.scratch) + part * ThreadScratchBytes(args.vocab);
  RowScratch scratch;
  scratch.cut.bins = reinterpret_cast<double*>(at);
  at += kCutBins * sizeof(double);
  scratch.cut.maxima = reinterpret_cast<float*>(at);
  at += kCutBins * sizeof(float);
  scratch.weights = reinterpret_cast<float*>(at);
  at += RoundUp(args.vocab * static_cast<int64_t>(sizeof(float)), kAlignment);
  scratch.cut.members = reinterpret_cast<int32_t*>(at);
  return scratch;
}

void CheckShape(const KernelContext& context, int64_t vocab, int64_t stride) {
  PAMIR_CHECK(vocab >= 1 && vocab <= stride,
              absl::StrCat("a vocabulary of ", vocab, " in rows of ", stride));
  PAMIR_CHECK(context.backend == Backend::kReference || context.pool != nullptr,
              "the CPU back end needs its pool");
}

// The first id whose cumulative weight exceeds u times the sum of all: whole chunks first, then
// within one. Where rounding makes a chunk's parts fall short of its sum, its last id that can be
// drawn; where nothing can be drawn, -1.
int32_t WalkToMass(const float* weights, int64_t n, float u) {
  double total = 0;
  for (int64_t i = 0; i < n; i += kSampleChunk) {
    total += SumChunk(weights + i, std::min(kSampleChunk, n - i));
  }
  const double target = u * total;
  double sum = 0;
  int32_t last = -1;
  for (int64_t begin = 0; begin < n; begin += kSampleChunk) {
    const int64_t end = std::min(begin + kSampleChunk, n);
    const double chunk = SumChunk(weights + begin, end - begin);
    if (!(sum + chunk > target)) {
      sum += chunk;
      continue;
    }
    for (int64_t i = begin; i < end; ++i) {
      sum += weights[i];
      if (weights[i] > 0) last = static_cast<int32_t>(i);
      if (sum > target) break;
    }
    break;
  }
  return last;
}

int32_t Draw(const float* logits, int64_t n, float max, const SampleRow& row,
             const RowScratch& scratch) {
  float* weights = scratch.weights;
  ExpWeights(logits, n, max, std::min(1 / row.temperature, kMaxInverseTemperature), weights);
  if (row.top_k > 0 && row.top_k < n) {
    ApplyCut(logits, n, CutByCount(logits, n, max, row.top_k, scratch.cut), weights);
  }
  if (row.top_p < 1) {
    ApplyCut(logits, n, CutByMass(logits, weights, n, max, row.top_p, scratch.cut), weights);
  }
  return WalkToMass(weights, n, PhiloxUniform(row.seed, row.choice, row.position));
}

float Logprob(const float* logits, int64_t n, float max, int32_t token) {
  const double above = static_cast<double>(logits[token]) - max;
  return static_cast<float>(above - std::log(SumExp(logits, n, max)));
}

int32_t SampleOne(const float* logits, int64_t n, float max, const SampleRow& row,
                  const RowScratch& scratch) {
  if (!std::isfinite(max) || !(row.temperature > 0)) return FirstEqual(logits, n, max);
  const int32_t drawn = Draw(logits, n, max, row, scratch);
  return drawn >= 0 ? drawn : FirstEqual(logits, n, max);
}

}  // namespace

int64_t SampleScratchBytes(int64_t vocab, int threads) {
  return threads * ThreadScratchBytes(vocab);
}

void Sample(const KernelContext& context, const SampleArgs& args) {
  CheckShape(context, args.vocab, args.stride);
  if (context.backend == Backend::kReference) return SampleReference(args);
  const int parts = static_cast<int>(std::min<int64_t>(args.rows, context.pool->threads()));
  context.pool->ParallelFor(parts, [&](int part) {
    const RowScratch scratch = ScratchOf(args, part);
    for (int64_t r = part; r < args.rows; r += parts) {
      const float* logits = args.logits + r * args.stride;
      const float max = MaxLogit(logits, args.vocab);
      args.tokens[r] = SampleOne(logits, args.vocab, max, args.params[r], scratch);
      args.logprobs[r] = Logprob(logits, args.vocab, max, args.tokens[r]);
    }
  });
}

void TokenLogprobs(const KernelContext& context, const LogprobArgs& args) {
  CheckShape(context, args.vocab, args.stride);
  for (int64_t r = 0; r < args.rows; ++r) {
    PAMIR_CHECK(args.tokens[r] >= 0 && args.tokens[r] < args.vocab,
                absl::StrCat("token ", args.tokens[r], " of ", args.vocab));
  }
  if (context.backend == Backend::kReference) return TokenLogprobsReference(args);
  const int parts = static_cast<int>(std::min<int64_t>(args.rows, context.pool->threads()));
  context.pool->ParallelFor(parts, [&](int part) {
    for (int64_t r = part; r < args.rows; r += parts) {
      const float* logits = args.logits + r * args.stride;
      const float max = MaxLogit(logits, args.vocab);
      args.logprobs[r] = Logprob(logits, args.vocab, max, args.tokens[r]);
    }
  });
}

}  // namespace pamir::kernels
