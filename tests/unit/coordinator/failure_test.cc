// A cluster over real gRPC whose parts break: everybody learns why, and nobody waits for ever.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "support/cluster/test_cluster.h"
#include "unit/wire/test_certificates.h"

namespace pamir::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

RankScript KillAtStep(int rank, uint64_t step, absl::Status why) {
  RankScript script;
  script.step = [=](int mine, const flow::StepPlan& plan) {
    return mine == rank && plan.step.value >= step ? why : absl::OkStatus();
  };
  return script;
}

TEST(FailureTest, ARankThatBreaksInAStepEndsTheCluster) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  ASSERT_TRUE(
      cluster.AddAllWorkers(KillAtStep(1, 5, absl::InternalError("the device is on fire"))).ok());
  auto sink = cluster.Submit(FakeRequest(1, {2, 3}, 400));
  auto other = cluster.Submit(FakeRequest(2, {2, 3}, 400));
  const flow::TokenEvent last = sink->WaitUntilDone();
  EXPECT_EQ(last.finish, FinishReason::kError);
  EXPECT_THAT(last.error, AllOf(HasSubstr("rank 1 (host-a, pid "), HasSubstr("on fire")));
  EXPECT_EQ(other->WaitUntilDone().finish, FinishReason::kError);
  const absl::Status ended = cluster.coordinator().WaitUntilEnded();
  EXPECT_EQ(ended.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(ended.ToString(), HasSubstr("on fire"));
  EXPECT_EQ(sink->finishes(), 1);
  int told = 0;
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = cluster.worker(i).Join();
    EXPECT_FALSE(status.ok());
    told += absl::IsAborted(status) ? 1 : 0;  // "the coordinator ended the cluster: ..."
  }
  EXPECT_EQ(told, 1);
  EXPECT_EQ(cluster.coordinator().Submit(FakeRequest(3, {2}, 4), sink).code(),
            absl::StatusCode::kUnavailable);
}

TEST(FailureTest, ARankThatBreaksWhileLoadingEndsTheCluster) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  RankScript script;
  script.load = [](const flow::LoadRequest& request, const worker::RankHooks&) {
    return request.rank == 0 ? absl::NotFoundError("no file model.safetensors") : absl::OkStatus();
  };
  const absl::Status ready = cluster.AddAllWorkers(script);
  EXPECT_THAT(ready.ToString(), AllOf(HasSubstr("rank 0"), HasSubstr("model.safetensors")));
  // The other one was waiting in an exchange, and was freed.
  EXPECT_FALSE(cluster.worker(0).Join().ok());
  EXPECT_FALSE(cluster.worker(1).Join().ok());
}

TEST(FailureTest, TheLostRankIsBlamedNotItsNeighbour) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  absl::Notification neighbour_failed;
  RankScript script;
  script.step = [&](int rank, const flow::StepPlan& plan) -> absl::Status {
    if (plan.step.value < 3) return absl::OkStatus();
    if (rank == 0) {
      neighbour_failed.Notify();
      return absl::UnavailableError("rank 1 did not come to the all-reduce");
    }
    neighbour_failed.WaitForNotificationWithTimeout(absl::Seconds(20));
    return absl::InternalError("segmentation fault");
  };
  ASSERT_TRUE(cluster.AddAllWorkers(script).ok());
  const flow::TokenEvent last = cluster.Submit(FakeRequest(1, {2, 3}, 400))->WaitUntilDone();
  EXPECT_THAT(last.error, AllOf(HasSubstr("rank 1 ("), HasSubstr("segmentation fault")));
}

// Joins and is given a rank, then its stream breaks without a word, as when a process is killed.
class FickleWorker final : public wire::CoordinatorLinkHandler {
 public:
  explicit FickleWorker(const worker::WorkerOptions& options) {
    auto link = wire::ConnectToCoordinator(options.connect, this);
    EXPECT_TRUE(link.ok()) << link.status();
    link_ = *std::move(link);
    link_->Send(options.self);
  }
  void WaitForLoad() { EXPECT_TRUE(loading_.WaitForNotificationWithTimeout(absl::Seconds(20))); }
  void Send(const wire::FromWorker& message) { link_->Send(message); }
  void Vanish() { link_.reset(); }
  absl::Status WaitUntilGone() {
    gone_.WaitForNotificationWithTimeout(absl::Seconds(20));
    return reason_;
  }

 private:
  void OnMessage(wire::ToWorker message) override {
    if (std::holds_alternative<wire::Load>(message)) loading_.Notify();
  }
  void OnGone(absl::Status reason) override {
    reason_ = std::move(reason);
    gone_.Notify();
  }
  absl::Notification loading_, gone_;
  absl::Status reason_;
  std::unique_ptr<wire::CoordinatorLink> link_;
};

TEST(FailureTest, AWorkerThatVanishesWhileLoadingEndsTheCluster) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  cluster.AddWorker();
  FickleWorker fickle(cluster.WorkerOptionsFor(4711));
  fickle.WaitForLoad();
  fickle.Vanish();
  EXPECT_THAT(cluster.coordinator().WaitUntilEnded().ToString(),
              AllOf(HasSubstr("pid 4711"), HasSubstr("connection was closed")));
  EXPECT_FALSE(cluster.worker(0).Join().ok());
}

TEST(FailureTest, ARankMissingFromAnExchangeIsNamed) {
  auto options = FakeCoordinatorOptions(2, 1);
  options.exchange_timeout = absl::Milliseconds(200);
  TestCluster cluster(options);
  cluster.AddWorker();
  FickleWorker silent(cluster.WorkerOptionsFor(4711));
  const absl::Status ended = cluster.coordinator().WaitUntilEnded();
  EXPECT_EQ(ended.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(ended.ToString(), AllOf(HasSubstr("pid 4711"), HasSubstr("exchange 0")));
  EXPECT_THAT(cluster.worker(0).Join().ToString(), HasSubstr("pid 4711"));
}

TEST(FailureTest, ASilentWorkerIsLost) {
  auto options = FakeCoordinatorOptions(2, 1);
  options.heartbeat_timeout = absl::Milliseconds(1500);
  TestCluster cluster(options);
  cluster.AddWorker();  // beats
  FickleWorker silent(cluster.WorkerOptionsFor(4711));
  EXPECT_THAT(cluster.coordinator().WaitUntilEnded().ToString(),
              AllOf(HasSubstr("pid 4711"), HasSubstr("nothing was heard")));
}

TEST(FailureTest, ARankThatDoesNotAnswerAStepIsNamed) {
  auto options = FakeCoordinatorOptions(2, 1);
  options.step_timeout = absl::Milliseconds(200);
  TestCluster cluster(options);
  absl::Notification release;
  RankScript script;
  script.step = [&](int rank, const flow::StepPlan& plan) {
    if (rank == 1 && plan.step.value == 4) release.WaitForNotification();
    return absl::OkStatus();
  };
  ASSERT_TRUE(cluster.AddAllWorkers(script).ok());
  const flow::TokenEvent last = cluster.Submit(FakeRequest(1, {2, 3}, 400))->WaitUntilDone();
  EXPECT_THAT(last.error, AllOf(HasSubstr("rank 1"), HasSubstr("did not answer a step")));
  release.Notify();
}

TEST(FailureTest, WorkersThatDoNotComeAreCounted) {
  auto options = FakeCoordinatorOptions(2, 2);
  options.join_timeout = absl::Milliseconds(500);
  TestCluster cluster(options);
  WorkerThread& worker = cluster.AddWorker();
  const absl::Status ended = cluster.coordinator().WaitUntilEnded();
  EXPECT_EQ(ended.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(ended.ToString(), HasSubstr("1 of 4 workers joined"));
  EXPECT_THAT(worker.Join().ToString(), HasSubstr("1 of 4 workers joined"));
}

TEST(FailureTest, AnotherBuildIsRefusedAndItsPlaceStaysFree) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1));
  auto options = cluster.WorkerOptionsFor(1);
  options.self.build_id = "an older one";
  const absl::Status refused = cluster.AddWorker(options).Join();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), AllOf(HasSubstr("an older one"), HasSubstr("same build")));
  EXPECT_TRUE(cluster.AddAllWorkers().ok());
  const absl::Status surplus = cluster.AddWorker().Join();
  EXPECT_THAT(surplus.ToString(), HasSubstr("all 1 places"));
}

TEST(FailureTest, AWorkerOnAnotherKindOfDeviceIsRefused) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1));
  auto options = cluster.WorkerOptionsFor(1);
  options.self.device = "cuda:0 NVIDIA H100 PCIe (0000:4f:00.0)";
  const absl::Status refused = cluster.AddWorker(options).Join();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.ToString(), AllOf(HasSubstr("runs on cuda:0 NVIDIA H100 PCIe"),
                                        HasSubstr("start the worker with --device cpu"),
                                        HasSubstr("or the coordinator with --device cuda")));
  EXPECT_TRUE(cluster.AddAllWorkers().ok());
}

TEST(FailureTest, AClusterOfGpusTakesNoCpu) {
  auto on_cuda = FakeCoordinatorOptions(1, 1);
  spec::SetDevice(spec::DeviceKind::kCuda, DType::kFloat16, &on_cuda.load.plan);
  TestCluster cluster(on_cuda);
  const absl::Status refused = cluster.AddWorker().Join();
  EXPECT_THAT(refused.ToString(), AllOf(HasSubstr("runs on cpu, the cluster's ranks on cuda"),
                                        HasSubstr("start the worker with --device cuda")));
  auto options = cluster.WorkerOptionsFor(1);
  options.self.device = "cuda:0 GPU (1)";
  cluster.AddWorker(options);
  EXPECT_TRUE(cluster.coordinator().WaitUntilReady(absl::Seconds(10)).ok());
}

TEST(FailureTest, AWrongTokenIsRefused) {
  TestCluster cluster(FakeCoordinatorOptions(1, 1), {.token = "right"});
  auto options = cluster.WorkerOptionsFor(1);
  options.self.token = "wrong";
  EXPECT_EQ(cluster.AddWorker(options).Join().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(cluster.AddAllWorkers().ok());
}

TEST(FailureTest, AStoppedWorkerFinishesItsStepAndLeavesWithSuccess) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  auto sink = cluster.Submit(FakeRequest(1, {2, 3}, 500));
  ASSERT_TRUE(sink->WaitForTokens(2));
  cluster.worker(0).RequestStop();
  EXPECT_TRUE(cluster.worker(0).Join().ok());
  EXPECT_THAT(sink->WaitUntilDone().error, HasSubstr("was stopped"));
  EXPECT_FALSE(cluster.coordinator().WaitUntilEnded().ok());
}

TEST(FailureTest, AStopWhileLoadingEndsTheLoad) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  absl::Notification loading;
  RankScript script;
  script.load = [&](const flow::LoadRequest& request, const worker::RankHooks& hooks) {
    if (request.rank != 0) return absl::OkStatus();
    absl::Notification aborted;
    hooks.on_abort([&](const absl::Status&) { aborted.Notify(); });
    loading.Notify();
    aborted.WaitForNotification();
    return absl::CancelledError("aborted");
  };
  cluster.AddWorker(script);
  cluster.AddWorker(script);
  loading.WaitForNotification();
  // Rank 0 is in its load, rank 1 waits in an exchange; either may be stopped.
  cluster.worker(0).RequestStop();
  EXPECT_TRUE(cluster.worker(0).Join().ok());
  EXPECT_FALSE(cluster.worker(1).Join().ok());  // it learns that the cluster has ended
}

TEST(FailureTest, WorkersNoticeThatTheCoordinatorIsGone) {
  TestCluster cluster(FakeCoordinatorOptions(2, 1));
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  cluster.server().Stop(absl::ZeroDuration());
  for (int i = 0; i < 2; ++i) {
    const absl::Status status = cluster.worker(i).Join();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(status.ToString(), HasSubstr("coordinator"));
  }
}

TEST(FailureTest, OverMutualTls) {
  TestCertificates certificates;
  TestCluster cluster(FakeCoordinatorOptions(1, 2), {.tls = certificates.files()});
  ASSERT_TRUE(cluster.AddAllWorkers().ok());
  const auto request = FakeRequest(1, {4}, 6);
  auto sink = cluster.Submit(request);
  EXPECT_EQ(sink->WaitUntilDone().finish, FinishReason::kLength);
  EXPECT_EQ(sink->tokens(), StreamAlone(request));
}

}  // namespace
}  // namespace pamir::testing
