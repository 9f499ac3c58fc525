// The coordinator's logic with a fake clock and links that only write down.
#include "cluster/coordinator/core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "support/cluster/cluster_parts.h"
#include "support/cluster/recording_links.h"

namespace pamir::coordinator {
namespace {

using ::testing::AllOf;
using testing::CollectingSink;
using testing::FakeRequest;
using ::testing::HasSubstr;
using wire::LinkId;
using Phase = Core::Phase;

class CoreTest : public ::testing::Test {
 protected:
  void Begin(int tp, int pp) { Begin(testing::FakeCoordinatorOptions(tp, pp)); }
  void Begin(const CoordinatorOptions& options) {
    options_ = options;
    ranks_ = options.load.plan.ranks();
    admission_ = std::make_unique<Admission>(options_);
    core_ = std::make_unique<Core>(options_, &links_, admission_.get(), now_);
  }

  void Do(Input input) {
    core_->Handle(std::move(input), now_);
    core_->Proceed(now_);
  }
  void Say(LinkId link, wire::FromWorker message) { Do(FromLink{link, std::move(message)}); }
  void Join(LinkId link, const std::string& host = "h") {
    Do(Joined{link, testing::FakeJoin(host, static_cast<int64_t>(link.value))});
  }
  // Ranks 0 .. n-1 on links 1 .. n.
  void FormCluster() {
    for (int rank = 0; rank < ranks_; ++rank) Join(Link(rank));
    for (int rank = 0; rank < ranks_; ++rank) Say(Link(rank), wire::Ready{.epoch = Epoch(1)});
    ASSERT_EQ(core_->phase(), Phase::kServing);
  }
  static LinkId Link(int rank) { return LinkId(rank + 1); }
  // Time passes, in steps in which every rank in `beating` beats.
  void Wait(absl::Duration time, const std::vector<int>& beating) {
    for (absl::Duration gone; gone < time; gone += absl::Milliseconds(500)) {
      now_ += absl::Milliseconds(500);
      for (const int rank : beating) core_->Handle(FromLink{Link(rank), wire::Heartbeat{}}, now_);
      core_->Proceed(now_);
    }
  }
  std::shared_ptr<CollectingSink> Submit(const flow::TokenRequest& request) {
    auto sink = std::make_shared<CollectingSink>();
    const absl::Status status = admission_->Admit(request);
    EXPECT_TRUE(status.ok()) << status;
    Do(Submitted{request, sink});
    return sink;
  }
  std::vector<flow::StepPlan> Plans(int rank) { return links_.Of<flow::StepPlan>(Link(rank)); }
  static flow::StepResult Answer(const flow::StepPlan& plan, TokenId token) {
    flow::StepResult result{.epoch = plan.epoch, .step = plan.step};
    for (const flow::Row& row : plan.rows) {
      if (row.wants == flow::RowWants::kSample) result.sampled.push_back({row.slot, token, 0, -1});
    }
    return result;
  }

  CoordinatorOptions options_;
  int ranks_ = 0;
  absl::Time now_ = absl::FromUnixSeconds(1'000'000);
  testing::RecordingLinks links_;
  std::unique_ptr<Admission> admission_;
  std::unique_ptr<Core> core_;
};

TEST_F(CoreTest, RanksOfOneHostAreAdjacent) {
  Begin(4, 1);
  Join(LinkId(1), "a");
  Join(LinkId(2), "b");
  Join(LinkId(3), "a");
  EXPECT_EQ(core_->phase(), Phase::kJoining);
  EXPECT_TRUE(links_.sent.empty());
  Join(LinkId(4), "b");
  EXPECT_EQ(core_->phase(), Phase::kLoading);
  const int rank_of_link[] = {0, 2, 1, 3};
  for (int i = 0; i < 4; ++i) {
    const LinkId link(i + 1);
    ASSERT_EQ(links_.sent[link].size(), 2u);
    EXPECT_EQ(links_.Of<wire::Welcome>(link)[0], (wire::Welcome{Epoch(1), rank_of_link[i], 4}));
    const flow::LoadRequest load = links_.Of<wire::Load>(link)[0].request;
    EXPECT_EQ(load.rank, rank_of_link[i]);
    EXPECT_EQ(load.ranks_on_host, 2);
    EXPECT_EQ(load.epoch, Epoch(1));
    EXPECT_EQ(load.plan, options_.load.plan);
  }
}

TEST_F(CoreTest, APlaceThatIsLeftBeforeAllCameIsFreeAgain) {
  Begin(2, 1);
  Join(LinkId(1));
  Do(LinkGone{LinkId(1), absl::UnavailableError("x")});
  Join(LinkId(2));
  EXPECT_EQ(core_->phase(), Phase::kJoining);
  Join(LinkId(3));
  EXPECT_EQ(core_->phase(), Phase::kLoading);
  EXPECT_EQ(links_.Of<wire::Welcome>(LinkId(2))[0].rank, 0);
  Join(LinkId(4));  // one too many
  EXPECT_EQ(links_.closed[LinkId(4)].code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CoreTest, ASilentJoinerMakesRoom) {
  Begin(2, 1);
  Join(LinkId(1));
  Wait(absl::Seconds(6), {});
  EXPECT_EQ(core_->phase(), Phase::kJoining);
  EXPECT_TRUE(links_.closed.contains(LinkId(1)));
  EXPECT_EQ(core_->Stats().ranks[0].state, flow::RankState::kAbsent);
}

TEST_F(CoreTest, TheNextStepIsOutBeforeTheLastComesBackUntilTheRequestIsDone) {
  Begin(2, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 3));
  for (int step = 0; step < 3; ++step) {
    const size_t out = std::min<size_t>(step + kStepsInFlight, 3);  // none behind its length
    for (int rank = 0; rank < 2; ++rank) ASSERT_EQ(Plans(rank).size(), out);
    EXPECT_TRUE(Plans(0)[step] == Plans(1)[step]);
    Say(Link(1), Answer(Plans(1)[step], 999));  // not the rank that samples
    EXPECT_EQ(Plans(0).size(), out);
    Say(Link(0), Answer(Plans(0)[step], 40 + step));
  }
  EXPECT_EQ(sink->tokens(), (std::vector<TokenId>{40, 41, 42}));
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
  EXPECT_EQ(Plans(0).size(), 3u);
  EXPECT_EQ(core_->TickInterval(), absl::Milliseconds(500));  // idle
}

TEST_F(CoreTest, TheLastStageSamples) {
  Begin(2, 2);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 1));
  for (const int rank : {0, 1, 3}) Say(Link(rank), Answer(Plans(rank)[0], 7));
  EXPECT_EQ(sink->finishes(), 0);
  Say(Link(2), Answer(Plans(2)[0], 8));
  EXPECT_EQ(sink->tokens(), std::vector<TokenId>{8});
}

TEST_F(CoreTest, OtherRanksMayLagButNotForEver) {
  Begin(2, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 100));
  for (size_t step = 0; step < kMaxStepsOut; ++step) {
    ASSERT_EQ(Plans(0).size(), std::min<size_t>(step + kStepsInFlight, kMaxStepsOut));
    Say(Link(0), Answer(Plans(0)[step], 40));
  }
  EXPECT_EQ(Plans(0).size(), kMaxStepsOut);  // rank 1 owes all of them
  Say(Link(1), Answer(Plans(1)[0], 40));
  EXPECT_EQ(Plans(0).size(), kMaxStepsOut + 1);
  Wait(options_.step_timeout + absl::Seconds(1), {0, 1});
  EXPECT_THAT(sink->WaitUntilDone().error, AllOf(HasSubstr("rank 1"), HasSubstr("step")));
}

TEST_F(CoreTest, ResultsOfAnotherEpochAreDropped) {
  Begin(1, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 2));
  flow::StepResult old = Answer(Plans(0)[0], 9);
  old.epoch = Epoch(0);
  Say(Link(0), old);
  EXPECT_TRUE(sink->tokens().empty());
  EXPECT_EQ(core_->phase(), Phase::kServing);
}

TEST_F(CoreTest, AnAnswerThatFitsNoStepLosesTheRank) {
  for (const bool wrong_step : {true, false}) {
    links_ = {};
    Begin(2, 1);
    FormCluster();
    auto sink = Submit(FakeRequest(1, {5, 6}, 2));
    flow::StepResult answer = Answer(Plans(0)[0], 9);
    if (wrong_step) answer.step = StepId(77);
    if (!wrong_step) answer.sampled[0].slot = SlotId(5);
    Say(Link(0), answer);
    EXPECT_EQ(core_->phase(), Phase::kLeaving);
    EXPECT_THAT(sink->WaitUntilDone().error, HasSubstr("rank 0"));
    EXPECT_EQ(links_.Of<wire::Abort>(Link(1)).size(), 1u);
    const auto shutdown = links_.Of<wire::Shutdown>(Link(1));
    ASSERT_EQ(shutdown.size(), 1u);
    EXPECT_FALSE(shutdown[0].clean);
    EXPECT_THAT(shutdown[0].reason, HasSubstr("rank 0"));
    EXPECT_TRUE(links_.closed.contains(Link(0)));
    Do(LinkGone{Link(1), absl::OkStatus()});
    EXPECT_EQ(core_->phase(), Phase::kEnded);
    EXPECT_EQ(core_->status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(sink->finishes(), 1);
  }
}

TEST_F(CoreTest, ASilentRankIsLostABeatingOneIsNot) {
  Begin(2, 1);
  FormCluster();
  Wait(absl::Minutes(10), {0, 1});
  EXPECT_EQ(core_->phase(), Phase::kServing);
  Wait(absl::Seconds(4), {0});
  EXPECT_EQ(core_->phase(), Phase::kServing);
  Wait(absl::Seconds(2), {0});
  EXPECT_EQ(core_->phase(), Phase::kLeaving);
  EXPECT_THAT(core_->status().ToString(), HasSubstr("rank 1"));
}

TEST_F(CoreTest, ACoordinatorThatWasAwayBlamesNobody) {
  Begin(2, 1);
  FormCluster();
  now_ += absl::Minutes(3);
  core_->Proceed(now_);
  EXPECT_EQ(core_->phase(), Phase::kServing);
}

TEST_F(CoreTest, ExchangesAreAnsweredInRankOrder) {
  Begin(2, 1);
  for (int rank = 0; rank < 2; ++rank) Join(Link(rank));
  for (uint32_t round = 0; round < 3; ++round) {
    Say(Link(1), wire::ExchangeBlob{Epoch(1), round, "one"});
    EXPECT_EQ(links_.Of<wire::Exchanged>(Link(0)).size(), round);
    Say(Link(0), wire::ExchangeBlob{Epoch(1), round, "zero"});
    for (int rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(links_.Of<wire::Exchanged>(Link(rank)).back(),
                (wire::Exchanged{Epoch(1), round, {"zero", "one"}}));
    }
  }
  Say(Link(0), wire::ExchangeBlob{Epoch(1), 1, "again"});
  EXPECT_THAT(core_->status().ToString(), AllOf(HasSubstr("rank 0"), HasSubstr("out of turn")));
}

TEST_F(CoreTest, AnExchangeWaitsForARankThatStillLoads) {
  Begin(2, 1);
  for (int rank = 0; rank < 2; ++rank) Join(Link(rank));
  Say(Link(0), wire::ExchangeBlob{Epoch(1), 0, "zero"});
  for (int i = 1; i <= 10; ++i) {
    Wait(options_.exchange_timeout / 2, {0, 1});
    Say(Link(1), wire::LoadProgress{Epoch(1), i, 10});
  }
  EXPECT_EQ(core_->phase(), Phase::kLoading);
  EXPECT_EQ(core_->Stats().ranks[1].load_fraction, 1);
  Wait(options_.exchange_timeout, {0, 1});
  EXPECT_EQ(core_->phase(), Phase::kLeaving);
  EXPECT_THAT(core_->status().ToString(), AllOf(HasSubstr("rank 1"), HasSubstr("exchange 0")));
}

TEST_F(CoreTest, ALoadHasADeadline) {
  Begin(2, 1);
  for (int rank = 0; rank < 2; ++rank) Join(Link(rank));
  Say(Link(0), wire::Ready{.epoch = Epoch(1)});
  Wait(options_.load_timeout, {0, 1});
  EXPECT_THAT(core_->status().ToString(), AllOf(HasSubstr("rank 1"), HasSubstr("did not load")));
}

TEST_F(CoreTest, ARankThatBlamesItsPeerIsGivenTimeToBeRight) {
  Begin(2, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 2));
  Say(Link(0), wire::Failed{Epoch(1), absl::UnavailableError("peer 1 is gone")});
  Do(LinkGone{Link(0), absl::UnavailableError("closed")});
  EXPECT_EQ(sink->finishes(), 0);
  Do(LinkGone{Link(1), absl::UnavailableError("killed")});
  EXPECT_THAT(sink->WaitUntilDone().error, HasSubstr("rank 1 (h, pid 2) was lost: killed"));
}

TEST_F(CoreTest, ARankThatBlamesItsPeerWronglyIsLostItself) {
  Begin(2, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 2));
  Say(Link(0), wire::Failed{Epoch(1), absl::UnavailableError("peer 1 is gone")});
  Wait(absl::Seconds(1), {0, 1});
  EXPECT_THAT(sink->WaitUntilDone().error,
              HasSubstr("rank 0 (h, pid 1) was lost: it failed: peer"));
}

TEST_F(CoreTest, DrainFinishesThenDrainsThenShutsDown) {
  Begin(2, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 1));
  Do(DrainOrder{});
  EXPECT_EQ(core_->phase(), Phase::kDraining);
  EXPECT_EQ(admission_->Admit(FakeRequest(2, {5}, 1)).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(links_.Of<wire::Drain>(Link(0)).empty());
  for (int rank = 0; rank < 2; ++rank) Say(Link(rank), Answer(Plans(rank)[0], 9));
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
  Do(flow::Cancel{SeqId(99)});
  EXPECT_EQ(links_.Of<wire::Drain>(Link(0)).size(), 1u);
  Say(Link(0), wire::Drained{});
  EXPECT_EQ(core_->phase(), Phase::kDraining);
  Say(Link(1), wire::Drained{});
  EXPECT_EQ(core_->phase(), Phase::kLeaving);
  EXPECT_TRUE(links_.Of<wire::Shutdown>(Link(1))[0].clean);
  for (int rank = 0; rank < 2; ++rank) Do(LinkGone{Link(rank), absl::OkStatus()});
  EXPECT_EQ(core_->phase(), Phase::kEnded);
  EXPECT_TRUE(core_->status().ok());
}

TEST_F(CoreTest, ADrainHasADeadlineAndSoHasLeaving) {
  Begin(1, 1);
  FormCluster();
  auto sink = Submit(FakeRequest(1, {5, 6}, 100));
  Do(DrainOrder{});
  Wait(options_.drain_timeout, {0});
  EXPECT_THAT(sink->WaitUntilDone().error, HasSubstr("shutting down"));
  Wait(2 * options_.leave_timeout, {0});  // it neither drains nor leaves
  EXPECT_EQ(core_->phase(), Phase::kEnded);
  EXPECT_TRUE(core_->status().ok());
}

TEST_F(CoreTest, WhoComesTooLateStillGetsALastEvent) {
  Begin(1, 1);
  FormCluster();
  const auto request = FakeRequest(1, {5, 6}, 100);
  ASSERT_TRUE(admission_->Admit(request).ok());
  Do(StopOrder{});
  auto sink = std::make_shared<CollectingSink>();
  Do(Submitted{request, sink});
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kError);
  EXPECT_EQ(sink->finishes(), 1);
}

TEST_F(CoreTest, RequestDeadlinesAreKeptWhileAStepIsOut) {
  Begin(1, 1);
  FormCluster();
  auto request = FakeRequest(1, {5, 6}, 100);
  request.deadline = now_ + absl::Seconds(1);
  auto sink = Submit(request);
  Wait(absl::Milliseconds(500), {0});
  EXPECT_EQ(sink->finishes(), 0);
  EXPECT_LE(core_->TickInterval(), absl::Milliseconds(50));
  Wait(absl::Milliseconds(500), {0});
  EXPECT_TRUE(sink->WaitUntilDone().deadline_exceeded);
}

}  // namespace
}  // namespace pamir::coordinator
