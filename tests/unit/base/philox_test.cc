#include "base/philox.h"

#include <cmath>
#include <set>

#include "gtest/gtest.h"

namespace pamir {
namespace {

// From Random123's kat_vectors, "philox4x32 10".
TEST(Philox, GivesThePublishedNumbers) {
  EXPECT_EQ(Philox4x32({0, 0, 0, 0}, {0, 0}),
            (PhiloxCounter{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(Philox4x32({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
            (PhiloxCounter{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxCounter{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, UniformNumbersFillTheUnitInterval) {
  constexpr int kDraws = 100000, kCells = 20;
  int counts[kCells] = {};
  double sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const float u = PhiloxUniform(42, 1, i);
    ASSERT_GE(u, 0);
    ASSERT_LT(u, 1);
    sum += u;
    ++counts[static_cast<int>(u * kCells)];
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 4 * std::sqrt(1.0 / 12 / kDraws));
  double chi = 0;
  for (const int count : counts) {
    const double expected = static_cast<double>(kDraws) / kCells;
    chi += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi, 45);  // 19 degrees of freedom: 99.9 % lie below 43.8
  EXPECT_GT(chi, 4);   // 99.99 % lie above 3.9
}

TEST(Philox, EveryPartOfTheKeyCounts) {
  const float base = PhiloxUniform(1, 2, 3);
  const std::set<float> all = {base,
                               PhiloxUniform(2, 2, 3),
                               PhiloxUniform(1 + (uint64_t{1} << 40), 2, 3),
                               PhiloxUniform(1, 3, 3),
                               PhiloxUniform(1, 2, 4),
                               PhiloxUniform(1, 2, 3 + (uint64_t{1} << 40))};
  EXPECT_EQ(all.size(), 6u);
  EXPECT_EQ(PhiloxUniform(1, 2, 3), base);
}

}  // namespace
}  // namespace pamir
