// Where top-k and top-p cut, found without sorting the vocabulary.
//
// Mostly the cut is among the few hundred likeliest: any m chunks hold at least m logits that are
// not below the least of their maxima, so the m-th largest of the chunks' maxima bounds a short
// list that holds the m likeliest, and only that is sorted. Else logits are counted in bins, and
// only the bin that holds the cut is sorted.
#ifndef PAMIR_KERNELS_SAMPLE_SAMPLE_CUT_H_
#define PAMIR_KERNELS_SAMPLE_SAMPLE_CUT_H_

#include <cstdint>

#include "kernels/sample/sample_row.h"

namespace pamir::kernels {

inline constexpr int kCutBins = 1024;

struct CutScratch {
  double* bins = nullptr;      // [kCutBins]: count or mass
  float* maxima = nullptr;     // [kCutBins]: of chunks
  int32_t* members = nullptr;  // [vocab]: ids of what is sorted
};

// The cut that keeps the k likeliest of n; 1 <= k <= n. Ids whose logit is not above -inf do not
// count: with fewer than k others, the cut keeps all of those.
Cut CutByCount(const float* logits, int64_t n, float max, int64_t k, const CutScratch& scratch);

// The cut that keeps the fewest likeliest ids whose weights sum to at least top_p of all weights.
Cut CutByMass(const float* logits, const float* weights, int64_t n, float max, float top_p,
              const CutScratch& scratch);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_CUT_H_
