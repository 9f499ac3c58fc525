// A KV cache in fp8: what comes back of fp16 numbers of every size.
#include "kernels/attention/kv_fp8.h"

#include <cmath>
#include <limits>
#include <vector>

#include "base/dtype.h"
#include "base/philox.h"
#include "gtest/gtest.h"

namespace pamir::kernels {
namespace {

std::vector<float> ThereAndBack(const std::vector<float>& values) {
  const uint16_t scale = KvFp8Scale(values.data(), static_cast<int64_t>(values.size()));
  std::vector<float> back;
  for (const float value : values) back.push_back(FromKvFp8(ToKvFp8(value, scale), scale));
  return back;
}

TEST(KvFp8, EveryNumberComesBackWithinTheFormat) {
  for (int exponent = -24; exponent < 16; ++exponent) {
    std::vector<float> values = {std::ldexp(1.999f, exponent)};
    for (uint32_t i = 0; i < 1000; ++i) {
      const auto random = Philox4x32({i, 0, 0, 0}, {static_cast<uint32_t>(exponent), 3});
      const float part = std::ldexp(1.0f, -static_cast<int>(random[1] % 20));
      const float value = static_cast<float>(random[0]) * 0x1p-31f * part - part;
      values.push_back(std::ldexp(value, exponent));
    }
    float amax = 0;
    for (float& value : values) {
      value = HalfToFloat(FloatToHalf(value));
      amax = std::max(amax, std::abs(value));
    }
    const std::vector<float> back = ThereAndBack(values);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(HalfToFloat(FloatToHalf(back[i])), back[i]) << "no number of fp16";
      const float least = amax * 0x1p-18f + 0x1p-25f;
      ASSERT_LE(std::abs(back[i] - values[i]), std::abs(values[i]) * 0x1p-4f + least) << values[i];
    }
  }
}

TEST(KvFp8, TheLargestHalfStaysFinite) {
  const std::vector<float> back = ThereAndBack({65504, -65504, 1});
  EXPECT_EQ(back[0], 65472);
  EXPECT_EQ(back[1], -65472);
}

TEST(KvFp8, ZerosAndNaNComeBack) {
  EXPECT_EQ(ThereAndBack({0, -0.0f}), (std::vector<float>{0, 0}));
  const std::vector<float> back = ThereAndBack({1.75f, std::numeric_limits<float>::quiet_NaN(), 0});
  EXPECT_EQ(back[0], 1.75f);
  EXPECT_TRUE(std::isnan(back[1]));
  EXPECT_EQ(back[2], 0);
}

}  // namespace
}  // namespace pamir::kernels
