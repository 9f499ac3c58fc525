// What a rank does with plans that a scheduler would not make, or seldom makes.
#include "engine/model/opt_rank.h"

#include <memory>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "unit/model/generate.h"
#include "unit/model/thread_ranks.h"

namespace pamir::testing {
namespace {

using ::testing::HasSubstr;

spec::ModelSpec SmallModel() {
  return {.name = "small",
          .layers = 2,
          .hidden = 32,
          .heads = 4,
          .ffn = 64,
          .vocab = 280,
          .positions = 128,
          .embed = 32};
}

flow::StepPlan AdmitOne(uint64_t step, int slot, std::vector<int32_t> ids, int block) {
  flow::StepPlan plan{.step = StepId(step)};
  const int32_t length = static_cast<int32_t>(ids.size());
  plan.admissions.push_back({.slot = SlotId(slot),
                             .ids = std::move(ids),
                             .prompt_length = length,
                             .sampling = {.temperature = 0},
                             .blocks = {BlockId(block)}});
  return plan;
}

class BrokenPlans : public ::testing::Test {
 protected:
  BrokenPlans() : source_(weights::MakeDummySource(SmallModel(), {})) {
    const spec::ShardPlan plan = SmallPlan(SmallModel(), 1, 1);
    rank_ = model::MakeOptRank(
                {.model = SmallModel(), .plan = plan},
                weights::LoadRankWeights(SmallModel(), plan, 0, *source_, 1, nullptr).value(), {},
                nullptr)
                .value();
  }

  // The message of the refusal; the rank is dead then, and says the same again.
  std::string Refusal(const flow::StepPlan& plan) {
    const absl::Status status = rank_->Step(plan).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    EXPECT_EQ(rank_->Step({.step = StepId(99)}).status(), status);
    return std::string(status.message());
  }

  const std::unique_ptr<weights::TensorSource> source_;
  std::unique_ptr<flow::Rank> rank_;
};

TEST_F(BrokenPlans, MoreSamplesThanSlots) {
  flow::StepPlan plan = AdmitOne(1, 0, {2, 5}, 0);
  plan.rows.assign(9, {.slot = SlotId(0), .from = 0, .count = 2});
  EXPECT_THAT(Refusal(plan), HasSubstr("8"));
}

TEST_F(BrokenPlans, MoreTokensThanAStepHolds) {
  flow::StepPlan plan = AdmitOne(1, 0, std::vector<int32_t>(16, 5), 0);
  plan.rows.assign(17, {.slot = SlotId(0), .count = 16, .wants = flow::RowWants::kNothing});
  EXPECT_THAT(Refusal(plan), HasSubstr("more tokens"));
}

TEST_F(BrokenPlans, ARowOfIdsThatNobodyKnows) {
  flow::StepPlan plan = AdmitOne(1, 0, {2, 5}, 0);
  plan.rows.push_back({.slot = SlotId(0), .from = 2});
  EXPECT_THAT(Refusal(plan), HasSubstr("needs 3 ids"));
}

TEST_F(BrokenPlans, AScoreOfTheLastId) {
  flow::StepPlan plan = AdmitOne(1, 0, {2, 5}, 0);
  plan.rows.push_back(
      {.slot = SlotId(0), .from = 0, .count = 2, .wants = flow::RowWants::kPromptLogprobs});
  EXPECT_THAT(Refusal(plan), HasSubstr("no id to score"));
}

// Requests of one token are sampled once and never read again. Their ids pile up on the way to the
// first stage up to a limit, in order, and do no harm to who comes next in the same slot.
TEST(UnreadSamples, AreTakenOverBeyondTheLimit) {
  const auto source = weights::MakeDummySource(SmallModel(), {.seed = 4});
  ThreadRanks alone(SmallModel(), SmallPlan(SmallModel(), 1, 1), *source, 1);
  const auto expected = Generate(&alone, {{2, 7}}, 256, 12, {.temperature = 0})[0];
  ThreadRanks ranks(SmallModel(), SmallPlan(SmallModel(), 2, 2), *source, 1);
  for (uint64_t step = 1; step <= 30; ++step) {
    flow::StepPlan plan = AdmitOne(step, 0, {2, static_cast<int32_t>(step)}, 0);
    if (step > 1) plan.releases.push_back(SlotId(0));
    plan.rows.push_back({.slot = SlotId(0), .from = 0, .count = 2});
    ASSERT_EQ(ranks.Step(plan).sampled.size(), 1u);
  }
  flow::StepPlan release{.step = StepId(31)};
  release.releases.push_back(SlotId(0));
  ranks.Step(release);
  EXPECT_EQ(Generate(&ranks, {{2, 7}}, 256, 12, {.temperature = 0})[0].ids, expected.ids);
}

// More ids in one step than any transport holds: the sampling rank must not be left waiting.
TEST(UnreadSamples, MayBeMoreThanATransportHolds) {
  const spec::ModelSpec model{.name = "narrow",
                              .layers = 2,
                              .hidden = 8,
                              .heads = 1,
                              .ffn = 8,
                              .vocab = 16,
                              .positions = 2,
                              .embed = 8};
  constexpr int kSlots = 1 << 16;  // 256 KiB of ids, and a header: more than the largest ring
  spec::ShardPlan plan = SmallPlan(model, 1, 2);
  plan.limits = {.num_blocks = 1,
                 .max_num_seqs = kSlots,
                 .max_num_batched_tokens = kSlots,
                 .max_model_len = 2,
                 .text_vocab = 16};
  ThreadRanks ranks(model, plan, *weights::MakeDummySource(model, {}), 1);
  flow::StepPlan step{.step = StepId(1)};
  for (int slot = 0; slot < kSlots; ++slot) {  // all begin alike, so they may share a block
    step.admissions.push_back({.slot = SlotId(slot),
                               .ids = {2},
                               .prompt_length = 1,
                               .sampling = {.temperature = 0},
                               .blocks = {BlockId(0)}});
    step.rows.push_back({.slot = SlotId(slot)});
  }
  const flow::StepResult result = ranks.Step(step);
  ASSERT_EQ(result.sampled.size(), size_t{kSlots});
  EXPECT_EQ(result.sampled.front().token, result.sampled.back().token);
}

}  // namespace
}  // namespace pamir::testing
