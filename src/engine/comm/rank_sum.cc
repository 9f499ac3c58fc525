// Compiled with -O3 (CMakeLists.txt): g++ 12 does not vectorise these loops at -O2. Vectors run
// over elements, so each element keeps its order of additions and its bits.
#include "engine/comm/rank_sum.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace pamir::comm {
namespace {

constexpr int64_t kTile = 2048;  // floats: out stays in the first-level cache between the parts

void Add(const float* __restrict a, const float* __restrict b, int64_t count,
         float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = a[i] + b[i];
}

void AddTo(const float* __restrict b, int64_t count, float* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = out[i] + b[i];
}

}  // namespace

void SumInRankOrder(const std::vector<const float*>& parts, int64_t count, float* out) {
  for (int64_t begin = 0; begin < count; begin += kTile) {
    const int64_t n = std::min(kTile, count - begin);
    size_t next = 1;
    if (parts[0] != out) {
      if (parts.size() == 1) {
        std::memcpy(out + begin, parts[0] + begin, static_cast<size_t>(n) * sizeof(float));
      } else {
        Add(parts[0] + begin, parts[1] + begin, n, out + begin);
        next = 2;
      }
    }
    for (; next < parts.size(); ++next) AddTo(parts[next] + begin, n, out + begin);
  }
}

}  // namespace pamir::comm
