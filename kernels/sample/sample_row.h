// The passes over one row of logits that sampling is made of, with the machine's vectors.
#ifndef PAMIR_KERNELS_SAMPLE_SAMPLE_ROW_H_
#define PAMIR_KERNELS_SAMPLE_SAMPLE_ROW_H_

#include <cstdint>

namespace pamir::kernels {

// Sums are made of fp32 sums over chunks of this many ids (64 partials, 16 terms each), which are
// added in double: the error of a sum over any vocabulary stays near 1e-6 of it.
inline constexpr int64_t kSampleChunk = 1024;

// The largest logit, -inf where there is none; NaNs are passed over.
float MaxLogit(const float* logits, int64_t n);

// maxima[c] = MaxLogit of ids c * chunk .. c * chunk + chunk - 1, for all CeilDiv(n, chunk) chunks.
void ChunkMaxima(const float* logits, int64_t n, int64_t chunk, float* maxima);

// Writes the ids with logit >= floor, ascending; returns how many.
int64_t Collect(const float* logits, int64_t n, float floor, int32_t* ids);

// The lowest id whose logit equals `value`; 0 where none does.
int32_t FirstEqual(const float* logits, int64_t n, float value);

// Sum of exp(logit - max).
double SumExp(const float* logits, int64_t n, float max);

// weights[i] = exp((logit[i] - max) * scale).
void ExpWeights(const float* logits, int64_t n, float max, float scale, float* weights);

// Sum of one chunk's weights; n <= kSampleChunk.
double SumChunk(const float* weights, int64_t n);

// The least likely candidate that is kept: those with a higher logit, or the same and no higher id,
// are kept with it.
struct Cut {
  float logit;
  int64_t id;
};

// Sets the weights of all ids that the cut does not keep to 0.
void ApplyCut(const float* logits, int64_t n, const Cut& cut, float* weights);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_ROW_H_
