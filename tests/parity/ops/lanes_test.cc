// The exponential that softmax and sampling share.
#include "kernels/simd/lanes.h"

#include <cmath>
#include <limits>

#include "gtest/gtest.h"

namespace pamir::kernels {
namespace {

TEST(ExpNonPositive, IsWithinTwoUnitsInTheLastPlace) {
  double worst = 0;
  for (float x = 0; x > kExpUnderflow; x -= 1.37e-4f) {
    const double exact = std::exp(static_cast<double>(x));
    const double unit = std::nextafter(static_cast<float>(exact), 2.0f) - static_cast<float>(exact);
    worst = std::max(worst, std::abs(ExpNonPositive(x) - exact) / unit);
  }
  EXPECT_LT(worst, 2);
  EXPECT_GT(worst, 0.4) << "rounding alone costs half a unit: is anything compared?";
}

TEST(ExpNonPositive, HasExactEnds) {
  EXPECT_EQ(ExpNonPositive(0), 1);
  EXPECT_EQ(ExpNonPositive(-0.0f), 1);
  EXPECT_EQ(ExpNonPositive(-100), 0);
  EXPECT_EQ(ExpNonPositive(-std::numeric_limits<float>::infinity()), 0);
  EXPECT_EQ(ExpNonPositive(std::numeric_limits<float>::quiet_NaN()), 0);
  EXPECT_GT(ExpNonPositive(kExpUnderflow), 0);
}

TEST(SumLanes, AddsHalves) {
  float lanes[kSumLanes] = {};
  lanes[0] = 0x1p24f;  // swallows a 1 added to it alone, but not two
  lanes[8] = 1;
  lanes[4] = 1;
  lanes[12] = 1;
  EXPECT_EQ(SumLanes(lanes), 0x1p24f + 2);
}

}  // namespace
}  // namespace pamir::kernels
