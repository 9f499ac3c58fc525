#include "model/sched_model.h"

#include <gtest/gtest.h>

namespace pamir::testing {
namespace {

constexpr uint64_t kSeeds = 1000;
constexpr int kOperations = 500;

TEST(SchedulerModel, HoldsUnderRandomOperations) {
  uint64_t preemptions = 0;
  const auto seeds = Seeds(kSeeds);
  for (const uint64_t seed : seeds) {
    SchedModel model(seed);
    for (int i = 0; i < kOperations && !HasFailure(); ++i) {
      model.Operate();
      ASSERT_FALSE(HasFailure()) << "PAMIR_SEED=" << seed << ", operation " << i << ": "
                                 << model.last_operation();
    }
    model.Drain();
    ASSERT_FALSE(HasFailure()) << "PAMIR_SEED=" << seed << ", " << model.last_operation();
    preemptions += model.preemptions();
  }
  // The seeds must reach what is hard to reach.
  EXPECT_TRUE(seeds.size() == 1 || preemptions > 100) << preemptions;
  RecordProperty("preemptions", static_cast<int>(preemptions));
}

}  // namespace
}  // namespace pamir::testing
