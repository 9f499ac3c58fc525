// The judge of the other tests must itself be able to say no.
#include "support/fake_rank.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace pamir::testing {
namespace {

using ::testing::HasSubstr;

flow::StepPlan FirstPlan() {
  flow::StepPlan plan{.epoch = Epoch(1), .step = StepId(1)};
  plan.admissions.push_back({.slot = SlotId(0),
                             .ids = {5, 6, 7},
                             .prompt_length = 3,
                             .blocks = {BlockId(0), BlockId(1)}});
  plan.rows.push_back({.slot = SlotId(0), .from = 0, .count = 3, .kind = flow::RowKind::kPrompt});
  return plan;
}

FakeRank Small() {
  return FakeRank(
      {.block_size = 2, .num_blocks = 4, .max_num_seqs = 2, .max_num_batched_tokens = 4});
}

TEST(FakeRank, ComputesAGoodPlan) {
  FakeRank rank = Small();
  const auto first = rank.Step(FirstPlan());
  ASSERT_TRUE(first.ok()) << first.status();
  const std::vector<TokenId> expected = FakeStream({5, 6, 7}, 0, 1000, 2);
  ASSERT_EQ(first->sampled.size(), 1u);
  EXPECT_EQ(first->sampled[0].token, expected[0]);
  flow::StepPlan next{.epoch = Epoch(1), .step = StepId(2)};
  next.rows.push_back({.slot = SlotId(0), .from = 3});
  const auto second = rank.Step(next);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->sampled[0].token, expected[1]);
  EXPECT_EQ(rank.live_slots(), 1);
  EXPECT_EQ(rank.owned_blocks(), 2);
}

TEST(FakeRank, RefusesBrokenPlans) {
  using P = flow::StepPlan;
  const std::vector<std::pair<std::string, std::function<void(P&)>>> cases = {
      {"behind step", [](P& p) { p.step = StepId(2); }},
      {"release of empty slot", [](P& p) { p.releases = {SlotId(1)}; }},
      {"taken or does not exist", [](P& p) { p.admissions[0].slot = SlotId(2); }},
      {"taken or does not exist", [](P& p) { p.admissions.push_back(p.admissions[0]); }},
      {"a prompt of 4", [](P& p) { p.admissions[0].prompt_length = 4; }},
      {"belongs to slot 0",
       [](P& p) {
         p.appended_blocks = {{SlotId(0), BlockId(1)}};
       }},
      {"block 4 of 4",
       [](P& p) {
         p.appended_blocks = {{SlotId(0), BlockId(4)}};
       }},
      {"a block for empty slot",
       [](P& p) {
         p.appended_blocks = {{SlotId(1), BlockId(2)}};
       }},
      {"do not cover", [](P& p) { p.admissions[0].blocks.pop_back(); }},
      {"positions are computed", [](P& p) { p.rows[0].from = 1; }},
      {"ids are known", [](P& p) { p.rows[0].count = 4; }},
      {"a sample is wanted", [](P& p) { p.rows[0].count = 2; }},
      {"scores wanted", [](P& p) { p.rows[0].wants = flow::RowWants::kPromptLogprobs; }},
      {"the kind is wrong", [](P& p) { p.rows[0].kind = flow::RowKind::kEmitted; }},
      {"the kind is wrong", [](P& p) { p.admissions[0].prompt_length = 2; }},
      {"row of empty slot", [](P& p) { p.rows[0].slot = SlotId(1); }},
      {"in this step already", [](P& p) { p.rows.push_back(p.rows[0]); }},
      {"forks", [](P& p) {
         p.forks = {{SlotId(0), SlotId(1), 1}};
       }}};
  for (const auto& [words, spoil] : cases) {
    FakeRank rank = Small();
    P plan = FirstPlan();
    spoil(plan);
    const auto result = rank.Step(plan);
    ASSERT_FALSE(result.ok()) << words;
    EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
    EXPECT_EQ(rank.Step(FirstPlan()).status(), result.status());  // dead for ever
  }
}

TEST(FakeRank, RefusesTooManyTokens) {
  FakeRank rank({.block_size = 2, .num_blocks = 4, .max_num_seqs = 2, .max_num_batched_tokens = 2});
  EXPECT_THAT(std::string(rank.Step(FirstPlan()).status().message()),
              HasSubstr("a step of 3 tokens; at most 2"));
}

}  // namespace
}  // namespace pamir::testing
