// What is let in, and what is refused with which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "unit/sched/sched_testing.h"

namespace pamir::sched {
namespace {

using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(CheckOptions, NamesTheFieldThatIsNotPositive) {
  EXPECT_TRUE(CheckOptions(SmallOptions()).ok());
  const std::vector<std::pair<std::string, void (*)(SchedulerOptions&)>> broken = {
      {"block_size", [](SchedulerOptions& o) { o.block_size = 0; }},
      {"num_blocks", [](SchedulerOptions& o) { o.num_blocks = 0; }},
      {"max_num_seqs", [](SchedulerOptions& o) { o.max_num_seqs = -1; }},
      {"max_num_batched_tokens", [](SchedulerOptions& o) { o.max_num_batched_tokens = 0; }},
      {"max_model_len", [](SchedulerOptions& o) { o.max_model_len = 0; }},
      {"max_waiting is", [](SchedulerOptions& o) { o.max_waiting = 0; }},
      {"max_waiting_tokens", [](SchedulerOptions& o) { o.max_waiting_tokens = 0; }}};
  for (const auto& [name, spoil] : broken) {
    SchedulerOptions options = SmallOptions();
    spoil(options);
    const absl::Status status = CheckOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(Message(status), HasSubstr(name));
    EXPECT_THAT(Message(status), HasSubstr("at least 1"));
  }
}

TEST(ContextLimit, IsTheModelsOrThePools) {
  EXPECT_EQ(ContextLimit({.block_size = 16, .num_blocks = 1000, .max_model_len = 2048}), 2048);
  EXPECT_EQ(ContextLimit({.block_size = 16, .num_blocks = 3, .max_model_len = 2048}), 48);
  EXPECT_EQ(ContextLimit({.block_size = 1 << 20, .num_blocks = 1 << 20, .max_model_len = 7}), 7);
}

TEST(Arrive, RefusesWhatCanNeverRun) {
  Scheduler scheduler(SmallOptions());  // context 64
  const absl::Status empty = scheduler.Arrive(Request(1, {}, 1));
  EXPECT_EQ(empty.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(empty), HasSubstr("prompt is empty"));

  const absl::Status full = scheduler.Arrive(Request(1, Prompt(3, 64), 1));
  EXPECT_EQ(full.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(full), HasSubstr("prompt has 64 tokens; the context is 64"));

  const absl::Status negative = scheduler.Arrive(Request(1, {3}, -1));
  EXPECT_EQ(negative.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(negative), HasSubstr("max_tokens is -1"));

  flow::TokenRequest score = Request(1, Prompt(3, 66), 0);
  score.prompt_logprobs = true;
  EXPECT_THAT(Message(scheduler.Arrive(score)), HasSubstr("prompt has 66 tokens"));
  score.prompt.pop_back();  // 65 ids: 64 positions
  EXPECT_TRUE(scheduler.Arrive(score).ok());

  EXPECT_TRUE(scheduler.Arrive(Request(2, Prompt(3, 63), 1)).ok());
  EXPECT_EQ(scheduler.Stats().requests_accepted, 2u);
  EXPECT_TRUE(scheduler.TakeEvents().empty());
}

TEST(Arrive, SaysWhenThePoolIsWhatLimits) {
  SchedulerOptions options = SmallOptions();
  options.num_blocks = 2;
  Scheduler scheduler(options);
  const absl::Status status = scheduler.Arrive(Request(1, Prompt(3, 8), 1));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("prompt has 8 tokens; the context is 8"));
  EXPECT_THAT(Message(status), HasSubstr("what the KV cache holds; the model's is 64"));
}

TEST(Arrive, RefusesAnIdInUseAndTakesItAgainLater) {
  Rig rig(SmallOptions());
  ASSERT_TRUE(rig.scheduler.Arrive(Request(1, {3}, 1)).ok());
  EXPECT_EQ(rig.scheduler.Arrive(Request(1, {4}, 1)).code(), absl::StatusCode::kAlreadyExists);
  rig.Drain();
  EXPECT_TRUE(rig.scheduler.Arrive(Request(1, {4}, 1)).ok());
}

TEST(Arrive, BoundsTheQueue) {
  SchedulerOptions options = SmallOptions();
  options.max_waiting = 2;
  options.max_waiting_tokens = 30;
  Scheduler scheduler(options);
  ASSERT_TRUE(scheduler.Arrive(Request(1, Prompt(3, 20), 1)).ok());
  const absl::Status tokens = scheduler.Arrive(Request(2, Prompt(3, 11), 1));
  EXPECT_EQ(tokens.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(tokens), HasSubstr("20 tokens wait"));
  EXPECT_THAT(Message(tokens), HasSubstr("limit of 30"));
  ASSERT_TRUE(scheduler.Arrive(Request(2, Prompt(3, 10), 1)).ok());
  const absl::Status count = scheduler.Arrive(Request(3, {3}, 1));
  EXPECT_EQ(count.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Message(count), HasSubstr("2 requests wait"));
  // What needs no place in the queue is not refused for want of one.
  EXPECT_TRUE(scheduler.Arrive(Request(3, {3}, 0)).ok());
}

TEST(Arrive, NothingToComputeFinishesAtOnce) {
  Scheduler scheduler(SmallOptions());  // no ranks are ready
  ASSERT_TRUE(scheduler.Arrive(Request(1, Prompt(3, 5), 0)).ok());
  flow::TokenRequest score = Request(2, {3}, 0);
  score.prompt_logprobs = true;
  ASSERT_TRUE(scheduler.Arrive(score).ok());
  const auto events = scheduler.TakeEvents();
  ASSERT_EQ(events.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(events[i].id, SeqId(i + 1));
    EXPECT_EQ(events[i].finish, FinishReason::kLength);
    EXPECT_FALSE(events[i].has_token);
    EXPECT_TRUE(events[i].prompt_logprobs.empty());
  }
  EXPECT_TRUE(scheduler.idle());
}

TEST(SchedulerDeathTest, BadOptionsEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Scheduler(SchedulerOptions{}), "num_blocks is 0");
}

}  // namespace
}  // namespace pamir::sched
