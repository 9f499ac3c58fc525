// The benchmark's loop does what it claims: every step gives a token to every sequence.
#include "bench/coordinator/step_cost.h"

#include <gtest/gtest.h>
#include <time.h>

#include <iostream>

namespace pamir::bench {
namespace {

double CpuSeconds() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

TEST(StepCostTest, SixtyFourSequencesOnTwoRanks) {
  StepCost cost(StepCostOptions(2), 64);
  constexpr int kSteps = 1500;
  const double start = CpuSeconds();
  for (int i = 0; i < kSteps; ++i) ASSERT_TRUE(cost.Step()) << "step " << i;
  const double used = CpuSeconds() - start;
  EXPECT_EQ(cost.tokens(), 64u * kSteps);
  EXPECT_LE(cost.plan_bytes(), 64u * 16);
  // For the reader; the benchmark measures it properly.
  std::cout << 1e6 * used / kSteps << " us of CPU a step, " << cost.plan_bytes()
            << " bytes a plan\n";
}

}  // namespace
}  // namespace pamir::bench
