#include "kernels/attention/kv_fp8.h"

#include <algorithm>
#include <cmath>

#include "base/dtype.h"
#include "kernels/attention/attention_cuda.h"

namespace pamir::kernels {

uint16_t KvFp8Scale(const float* values, int64_t count) {
  float amax = 0;  // NaN does not count
  for (int64_t i = 0; i < count; ++i) amax = std::fmax(amax, std::fabs(values[i]));
  const float scale = std::clamp(amax / kFloat8Max, 0x1p-24f, kKvFp8ScaleMax);
  const uint16_t nearest = FloatToHalf(scale);
  return HalfToFloat(nearest) < scale ? nearest + 1 : nearest;
}

uint8_t ToKvFp8(float value, uint16_t scale) { return FloatToFloat8(value / HalfToFloat(scale)); }

float FromKvFp8(uint8_t bits, uint16_t scale) {
  return HalfToFloat(FloatToHalf(Float8ToFloat(bits) * HalfToFloat(scale)));
}

}  // namespace pamir::kernels
