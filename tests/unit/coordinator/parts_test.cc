// The small parts: step tracker, exchange rounds, membership.
#include <gtest/gtest.h>

#include "cluster/coordinator/exchange_rounds.h"
#include "cluster/coordinator/membership.h"
#include "cluster/coordinator/step_tracker.h"
#include "support/cluster/cluster_parts.h"

namespace pamir::coordinator {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(100);

TEST(StepTrackerTest, EachRankAnswersInOrder) {
  StepTracker tracker(2);
  tracker.Sent(StepId(7), kStart);
  tracker.Sent(StepId(8), kStart);
  EXPECT_FALSE(tracker.Answered(0, StepId(8)).ok());
  EXPECT_TRUE(tracker.Answered(0, StepId(7)).ok());
  EXPECT_FALSE(tracker.Answered(0, StepId(7)).ok());
  EXPECT_TRUE(tracker.Answered(0, StepId(8)).ok());
  EXPECT_FALSE(tracker.Answered(0, StepId(9)).ok());
  EXPECT_TRUE(tracker.AnyOut());
  EXPECT_TRUE(tracker.Answered(1, StepId(7)).ok());
  EXPECT_TRUE(tracker.Answered(1, StepId(8)).ok());
  EXPECT_FALSE(tracker.AnyOut());
}

TEST(StepTrackerTest, NamesTheSlowest) {
  StepTracker tracker(3);
  EXPECT_EQ(tracker.Late(absl::InfiniteFuture()), std::nullopt);
  tracker.Sent(StepId(1), kStart);
  EXPECT_TRUE(tracker.Answered(0, StepId(1)).ok());
  EXPECT_TRUE(tracker.Answered(2, StepId(1)).ok());
  EXPECT_EQ(tracker.Late(kStart), std::nullopt);
  EXPECT_EQ(tracker.Late(kStart + absl::Seconds(1)), 1);
}

TEST(StepTrackerTest, IsBounded) {
  StepTracker tracker(2);
  for (size_t i = 0; i < kMaxStepsOut; ++i) {
    EXPECT_TRUE(tracker.CanSend());
    tracker.Sent(StepId(i), kStart);
  }
  EXPECT_FALSE(tracker.CanSend());
}

TEST(ExchangeRoundsTest, TellsWhoIsMissing) {
  ExchangeRounds rounds(3);
  EXPECT_TRUE(rounds.Missing().empty());
  ASSERT_FALSE(rounds.Add(1, {Epoch(1), 0, "b"}, kStart)->has_value());
  EXPECT_EQ(rounds.Missing(), (std::vector<int>{0, 2}));
  EXPECT_EQ(rounds.waiting_since(), kStart);
  EXPECT_FALSE(rounds.Add(1, {Epoch(1), 0, "b"}, kStart).ok());  // twice
  EXPECT_FALSE(rounds.Add(0, {Epoch(1), 1, "b"}, kStart).ok());  // too early
  ASSERT_FALSE(rounds.Add(2, {Epoch(1), 0, "c"}, kStart)->has_value());
  const auto answer = rounds.Add(0, {Epoch(1), 0, "a"}, kStart);
  ASSERT_TRUE(answer->has_value());
  EXPECT_EQ((*answer)->blobs, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(rounds.Missing().empty());
  EXPECT_EQ(rounds.round(), 1u);
}

TEST(MembershipTest, ALostMemberKeepsItsRank) {
  Membership members(2);
  EXPECT_TRUE(members.Add(wire::LinkId(1), testing::FakeJoin("a", 1), kStart));
  EXPECT_TRUE(members.Add(wire::LinkId(2), testing::FakeJoin("a", 2), kStart));
  EXPECT_FALSE(members.Add(wire::LinkId(3), testing::FakeJoin("a", 3), kStart));
  members.AssignRanks();
  members.Remove(wire::LinkId(1));
  EXPECT_EQ(members.Find(wire::LinkId(1)), nullptr);
  EXPECT_EQ(members.at_rank(0).state, flow::RankState::kLost);
  EXPECT_EQ(members.present(), 1);
  EXPECT_EQ(members.Find(wire::LinkId(2))->Describe(), "rank 1 (a, pid 2)");
}

}  // namespace
}  // namespace pamir::coordinator
