// A coordinator and workers over real gRPC: requests end to end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "support/cluster/test_cluster.h"

namespace pamir::testing {
namespace {

using ::testing::HasSubstr;

TEST(ClusterTest, OneRankGivesTheStream) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  const auto request = FakeRequest(1, {2, 10, 11}, 20);
  auto sink = cluster.Submit(request);
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
  EXPECT_EQ(sink->tokens(), StreamAlone(request));
}

TEST(ClusterTest, FourRanksManyRequestsEachAsIfAlone) {
  TestCluster cluster(FakeCoordinatorOptions(2, 2));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  std::vector<flow::TokenRequest> requests;
  std::vector<std::shared_ptr<CollectingSink>> sinks;
  for (int i = 0; i < 40; ++i) {
    requests.push_back(FakeRequest(1 + i, {2, i, 5, i * 3}, 5 + i % 30));
    sinks.push_back(cluster.Submit(requests.back()));
  }
  for (int i = 0; i < 40; ++i) {
    const flow::TokenEvent last = sinks[i]->WaitUntilDone();
    EXPECT_EQ(last.finish, FinishReason::kLength) << last.error;
    EXPECT_EQ(sinks[i]->tokens(), StreamAlone(requests[i])) << i;
    EXPECT_EQ(sinks[i]->finishes(), 1);
  }
}

TEST(ClusterTest, StatsTellOfRanks) {
  TestCluster cluster(FakeCoordinatorOptions(1, 2));
  EXPECT_FALSE(cluster.coordinator().Stats().ready);
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  const flow::EngineStats stats = cluster.coordinator().Stats();
  EXPECT_TRUE(stats.ready);
  EXPECT_EQ(stats.epoch, Epoch(1));
  EXPECT_EQ(stats.model, "fake");
  ASSERT_EQ(stats.ranks.size(), 2u);
  for (int rank = 0; rank < 2; ++rank) {
    EXPECT_EQ(stats.ranks[rank].state, flow::RankState::kReady);
    EXPECT_EQ(stats.ranks[rank].weight_bytes, 1000 + rank);
    EXPECT_EQ(stats.ranks[rank].kv_bytes, 77);
    EXPECT_EQ(stats.ranks[rank].stage, rank);
    EXPECT_EQ(stats.ranks[rank].layers, 2);
    EXPECT_EQ(stats.ranks[rank].load_fraction, 1);
    EXPECT_EQ(stats.ranks[rank].host, "host-a");
  }
}

TEST(ClusterTest, RefusesAtTheDoor) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1));
  auto sink = std::make_shared<CollectingSink>();
  EXPECT_EQ(cluster.coordinator().Submit(FakeRequest(1, {5}, 3), sink).code(),
            absl::StatusCode::kUnavailable);
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  EXPECT_EQ(cluster.coordinator().Submit(FakeRequest(1, {}, 3), sink).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(cluster.coordinator().Submit(FakeRequest(1, {kFakeVocab}, 3), sink).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(
      cluster.coordinator().Submit(FakeRequest(1, std::vector<TokenId>(600, 5), 3), sink).code(),
      absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(sink->finishes(), 0);
}

TEST(ClusterTest, CancelEndsARunningRequest) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  auto sink = cluster.Submit(FakeRequest(1, {2, 3}, 500));
  ASSERT_TRUE(sink->WaitForTokens(3));
  cluster.coordinator().Cancel(SeqId(1));
  cluster.coordinator().Cancel(SeqId(1));
  cluster.coordinator().Cancel(SeqId(99));
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kCancelled);
  const auto next = FakeRequest(2, {7}, 4);
  auto after = cluster.Submit(next);
  EXPECT_EQ(after->WaitUntilDone().finish, FinishReason::kLength);
  EXPECT_EQ(after->tokens(), StreamAlone(next));
  EXPECT_EQ(sink->finishes(), 1);
}

TEST(ClusterTest, DeadlineEndsARequest) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  auto request = FakeRequest(1, {2, 3}, 500);
  request.deadline = absl::InfinitePast();
  const flow::TokenEvent last = cluster.Submit(request)->WaitUntilDone();
  EXPECT_EQ(last.finish, FinishReason::kCancelled);
  EXPECT_TRUE(last.deadline_exceeded);
}

TEST(ClusterTest, DrainFinishesWhatRunsAndEndsCleanly) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  const auto request = FakeRequest(1, {2, 3}, 200);
  auto sink = cluster.Submit(request);
  ASSERT_TRUE(sink->WaitForTokens(1));
  cluster.coordinator().Drain();
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
  EXPECT_EQ(sink->tokens(), StreamAlone(request));
  EXPECT_TRUE(cluster.coordinator().WaitUntilEnded().ok());
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(cluster.worker(i).Join().ok());
  auto late = std::make_shared<CollectingSink>();
  EXPECT_EQ(cluster.coordinator().Submit(FakeRequest(9, {5}, 3), late).code(),
            absl::StatusCode::kUnavailable);
}

TEST(ClusterTest, StopFailsWhatRuns) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  auto sink = cluster.Submit(FakeRequest(1, {2, 3}, 500));
  ASSERT_TRUE(sink->WaitForTokens(1));
  cluster.coordinator().Stop();
  const flow::TokenEvent last = sink->WaitUntilDone();
  EXPECT_EQ(last.finish, FinishReason::kError);
  EXPECT_THAT(last.error, HasSubstr("shutting down"));
  EXPECT_TRUE(cluster.worker(0).Join().ok());
}

TEST(ClusterTest, AFullQueueRefusesAndNothingIsLost) {
  auto options = FakeCoordinatorOptions(1, 1);
  options.max_waiting = 4;
  TestCluster cluster(options);
  absl::Mutex gate;
  RankScript script;
  script.step = [&gate](int, const flow::StepPlan&) {
    absl::MutexLock wait(&gate);
    return absl::OkStatus();
  };
  ASSERT_TRUE(cluster.AddAllWorkers(script).ok());
  std::vector<std::shared_ptr<CollectingSink>> taken;
  int refused = 0;
  {
    absl::MutexLock hold(&gate);  // no step comes back, so that at most 8 run and 4 wait
    for (int i = 0; i < 100; ++i) {
      auto sink = std::make_shared<CollectingSink>();
      const absl::Status status = cluster.coordinator().Submit(FakeRequest(1 + i, {2, 3}, 3), sink);
      if (status.ok()) {
        taken.push_back(sink);
      } else {
        EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
        ++refused;
      }
    }
  }
  EXPECT_GE(taken.size(), 4u);
  EXPECT_LE(taken.size(), 12u);
  EXPECT_EQ(refused + taken.size(), 100u);
  for (auto& sink : taken) EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
}

TEST(ClusterTest, OverAUnixSocket) {
  const std::string path = absl::StrCat(::testing::TempDir(), "/pamir-", getpid(), ".sock");
  TestCluster cluster(FakeCoordinatorOptions(1, 1), {.address = absl::StrCat("unix:", path)});
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  const auto request = FakeRequest(1, {4}, 6);
  auto sink = cluster.Submit(request);
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
  EXPECT_EQ(sink->tokens(), StreamAlone(request));
}

}  // namespace
}  // namespace pamir::testing
