// What the parity tests share: the instruction sets to try, random numbers, and the one comparison
// that accepts the real kernels and must reject their broken twins.
#ifndef PAMIR_TESTS_PARITY_OPS_PARITY_H_
#define PAMIR_TESTS_PARITY_OPS_PARITY_H_

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "base/philox.h"
#include "kernels/simd/targets.h"
//
#include "hwy/highway.h"
#include "hwy/targets.h"

namespace pamir::parity {

// While it lives, kernels run as compiled for one instruction set.
class ForcedTarget {
 public:
  explicit ForcedTarget(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().DeInit();
  }
  ~ForcedTarget() {
    hwy::SetSupportedTargetsForTest(0);
    hwy::GetChosenTarget().DeInit();
  }
  ForcedTarget(const ForcedTarget&) = delete;
  ForcedTarget& operator=(const ForcedTarget&) = delete;
};

// Those that kernels are compiled for and this machine has, the portable one among them.
inline std::vector<int64_t> Targets() {
  std::vector<int64_t> targets;
  const int64_t all = (hwy::SupportedTargets() | HWY_STATIC_TARGET) & HWY_TARGETS;
  for (int bit = 0; bit < 63; ++bit) {
    if (all >> bit & 1) targets.push_back(int64_t{1} << bit);
  }
  return targets;
}

// With fused multiply-adds a kernel gives its reference's bits; the portable target has none.
inline bool HasFma(int64_t target) { return target != HWY_SCALAR && target != HWY_EMU128; }

// Uniform in [-1, 1), the same on every run.
inline std::vector<float> Random(int64_t count, uint64_t seed, float scale = 1) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) {
    values[i] = (2 * PhiloxUniform(seed, 0, i) - 1) * scale;
  }
  return values;
}

// Elements that differ: by bits where tolerance is 0, else by more than tolerance * (1 +
// |expected|). A NaN never equals anything.
inline int64_t CountDifferent(const float* expected, const float* actual, int64_t count,
                              double tolerance) {
  int64_t different = 0;
  for (int64_t i = 0; i < count; ++i) {
    const bool same =
        tolerance == 0
            ? std::bit_cast<uint32_t>(expected[i]) == std::bit_cast<uint32_t>(actual[i]) &&
                  !std::isnan(actual[i])
            : std::abs(double{expected[i]} - actual[i]) <= tolerance * (1 + std::abs(expected[i]));
    different += !same;
  }
  return different;
}

inline int64_t CountDifferent(const std::vector<float>& expected, const std::vector<float>& actual,
                              double tolerance) {
  if (expected.size() != actual.size()) return -1;
  return CountDifferent(expected.data(), actual.data(), static_cast<int64_t>(expected.size()),
                        tolerance);
}

}  // namespace pamir::parity

#endif  // PAMIR_TESTS_PARITY_OPS_PARITY_H_
