#include "core/sched/ledger.h"

#include <gtest/gtest.h>

#include <limits>

#include "unit/sched/sched_testing.h"

namespace pamir::sched {
namespace {

TEST(Ledger, KeepsWhatAReplayNeeds) {
  Ledger ledger;
  flow::TokenRequest request = Request(7, {5, 6, 7}, 4);
  request.stop_token_ids = {9};
  request.prompt_logprobs = true;
  request.deadline = absl::FromUnixSeconds(3);
  Sequence* s = ledger.Add(request, 100, 11);
  ASSERT_NE(s, nullptr);
  EXPECT_EQ(s->arrival, 11u);
  EXPECT_EQ(s->ids, (std::vector<TokenId>{5, 6, 7}));
  EXPECT_EQ(s->prompt_length, 3);
  EXPECT_EQ(s->max_length, 7);
  EXPECT_EQ(s->sampling.seed, 7u);
  EXPECT_EQ(s->stop_token_ids, std::vector<TokenId>{9});
  EXPECT_TRUE(s->ignore_eos);
  EXPECT_TRUE(s->score);
  EXPECT_EQ(s->deadline, absl::FromUnixSeconds(3));
  EXPECT_FALSE(s->running());
  s->ids.push_back(8);
  EXPECT_EQ(s->emitted(), 1);
}

TEST(Ledger, FindsAddsOnceAndRemoves) {
  Ledger ledger;
  Sequence* s = ledger.Add(Request(7, {5}, 4), 100, 0);
  EXPECT_EQ(ledger.Add(Request(7, {6}, 4), 100, 1), nullptr);
  EXPECT_EQ(ledger.Find(SeqId(7)), s);
  EXPECT_EQ(s->ids, std::vector<TokenId>{5});
  EXPECT_EQ(ledger.Find(SeqId(8)), nullptr);
  ledger.Remove(SeqId(8));
  EXPECT_EQ(ledger.size(), 1u);
  ledger.Remove(SeqId(7));
  EXPECT_TRUE(ledger.empty());
}

TEST(Ledger, CutsMaxTokensToTheContext) {
  Ledger ledger;
  const int32_t huge = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(ledger.Add(Request(1, Prompt(3, 60), huge), 64, 0)->max_length, 64);
  EXPECT_EQ(ledger.Add(Request(2, Prompt(3, 60), 4), 64, 0)->max_length, 64);
  EXPECT_EQ(ledger.Add(Request(3, Prompt(3, 60), 3), 64, 0)->max_length, 63);
  const Sequence* scored = ledger.Add(Request(4, Prompt(3, 65), 0), 64, 0);
  EXPECT_EQ(scored->max_length, 65);
  EXPECT_FALSE(scored->generates());
  EXPECT_EQ(scored->target(), 64);
}

}  // namespace
}  // namespace pamir::sched
