// Conversions, exhaustively where there are only 65536 cases; the judge is exact arithmetic in
// double.
#include "base/dtype.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "base/philox.h"
#include "gtest/gtest.h"

namespace pamir {
namespace {

// The value of a binary16 pattern by its definition; not for NaN.
double HalfByDefinition(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 31) return sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

bool IsHalfNan(uint16_t bits) { return (bits & 0x7FFF) > 0x7C00; }

// The nearest pattern to `value` of a format with `mantissa_bits`, ties to the even one, found
// among the two neighbours `below` and `below + 1` of a non-negative value.
template <typename ToDouble>
uint16_t Nearest(double value, uint16_t below, const ToDouble& to_double) {
  const double low = to_double(below), high = to_double(below + 1);
  if (value - low == high - value) return below % 2 == 0 ? below : below + 1;
  return value - low < high - value ? below : below + 1;
}

TEST(DType, EveryHalfIsItsDefinition) {
  for (int i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = HalfToFloat(bits);
    if (IsHalfNan(bits)) {
      EXPECT_TRUE(std::isnan(value)) << i;
      EXPECT_TRUE(IsHalfNan(FloatToHalf(value))) << i;
      continue;
    }
    EXPECT_EQ(value, HalfByDefinition(bits)) << i;
    EXPECT_EQ(std::signbit(value), (bits & 0x8000) != 0) << i;
    EXPECT_EQ(FloatToHalf(value), bits) << "there and back: " << i;
  }
}

TEST(DType, EveryBFloat16IsAFloatCutInHalf) {
  for (int i = 0; i < 65536; ++i) {
    const auto bits = static_cast<uint16_t>(i);
    const float value = BFloat16ToFloat(bits);
    EXPECT_EQ(std::bit_cast<uint32_t>(value), static_cast<uint32_t>(i) << 16);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(BFloat16ToFloat(FloatToBFloat16(value)))) << i;
    } else {
      EXPECT_EQ(FloatToBFloat16(value), bits) << i;
    }
  }
}

// Between every two neighbouring halfs: just below the middle, the middle, just above.
TEST(DType, FloatToHalfRoundsToNearestEven) {
  for (uint16_t below = 0; below < 0x7BFF; ++below) {
    const double middle = (HalfByDefinition(below) + HalfByDefinition(below + 1)) / 2;
    const auto exact = static_cast<float>(middle);
    ASSERT_EQ(exact, middle);
    for (const float value : {std::nextafter(exact, 0.0f), exact, std::nextafter(exact, 1e9f)}) {
      const uint16_t expected = Nearest(value, below, HalfByDefinition);
      ASSERT_EQ(FloatToHalf(value), expected) << value;
      ASSERT_EQ(FloatToHalf(-value), expected | 0x8000) << -value;
    }
  }
}

TEST(DType, FloatToHalfHasItsEnds) {
  EXPECT_EQ(FloatToHalf(65504), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65519.996f), 0x7BFF);
  EXPECT_EQ(FloatToHalf(65520), 0x7C00) << "halfway to 65536 overflows";
  EXPECT_EQ(FloatToHalf(1e30f), 0x7C00);
  EXPECT_EQ(FloatToHalf(-std::numeric_limits<float>::infinity()), 0xFC00);
  EXPECT_EQ(FloatToHalf(0x1p-25f), 0) << "half of the smallest: the even neighbour is 0";
  EXPECT_EQ(FloatToHalf(0x1.000002p-25f), 1);
  EXPECT_EQ(FloatToHalf(1e-40f), 0);
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
}

TEST(DType, FloatToBFloat16RoundsToNearestEven) {
  const auto to_double = [](uint16_t bits) { return double{BFloat16ToFloat(bits)}; };
  for (uint32_t below = 0; below < 0x7F7F; below += 3) {
    for (const uint32_t rest : {1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu}) {
      const auto value = std::bit_cast<float>(below << 16 | rest);
      ASSERT_EQ(FloatToBFloat16(value), Nearest(value, static_cast<uint16_t>(below), to_double));
    }
  }
  EXPECT_EQ(FloatToBFloat16(std::numeric_limits<float>::max()), 0x7F80) << "rounds to infinity";
}

double Float8ByDefinition(uint16_t bits) {
  const int exponent = bits >> 3 & 15, mantissa = bits & 7;
  return exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
}

TEST(DType, EveryFloat8IsItsDefinition) {
  for (int i = 0; i < 256; ++i) {
    const auto bits = static_cast<uint8_t>(i);
    const float value = Float8ToFloat(bits);
    EXPECT_EQ(FloatToFloat8(value), bits) << "there and back: " << i;
    EXPECT_EQ(std::signbit(value), (bits & 0x80) != 0) << i;
    EXPECT_EQ(std::isnan(value), (bits & 0x7F) == 0x7F) << i;
    if (!std::isnan(value)) {
      EXPECT_EQ(std::abs(value), Float8ByDefinition(bits & 0x7F)) << i;
    }
  }
}

TEST(DType, FloatToFloat8RoundsToNearestEvenUpToItsEnd) {
  for (uint16_t below = 0; below < 0x7E; ++below) {
    const auto middle =
        static_cast<float>((Float8ByDefinition(below) + Float8ByDefinition(below + 1)) / 2);
    for (const float value : {std::nextafter(middle, 0.0f), middle, std::nextafter(middle, 1e9f)}) {
      const uint16_t expected = Nearest(value, below, Float8ByDefinition);
      ASSERT_EQ(FloatToFloat8(value), expected) << value;
      ASSERT_EQ(FloatToFloat8(-value), expected | 0x80) << -value;
    }
  }
  EXPECT_EQ(Float8ToFloat(0x7E), kFloat8Max);
  EXPECT_EQ(FloatToFloat8(464.1f), 0x7E);
  EXPECT_EQ(FloatToFloat8(-std::numeric_limits<float>::infinity()), 0xFE);
}

#if defined(__FLT16_MANT_DIG__) && defined(__x86_64__)
// The compiler's own conversion, on any bits at all.
TEST(DType, AgreesWithTheCompilersHalf) {
  for (uint32_t i = 0; i < 2'000'000; ++i) {
    const auto value = std::bit_cast<float>(Philox4x32({i, 0, 0, 0}, {1, 2})[0]);
    if (std::isnan(value)) continue;
    const auto half = static_cast<_Float16>(value);
    uint16_t bits;
    std::memcpy(&bits, &half, sizeof bits);
    ASSERT_EQ(FloatToHalf(value), bits) << value;
  }
}
#endif

TEST(DType, LoadsAndStoresAnyType) {
  for (const DType type : {DType::kFloat16, DType::kBFloat16, DType::kFloat32}) {
    std::vector<char> bytes(1 + 4 * 4);  // one byte off: no alignment is asked for
    for (int i = 0; i < 4; ++i) StoreFromFloat(type, bytes.data() + 1, i, 1.5f * i);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(LoadAsFloat(type, bytes.data() + 1, i), 1.5f * i);
    EXPECT_EQ(DTypeFromName(Name(type)), type);
  }
  EXPECT_EQ(DTypeFromName("half"), DType::kFloat16);
  EXPECT_EQ(DTypeFromName("int8"), std::nullopt);
  EXPECT_EQ(DTypeFromName(""), std::nullopt);
}

}  // namespace
}  // namespace pamir
