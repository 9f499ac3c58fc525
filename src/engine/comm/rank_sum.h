#ifndef PAMIR_ENGINE_COMM_RANK_SUM_H_
#define PAMIR_ENGINE_COMM_RANK_SUM_H_

#include <cstdint>
#include <vector>

namespace pamir::comm {

// out[i] = ((parts[0][i] + parts[1][i]) + parts[2][i]) + ... in fp32: the one order of summation of
// every transport. `out` may be one of the parts only if it is parts[0]; no other overlap.
void SumInRankOrder(const std::vector<const float*>& parts, int64_t count, float* out);

}  // namespace pamir::comm

#endif  // PAMIR_ENGINE_COMM_RANK_SUM_H_
