#include "engine/model/slots.h"

#include "gtest/gtest.h"

namespace pamir::model {
namespace {

const spec::EngineLimits kLimits{.block_size = 16,
                                 .num_blocks = 4,
                                 .max_num_seqs = 2,
                                 .max_num_batched_tokens = 32,
                                 .max_model_len = 48,
                                 .text_vocab = 100};

flow::StepPlan Admit(int slot, std::vector<TokenId> ids, std::vector<BlockId> blocks) {
  flow::StepPlan plan;
  const int32_t length = static_cast<int32_t>(ids.size());
  plan.admissions.push_back({.slot = SlotId(slot),
                             .ids = std::move(ids),
                             .prompt_length = length,
                             .blocks = std::move(blocks)});
  return plan;
}

TEST(SlotTable, RemembersWhatPlansSay) {
  SlotTable slots(kLimits, 100);
  ASSERT_TRUE(slots.Apply(Admit(1, {2, 5, 7}, {BlockId(3)})).ok());
  flow::StepPlan plan;
  plan.forced_tokens.push_back({SlotId(1), 9});
  plan.appended_blocks.push_back({SlotId(1), BlockId(0)});
  plan.forks.push_back({SlotId(1), SlotId(0), 4});
  ASSERT_TRUE(slots.Apply(plan).ok());
  EXPECT_EQ(slots.at(SlotId(0)).ids, (std::vector<TokenId>{2, 5, 7, 9}));
  EXPECT_EQ(slots.at(SlotId(0)).blocks, (std::vector<int32_t>{3, 0}));
  EXPECT_EQ(slots.at(SlotId(0)).choice, 4);
  EXPECT_TRUE(slots.CheckRow({.slot = SlotId(0), .from = 0, .count = 32}).ok());
}

TEST(SlotTable, DropsALateTokenOfAnEarlierUse) {
  SlotTable slots(kLimits, 100);
  ASSERT_TRUE(slots.Apply(Admit(0, {2}, {BlockId(0)})).ok());
  const uint64_t first_use = slots.at(SlotId(0)).generation;
  flow::StepPlan reuse = Admit(0, {2, 3}, {BlockId(0)});
  reuse.releases.push_back(SlotId(0));
  ASSERT_TRUE(slots.Apply(reuse).ok());
  ASSERT_TRUE(slots.Append(SlotId(0), first_use, 50).ok());
  EXPECT_EQ(slots.at(SlotId(0)).ids, (std::vector<TokenId>{2, 3}));
  ASSERT_TRUE(slots.Append(SlotId(0), slots.at(SlotId(0)).generation, 51).ok());
  EXPECT_EQ(slots.at(SlotId(0)).ids, (std::vector<TokenId>{2, 3, 51}));
}

TEST(SlotTable, RefusesPlansThatCannotBe) {
  SlotTable slots(kLimits, 100);
  EXPECT_FALSE(slots.Apply(Admit(2, {2}, {})).ok()) << "a slot out of range";
  EXPECT_FALSE(slots.Apply(Admit(0, {}, {})).ok()) << "no ids";
  EXPECT_FALSE(slots.Apply(Admit(0, {100}, {})).ok()) << "a token outside the vocabulary";
  EXPECT_FALSE(slots.Apply(Admit(0, {2}, {BlockId(4)})).ok()) << "a block outside the pool";
  flow::StepPlan release;
  release.releases.push_back(SlotId(1));
  EXPECT_FALSE(slots.Apply(release).ok()) << "a free slot released";

  flow::StepPlan copy;
  copy.block_copies.push_back({BlockId(1), BlockId(1)});
  EXPECT_FALSE(slots.Apply(copy).ok()) << "a block copied onto itself";

  SlotTable good(kLimits, 100);
  ASSERT_TRUE(good.Apply(Admit(0, {2, 3}, {BlockId(0)})).ok());
  EXPECT_FALSE(good.Apply(Admit(0, {2}, {BlockId(1)})).ok()) << "a slot that is in use";
  EXPECT_FALSE(good.CheckRow({.slot = SlotId(0), .from = 0, .count = 17}).ok()) << "no block";
  EXPECT_FALSE(good.CheckRow({.slot = SlotId(0), .from = -1, .count = 1}).ok());
  EXPECT_FALSE(good.CheckRow({.slot = SlotId(0), .from = 0, .count = 0}).ok());
  EXPECT_FALSE(good.CheckRow({.slot = SlotId(1), .from = 0, .count = 1}).ok()) << "a free slot";
  flow::StepPlan forced;
  forced.forced_tokens.assign(47, {SlotId(0), 9});
  EXPECT_TRUE(good.Apply(forced).ok()) << "one id more than the context has positions";
  forced.forced_tokens.assign(1, {SlotId(0), 9});
  EXPECT_FALSE(good.Apply(forced).ok()) << "ids without end";
}

}  // namespace
}  // namespace pamir::model
