// One row of norm.h with the machine's vectors.
#ifndef PAMIR_KERNELS_NORM_NORM_ROW_H_
#define PAMIR_KERNELS_NORM_NORM_ROW_H_

#include "kernels/norm/norm.h"
#include "kernels/simd/lanes.h"

namespace pamir::kernels {

// The order of a row's sums: element i is added to partial i mod 64, ascending; the four groups of
// 16 partials are added as (0 + 1) + (2 + 3), then the 16 lanes by SumLanes. Four groups hide the
// latency of an addition.
inline constexpr int kNormGroups = 4;
inline constexpr int kNormPartials = kNormGroups * kSumLanes;

void AddNormRow(const NormArgs& args, int64_t row);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_NORM_NORM_ROW_H_
