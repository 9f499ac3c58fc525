// What a request gets does not depend on its neighbours, on chunks, preemptions or epochs.
#include <gtest/gtest.h>

#include "unit/sched/sched_testing.h"

namespace pamir::sched {
namespace {

constexpr int32_t kVocab = 1000;  // FakeRankOptions' default

std::vector<TokenId> Alone(const flow::TokenRequest& r, int32_t count) {
  return testing::FakeStream(r.prompt, r.sampling.seed, kVocab, count);
}

TEST(Streams, ManyAtOnceInATightPoolEqualEachAlone) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 10;  // 40 positions for up to four sequences of up to 30
  options.max_num_batched_tokens = 7;
  Rig rig(options);
  std::vector<flow::TokenRequest> requests;
  for (int32_t i = 1; i <= 12; ++i) {
    requests.push_back(Request(i, Prompt(100 * i, 1 + i), 5 + i));
    ASSERT_TRUE(rig.scheduler.Arrive(requests.back()).ok());
  }
  rig.Drain();
  auto events = rig.Events();
  for (const auto& request : requests) {
    const auto& got = events[request.id.value];
    EXPECT_EQ(Tokens(got), Alone(request, request.max_tokens)) << request.id.value;
    for (size_t i = 0; i < got.size(); ++i) {
      EXPECT_EQ(got[i].index, static_cast<int32_t>(i));
      EXPECT_EQ(got[i].finish, i + 1 < got.size() ? FinishReason::kNone : FinishReason::kLength);
    }
  }
  const SchedulerStats stats = rig.scheduler.Stats();
  EXPECT_GT(stats.preemptions, 0u);  // else this test tests nothing
  EXPECT_EQ(stats.blocks_free, stats.blocks_total);
  EXPECT_EQ(stats.requests_finished, 12u);
}

TEST(Streams, AnEpochChangeInTheMiddleChangesNoToken) {
  Rig rig(SmallOptions());
  const flow::TokenRequest a = Request(1, Prompt(100, 9), 10), b = Request(2, Prompt(200, 2), 12);
  ASSERT_TRUE(rig.scheduler.Arrive(a).ok());
  ASSERT_TRUE(rig.scheduler.Arrive(b).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(rig.Step());
  ASSERT_TRUE(rig.scheduler.PlanStep().has_value());  // goes out, never comes back
  ASSERT_TRUE(rig.scheduler.Apply(flow::WorkerLost{0, "test"}).ok());
  EXPECT_FALSE(rig.scheduler.PlanStep().has_value());
  EXPECT_EQ(rig.scheduler.Stats().blocks_free, 64);
  ASSERT_TRUE(rig.scheduler.Apply(flow::WorkerReady{Epoch(2)}).ok());
  rig.Drain();
  auto events = rig.Events();
  EXPECT_EQ(Tokens(events[1]), Alone(a, 10));
  EXPECT_EQ(Tokens(events[2]), Alone(b, 12));
}

TEST(Streams, ScoresDoNotDependOnChunks) {
  flow::TokenRequest request = Request(1, Prompt(100, 30), 0);
  request.prompt_logprobs = true;
  std::vector<float> expected;
  for (size_t n = 1; n < request.prompt.size(); ++n) {
    expected.push_back(testing::FakeLogprob(std::span(request.prompt).first(n), request.prompt[n]));
  }
  for (const int32_t tokens : {1, 4, 7, 29, 30, 100}) {
    SchedulerOptions options = SmallOptions();
    options.max_num_batched_tokens = tokens;
    Rig rig(options);
    ASSERT_TRUE(rig.scheduler.Arrive(request).ok());
    rig.Drain();
    const auto events = rig.scheduler.TakeEvents();
    ASSERT_EQ(events.size(), 1u) << tokens;
    EXPECT_EQ(events[0].prompt_logprobs, expected) << tokens;
    EXPECT_FALSE(events[0].has_token);
  }
}

TEST(Streams, ContextFullIsLength) {
  Rig rig(SmallOptions());  // context 64
  const flow::TokenRequest request = Request(1, Prompt(100, 60), 1 << 30);
  ASSERT_TRUE(rig.scheduler.Arrive(request).ok());
  rig.Drain();
  const auto events = rig.scheduler.TakeEvents();
  EXPECT_EQ(Tokens(events), Alone(request, 4));
  EXPECT_EQ(events.back().finish, FinishReason::kLength);
}

TEST(Streams, StopKeepsTheScoresOfAPreemptedRequest) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 4;  // 16 positions
  Rig rig(options);
  ASSERT_TRUE(rig.scheduler.Arrive(Request(1, Prompt(100, 7), 9)).ok());
  flow::TokenRequest second = Request(2, Prompt(200, 6), 10);
  second.prompt_logprobs = true;
  ASSERT_TRUE(rig.scheduler.Arrive(second).ok());
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(rig.Step());
  ASSERT_EQ(rig.scheduler.Stats().waiting, 1);  // the second gave way
  ASSERT_TRUE(rig.scheduler.Apply(flow::Stop{SeqId(2), 0, 0}).ok());
  const auto events = rig.Events()[2];
  EXPECT_EQ(events.back().finish, FinishReason::kStop);
  EXPECT_EQ(events.back().index, 1);
  EXPECT_EQ(events.back().prompt_logprobs.size(), 5u);
}

}  // namespace
}  // namespace pamir::sched
