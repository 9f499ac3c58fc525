// Sampling on CUDA devices: what sample.h defines, with no logits crossing the bus.
//
// A token's weight is exp((logit - max) / temperature) as an integer, in units of 2^-32: integers
// add up to the same mass in any order, so the draw does not depend on how threads race, and a
// cumulative mass is exact. The cut of top-k and top-p is found by counting logits (or their mass)
// by the bits of the logit, 11 + 11 + 10 of them, never by sorting. Against the reference in
// double, the token can differ only where u or top_p falls within 1e-6 of a cumulative mass.
#ifndef PAMIR_KERNELS_SAMPLE_SAMPLE_CUDA_H_
#define PAMIR_KERNELS_SAMPLE_SAMPLE_CUDA_H_

#include <cstdint>

#include "base/stream.h"
#include "kernels/sample/sample_args.h"

namespace pamir::kernels {

// A row's logits fit into one multiprocessor's shared memory, and its mass into 48 bits.
inline constexpr int64_t kSampleCudaVocabMax = 52 * 1024;

// All pointers are device memory.
struct SampleCudaArgs {
  const float* logits = nullptr;  // [rows][stride]
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t vocab = 0;                  // up to kSampleCudaVocabMax; ids 0 .. vocab - 1 take part
  const SampleRow* params = nullptr;  // [rows]
  int32_t* tokens = nullptr;          // [rows] out
  float* logprobs = nullptr;          // [rows] out: temperature 1, no cuts
  const int32_t* slots = nullptr;     // [rows], or null: not wanted
  int32_t* sampled = nullptr;  // sampled[slots[r]] = token: the next step's embedding reads it
  bool dependent_launch = false;
};
int SampleCuda(const SampleCudaArgs& args, StreamRef stream);

// logprobs[r] = log softmax(logits[r])[tokens[r]], over any vocabulary.
struct LogprobCudaArgs {
  const float* logits = nullptr;
  int64_t rows = 0;
  int64_t stride = 0;
  int64_t vocab = 0;
  const int32_t* tokens = nullptr;
  float* logprobs = nullptr;
  bool dependent_launch = false;
};
int TokenLogprobsCuda(const LogprobCudaArgs& args, StreamRef stream);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_CUDA_H_
