// Results come from another process: what does not fit the plan is refused and changes nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "unit/sched/sched_testing.h"

namespace pamir::sched {
namespace {

using ::testing::HasSubstr;

// A plan with one row that wants a sample (slot 0) and one that wants scores (slot 1).
class ResultTest : public ::testing::Test {
 protected:
  ResultTest() : rig_(SmallOptions()) {
    EXPECT_TRUE(rig_.scheduler.Arrive(Request(1, Prompt(100, 3), 1)).ok());
    flow::TokenRequest score = Request(2, Prompt(200, 3), 0);
    score.prompt_logprobs = true;
    EXPECT_TRUE(rig_.scheduler.Arrive(score).ok());
    right_ = rig_.rank.Step(*rig_.scheduler.PlanStep()).value();
  }

  absl::Status ApplySpoiled(const std::function<void(flow::StepResult&)>& spoil) {
    flow::StepResult result = right_;
    spoil(result);
    return rig_.scheduler.Apply(flow::StepDone{std::move(result)});
  }

  Rig rig_;
  flow::StepResult right_;
};

TEST_F(ResultTest, MisfitsAreRefusedWholly) {
  using R = flow::StepResult;
  const std::vector<std::function<void(R&)>> spoils = {
      [](R& r) { r.sampled.clear(); },
      [](R& r) { r.sampled.push_back(r.sampled[0]); },
      [](R& r) { r.sampled[0].slot = SlotId(1); },
      [](R& r) { r.sampled[0].slot = SlotId(-5); },
      [](R& r) { r.sampled[0].token = -1; },
      [](R& r) { r.prompt_logprobs.clear(); },
      [](R& r) { r.prompt_logprobs.push_back(r.prompt_logprobs[0]); },
      [](R& r) { r.prompt_logprobs[0].slot = SlotId(0); },
      [](R& r) { r.prompt_logprobs[0].from = 1; },
      [](R& r) { r.prompt_logprobs[0].logprobs.pop_back(); },
      [](R& r) { r.prompt_logprobs[0].logprobs.push_back(0); }};
  for (size_t i = 0; i < spoils.size(); ++i) {
    const absl::Status status = ApplySpoiled(spoils[i]);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << i;
    EXPECT_THAT(std::string(status.message()), HasSubstr("does not fit its plan")) << i;
    EXPECT_TRUE(rig_.scheduler.TakeEvents().empty()) << i;
    EXPECT_TRUE(rig_.scheduler.Stats().in_flight) << i;
  }
  EXPECT_TRUE(ApplySpoiled([](R&) {}).ok());
  EXPECT_EQ(rig_.scheduler.TakeEvents().size(), 2u);
}

TEST_F(ResultTest, OthersAreDroppedByNumber) {
  EXPECT_TRUE(ApplySpoiled([](flow::StepResult& r) { r.epoch = Epoch(0); }).ok());
  EXPECT_TRUE(ApplySpoiled([](flow::StepResult& r) { r.step = StepId(2); }).ok());
  EXPECT_TRUE(rig_.scheduler.TakeEvents().empty());
  EXPECT_FALSE(rig_.scheduler.PlanStep().has_value());  // the step is still out
  EXPECT_TRUE(ApplySpoiled([](flow::StepResult&) {}).ok());
  EXPECT_EQ(rig_.scheduler.TakeEvents().size(), 2u);
  EXPECT_TRUE(ApplySpoiled([](flow::StepResult&) {}).ok());  // twice: nothing is out
  EXPECT_TRUE(rig_.scheduler.TakeEvents().empty());
}

TEST_F(ResultTest, ABrokenResultOfAnOldEpochIsOnlyDropped) {
  ASSERT_TRUE(rig_.scheduler.Apply(flow::WorkerLost{0, "test"}).ok());
  EXPECT_TRUE(ApplySpoiled([](flow::StepResult& r) { r.sampled.clear(); }).ok());
}

}  // namespace
}  // namespace pamir::sched
