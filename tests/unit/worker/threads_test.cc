// A coordinator and real worker threads without sockets: what the thread sanitizer should see.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "cluster/coordinator/coordinator.h"
#include "cluster/worker/worker.h"
#include "support/cluster/cluster_parts.h"
#include "support/cluster/local_links.h"

namespace pamir::testing {
namespace {

using ::testing::HasSubstr;

class ThreadsTest : public ::testing::Test {
 protected:
  void Begin(int tp, int pp, RankScript script = {}) {
    coordinator_ = std::make_unique<coordinator::Coordinator>(FakeCoordinatorOptions(tp, pp));
    links_ = std::make_unique<LocalLinks>(coordinator_.get());
    coordinator_->Start(links_.get());
    for (int i = 0; i < tp * pp; ++i) {
      worker::WorkerOptions options;
      options.self = FakeJoin("host-a", i);
      options.heartbeat = absl::Milliseconds(20);
      workers_.push_back(std::make_unique<worker::Worker>(
          options, FakeFactory(script),
          [this](wire::CoordinatorLinkHandler* handler, std::function<bool()>) {
            return links_->Connect(handler);
          }));
      statuses_.emplace_back();
    }
    for (size_t i = 0; i < workers_.size(); ++i) {
      threads_.emplace_back([this, i] { statuses_[i] = workers_[i]->Run(); });
    }
    ASSERT_TRUE(coordinator_->WaitUntilReady(absl::Seconds(30)).ok());
  }
  void JoinWorkers() {
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  void TearDown() override {
    coordinator_->Stop();
    JoinWorkers();
  }

  std::unique_ptr<coordinator::Coordinator> coordinator_;
  std::unique_ptr<LocalLinks> links_;
  std::vector<std::unique_ptr<worker::Worker>> workers_;
  std::vector<absl::Status> statuses_;
  std::vector<std::thread> threads_;
};

TEST_F(ThreadsTest, ManyClientsSomeOfThemCancel) {
  Begin(2, 2);
  std::vector<std::thread> clients;
  for (int c = 0; c < 4; ++c) {
    clients.emplace_back([this, c] {
      for (int i = 0; i < 8; ++i) {
        const auto request = FakeRequest(1 + c * 100 + i, {2, c, i}, 20);
        auto sink = std::make_shared<CollectingSink>();
        ASSERT_TRUE(coordinator_->Submit(request, sink).ok());
        if (i % 3 == 2) coordinator_->Cancel(request.id);
        if (i % 5 == 4) coordinator_->Stop(request.id, 0, 3);
        (void)coordinator_->Stats();
        const flow::TokenEvent last = sink->WaitUntilDone(absl::Seconds(60));
        std::vector<TokenId> alone = StreamAlone(request);
        const std::vector<TokenId> got = sink->tokens();
        ASSERT_LE(got.size(), alone.size());
        if (last.finish != FinishReason::kLength) alone.resize(got.size());
        EXPECT_EQ(got, alone);
        EXPECT_NE(last.finish, FinishReason::kError) << last.error;
        EXPECT_EQ(sink->finishes(), 1);
      }
    });
  }
  for (std::thread& client : clients) client.join();
  coordinator_->Drain();
  EXPECT_TRUE(coordinator_->WaitUntilEnded().ok());
  JoinWorkers();
  for (const absl::Status& status : statuses_) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ThreadsTest, ARankThatBreaksEndsAll) {
  RankScript script;
  script.step = [](int rank, const flow::StepPlan& plan) {
    return rank == 1 && plan.step.value == 5 ? absl::InternalError("broken") : absl::OkStatus();
  };
  Begin(2, 1, script);
  auto sink = std::make_shared<CollectingSink>();
  ASSERT_TRUE(coordinator_->Submit(FakeRequest(1, {2}, 100), sink).ok());
  EXPECT_THAT(sink->WaitUntilDone().error, HasSubstr("broken"));
  JoinWorkers();
  for (const absl::Status& status : statuses_) EXPECT_FALSE(status.ok());
}

TEST_F(ThreadsTest, AStoppedWorkerLeaves) {
  Begin(1, 1);
  workers_[0]->RequestStop();
  JoinWorkers();
  EXPECT_TRUE(statuses_[0].ok());
  EXPECT_THAT(coordinator_->WaitUntilEnded().ToString(), HasSubstr("was stopped"));
}

TEST_F(ThreadsTest, SubmittersRaceWithTheEnd) {
  Begin(1, 1);
  std::vector<std::thread> clients;
  for (int c = 0; c < 3; ++c) {
    clients.emplace_back([this, c] {
      for (int i = 0;; ++i) {
        auto sink = std::make_shared<CollectingSink>();
        const absl::Status status =
            coordinator_->Submit(FakeRequest(1 + c + 3 * i, {2, c}, 2), sink);
        if (absl::IsUnavailable(status)) return;
        ASSERT_TRUE(status.ok()) << status;
        ASSERT_NE(sink->WaitUntilDone().finish, FinishReason::kNone);
      }
    });
  }
  coordinator_->Stop();
  for (std::thread& client : clients) client.join();
}

}  // namespace
}  // namespace pamir::testing
