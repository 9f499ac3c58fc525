#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_join.h"
#include "sim/simulation.h"

namespace pamir::sim {
namespace {

using ::testing::HasSubstr;

SimOptions Options(uint64_t seed) {
  constexpr int kShapes[][2] = {{1, 1}, {2, 1}, {1, 2}, {2, 2}};
  const auto& shape = kShapes[seed % 4];
  return {.seed = seed, .tp = shape[0], .pp = shape[1]};
}

TEST(SimTest, EveryStreamIsWhatItIsAlone) {
  int finished = 0, cancelled = 0, refused = 0;
  uint64_t preemptions = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const SimReport report = RunSimulation(Options(seed));
    ASSERT_TRUE(report.wrong.empty())
        << "seed " << seed << ": " << absl::StrJoin(report.wrong, "; ");
    ASSERT_TRUE(report.ended.ok()) << "seed " << seed << ": " << report.ended;
    EXPECT_EQ(report.failed, 0) << "seed " << seed;
    EXPECT_EQ(report.finished + report.cancelled + report.refused, 60) << "seed " << seed;
    finished += report.finished;
    cancelled += report.cancelled;
    refused += report.refused;
    preemptions += report.preemptions;
  }
  // The runs meet what they are meant to meet.
  EXPECT_GT(finished, 1000);
  EXPECT_GT(cancelled, 20);
  EXPECT_GT(refused, 0);
  EXPECT_GT(preemptions, 20u);
}

TEST(SimTest, ADeadRankEndsTheClusterAndEveryRequest) {
  int failed = 0;
  for (uint64_t seed = 100; seed < 140; ++seed) {
    SimOptions options = Options(seed);
    options.kill_a_rank = true;
    const SimReport report = RunSimulation(options);
    ASSERT_TRUE(report.wrong.empty())
        << "seed " << seed << ": " << absl::StrJoin(report.wrong, "; ");
    ASSERT_FALSE(report.killed.empty());
    EXPECT_THAT(report.ended.ToString(), HasSubstr(report.killed)) << "seed " << seed;
    failed += report.failed;
  }
  EXPECT_GT(failed, 40);
}

TEST(SimTest, OneSeedReplaysARun) {
  for (uint64_t seed = 200; seed < 204; ++seed) {
    const SimReport first = RunSimulation(Options(seed)), again = RunSimulation(Options(seed));
    EXPECT_EQ(first.fingerprint, again.fingerprint) << "seed " << seed;
    EXPECT_EQ(first.messages, again.messages);
    EXPECT_NE(first.fingerprint, RunSimulation(Options(seed + 4)).fingerprint);
  }
}

}  // namespace
}  // namespace pamir::sim
