#include "cluster/coordinator/admission.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "support/cluster/cluster_parts.h"

namespace pamir::coordinator {
namespace {

using testing::FakeRequest;

CoordinatorOptions SmallQueue() {
  CoordinatorOptions options = testing::FakeCoordinatorOptions(1, 1);
  options.max_waiting = 3;
  options.max_waiting_tokens = 10;
  return options;
}

TEST(AdmissionTest, ClosedAtFirst) {
  Admission admission(SmallQueue());
  EXPECT_EQ(admission.Admit(FakeRequest(1, {5}, 1)).code(), absl::StatusCode::kUnavailable);
  admission.Open();
  EXPECT_TRUE(admission.Admit(FakeRequest(1, {5}, 1)).ok());
  admission.Close(absl::UnavailableError("over"));
  EXPECT_EQ(admission.Admit(FakeRequest(2, {5}, 1)), absl::UnavailableError("over"));
}

TEST(AdmissionTest, IdsAreUniqueAmongTheLiving) {
  Admission admission(SmallQueue());
  admission.Open();
  EXPECT_TRUE(admission.Admit(FakeRequest(1, {5}, 1)).ok());
  EXPECT_EQ(admission.Admit(FakeRequest(1, {5}, 1)).code(), absl::StatusCode::kAlreadyExists);
  admission.Taken(1);
  admission.SetWaiting(0, 0);
  admission.Finished(SeqId(1));
  EXPECT_TRUE(admission.Admit(FakeRequest(1, {5}, 1)).ok());
}

TEST(AdmissionTest, CountsRequestsThatWait) {
  Admission admission(SmallQueue());
  admission.Open();
  for (uint64_t id = 1; id <= 3; ++id) EXPECT_TRUE(admission.Admit(FakeRequest(id, {5}, 1)).ok());
  EXPECT_EQ(admission.Admit(FakeRequest(4, {5}, 1)).code(), absl::StatusCode::kResourceExhausted);
  admission.Taken(1);  // moved, still waiting
  EXPECT_FALSE(admission.Admit(FakeRequest(4, {5}, 1)).ok());
  admission.SetWaiting(0, 0);  // it runs
  EXPECT_TRUE(admission.Admit(FakeRequest(4, {5}, 1)).ok());
  EXPECT_FALSE(admission.Admit(FakeRequest(5, {5}, 1)).ok());
  admission.Withdraw(SeqId(4), 1);
  EXPECT_TRUE(admission.Admit(FakeRequest(5, {5}, 1)).ok());
}

TEST(AdmissionTest, CountsTokensThatWaitButLetsOnePromptIn) {
  Admission admission(SmallQueue());
  admission.Open();
  EXPECT_TRUE(admission.Admit(FakeRequest(1, std::vector<TokenId>(20, 5), 1)).ok());
  EXPECT_EQ(admission.Admit(FakeRequest(2, {5}, 1)).code(), absl::StatusCode::kResourceExhausted);
}

TEST(AdmissionTest, RefusesWhatCanNeverRun) {
  Admission admission(SmallQueue());
  admission.Open();
  for (const auto& request :
       {FakeRequest(1, {}, 1), FakeRequest(1, {-1}, 1), FakeRequest(1, {testing::kFakeVocab}, 1),
        FakeRequest(1, {5}, -1), FakeRequest(1, std::vector<TokenId>(512, 5), 1)}) {
    EXPECT_EQ(admission.Admit(request).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(AdmissionTest, OneCancelAndOneStopAChoice) {
  Admission admission(SmallQueue());
  admission.Open();
  EXPECT_FALSE(admission.FirstCancel(SeqId(1)));
  ASSERT_TRUE(admission.Admit(FakeRequest(1, {5}, 1)).ok());
  EXPECT_FALSE(admission.HandedOn(SeqId(1)));
  EXPECT_TRUE(admission.FirstCancel(SeqId(1)));
  EXPECT_FALSE(admission.FirstCancel(SeqId(1)));
  EXPECT_TRUE(admission.FirstStop(SeqId(1), 0));
  EXPECT_FALSE(admission.FirstStop(SeqId(1), 0));
  EXPECT_TRUE(admission.FirstStop(SeqId(1), 1));
  EXPECT_FALSE(admission.FirstStop(SeqId(1), -1));
  EXPECT_FALSE(admission.FirstStop(SeqId(1), 64));
}

// The client leaves while its request is between the door and the loop's queue.
TEST(AdmissionTest, ACancelBeforeTheHandOverIsPassedOnWithIt) {
  Admission admission(SmallQueue());
  admission.Open();
  ASSERT_TRUE(admission.Admit(FakeRequest(1, {5}, 1)).ok());
  EXPECT_FALSE(admission.FirstCancel(SeqId(1)));
  EXPECT_TRUE(admission.HandedOn(SeqId(1)));
  EXPECT_FALSE(admission.FirstCancel(SeqId(1)));
  admission.Finished(SeqId(1));
  EXPECT_FALSE(admission.HandedOn(SeqId(1)));
}

TEST(AdmissionTest, ManyThreadsNeverPassTheLimit) {
  CoordinatorOptions options = SmallQueue();
  options.max_waiting = 100;
  options.max_waiting_tokens = 1000;
  Admission admission(options);
  admission.Open();
  std::atomic<int> taken{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 50; ++i) {
        taken += admission.Admit(FakeRequest(1 + t * 1000 + i, {5}, 1)).ok() ? 1 : 0;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(taken, 100);
}

}  // namespace
}  // namespace pamir::coordinator
