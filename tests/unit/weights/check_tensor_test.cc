#include "engine/weights/check_tensor.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace pamir::weights {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Values of `from`, all 1 but the one at `index`.
std::vector<char> Block(DType from, int64_t count, int64_t index, float value) {
  std::vector<char> bytes(static_cast<size_t>(count) * SizeOf(from));
  for (int64_t i = 0; i < count; ++i)
    StoreFromFloat(from, bytes.data(), i, i == index ? value : -1);
  return bytes;
}

int64_t Found(DType from, DType to, float value, int64_t count = 5000, int64_t index = 2500) {
  return FirstNotFinite(from, to, Block(from, count, index, value).data(), count);
}

TEST(FirstNotFinite, FindsNanAndInfinityEverywhere) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (const DType type : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    for (const float value : {infinity, -infinity, std::nanf("")}) {
      for (const int64_t index : {0, 1023, 1024, 2500, 4999}) {
        EXPECT_EQ(Found(type, type, value, 5000, index), index) << Name(type) << " " << value;
      }
      EXPECT_EQ(Found(type, type, value, 1, 0), 0);
    }
    EXPECT_EQ(Found(type, type, 60000), -1);
    EXPECT_EQ(Found(type, type, 0), -1);
    EXPECT_EQ(FirstNotFinite(type, type, nullptr, 0), -1);
  }
}

TEST(FirstNotFinite, KnowsWhatTheTargetCanHold) {
  EXPECT_EQ(Found(DType::kFloat32, DType::kFloat16, 65519), -1) << "rounds to 65504";
  EXPECT_EQ(Found(DType::kFloat32, DType::kFloat16, -65520), 2500);
  EXPECT_EQ(Found(DType::kFloat32, DType::kBFloat16, 3.38e38f), -1);
  EXPECT_EQ(Found(DType::kFloat32, DType::kBFloat16, 3.4e38f), 2500);
  EXPECT_EQ(Found(DType::kFloat32, DType::kFloat32, 3.4e38f), -1);
  EXPECT_EQ(Found(DType::kBFloat16, DType::kFloat16, 65280), -1);
  EXPECT_EQ(Found(DType::kBFloat16, DType::kFloat16, 65536), 2500);
  EXPECT_EQ(Found(DType::kBFloat16, DType::kFloat32, 1e30f), -1);
  EXPECT_EQ(Found(DType::kFloat16, DType::kBFloat16, 65504), -1);
}

TEST(FirstNotFinite, AgreesWithTheConversionForEveryHalfAndBFloat) {
  for (const DType from : {DType::kFloat16, DType::kBFloat16}) {
    for (const DType to : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
      for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const uint16_t stored = static_cast<uint16_t>(bits);
        char converted[4];
        StoreFromFloat(to, converted, 0, LoadAsFloat(from, &stored, 0));
        const bool finite = std::isfinite(LoadAsFloat(to, converted, 0));
        ASSERT_EQ(FirstNotFinite(from, to, &stored, 1), finite ? -1 : 0)
            << Name(from) << " to " << Name(to) << ": " << bits;
      }
    }
  }
}

TEST(CheckFinite, NamesTensorPlaceAndReason) {
  const DType f32 = DType::kFloat32;
  EXPECT_THAT(
      std::string(CheckFinite("w", f32, f32, Block(f32, 12, 7, std::nanf("")).data(), 3, 4, 100, 50)
                      .message()),
      AllOf(HasSubstr("tensor \"w\" at [101, 53]: NaN"), HasSubstr("finite")));
  EXPECT_THAT(
      std::string(CheckFinite("w", f32, DType::kFloat16, Block(f32, 12, 0, 1e6f).data(), 3, 4, 0, 0)
                      .message()),
      AllOf(HasSubstr("[0, 0]: 1e+06 is too large for float16"), HasSubstr("bfloat16")));
  EXPECT_TRUE(CheckFinite("w", f32, f32, Block(f32, 12, 0, 1).data(), 3, 4, 0, 0).ok());
}

}  // namespace
}  // namespace pamir::weights
