// The engine's thread with a rank that works ahead: the next step is begun while the last one is
// out, results come back in order, and nothing else is done before them.
#include "cluster/worker/engine_loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace pamir::testing {
namespace {

using ::testing::ElementsAre;

class Events {
 public:
  void Add(const std::string& event) {
    absl::MutexLock lock(&mutex_);
    events_.push_back(event);
  }
  std::vector<std::string> WaitFor(size_t count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return events_.size() >= count;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
    return events_;
  }

 private:
  absl::Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
};

// A step is done once the next one was begun, or once it is released.
class AheadRank final : public flow::Rank {
 public:
  AheadRank(Events* events, std::atomic<bool>* release) : events_(events), release_(release) {}
  absl::StatusOr<flow::StepResult> Step(const flow::StepPlan&) override {
    return absl::InternalError("the loop begins and finishes");
  }
  int steps_ahead() const override { return 1; }
  absl::Status Begin(const flow::StepPlan& plan) override {
    events_->Add(absl::StrCat("begin ", plan.step.value));
    begun_.push_back(plan.step);
    return plan.step.value == 9 ? absl::InternalError("broken") : absl::OkStatus();
  }
  bool CanFinish() override { return begun_.size() > 1 || release_->load(); }
  absl::StatusOr<flow::StepResult> Finish() override {
    flow::StepResult result;
    result.step = begun_.front();
    begun_.erase(begun_.begin());
    events_->Add(absl::StrCat("finish ", result.step.value));
    return result;
  }

 private:
  Events* const events_;
  std::atomic<bool>* const release_;
  std::vector<StepId> begun_;
};

class EngineLoopTest : public ::testing::Test {
 protected:
  EngineLoopTest()
      : loop_(
            [this](const flow::LoadRequest&,
                   const worker::RankHooks&) -> absl::StatusOr<std::unique_ptr<flow::Rank>> {
              return std::make_unique<AheadRank>(&events_, &release_);
            },
            [this](const wire::FromWorker& message) {
              if (std::holds_alternative<wire::Drained>(message)) events_.Add("drained");
              return true;
            },
            1, absl::Seconds(20)),
        thread_([this] { status_ = loop_.Run(); }) {
    EXPECT_TRUE(loop_.Push(wire::Load{}));
  }
  ~EngineLoopTest() override { Join(); }
  void Join() {
    if (!thread_.joinable()) return;
    loop_.Stop();
    thread_.join();
  }
  void Push(uint64_t step) { EXPECT_TRUE(loop_.Push(flow::StepPlan{.step = StepId(step)})); }

  Events events_;
  std::atomic<bool> release_{false};
  absl::Status status_;
  worker::EngineLoop loop_;
  std::thread thread_;
};

TEST_F(EngineLoopTest, TheNextStepIsBegunBeforeTheLastIsFinished) {
  Push(1);
  EXPECT_THAT(events_.WaitFor(1), ElementsAre("begin 1"));
  Push(2);
  EXPECT_THAT(events_.WaitFor(3), ElementsAre("begin 1", "begin 2", "finish 1"));
  Push(3);
  EXPECT_THAT(events_.WaitFor(5),
              ElementsAre("begin 1", "begin 2", "finish 1", "begin 3", "finish 2"));
  release_ = true;
  EXPECT_EQ(events_.WaitFor(6).back(), "finish 3");
}

TEST_F(EngineLoopTest, WhatWasBegunIsFinishedBeforeADrain) {
  Push(1);
  EXPECT_THAT(events_.WaitFor(1), ElementsAre("begin 1"));
  EXPECT_TRUE(loop_.Push(wire::Drain{}));
  EXPECT_THAT(events_.WaitFor(3), ElementsAre("begin 1", "finish 1", "drained"));
}

TEST_F(EngineLoopTest, AStepThatCannotBeginEndsTheLoop) {
  Push(9);
  EXPECT_THAT(events_.WaitFor(1), ElementsAre("begin 9"));
  thread_.join();
  EXPECT_EQ(status_.code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace pamir::testing
