// What the scheduler's unit tests share.
#ifndef PAMIR_TESTS_UNIT_SCHED_SCHED_TESTING_H_
#define PAMIR_TESTS_UNIT_SCHED_SCHED_TESTING_H_

#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "core/sched/scheduler.h"
#include "support/fake_rank.h"

namespace pamir::sched {

inline flow::TokenRequest Request(uint64_t id, std::vector<TokenId> prompt, int32_t max_tokens) {
  flow::TokenRequest request;
  request.id = SeqId(id);
  request.prompt = std::move(prompt);
  request.sampling.seed = id;
  request.max_tokens = max_tokens;
  request.ignore_eos = true;
  return request;
}

inline std::vector<TokenId> Prompt(TokenId first, int32_t length) {
  std::vector<TokenId> prompt(length);
  for (int32_t i = 0; i < length; ++i) prompt[i] = first + i;
  return prompt;
}

inline SchedulerOptions SmallOptions() {
  return {.block_size = 4,
          .num_blocks = 64,
          .max_num_seqs = 4,
          .max_num_batched_tokens = 32,
          .max_model_len = 64,
          .max_waiting = 16,
          .max_waiting_tokens = 1000};
}

// A scheduler and a fake rank behind it.
struct Rig {
  explicit Rig(const SchedulerOptions& o)
      : scheduler(o),
        rank({.block_size = o.block_size,
              .num_blocks = o.num_blocks,
              .max_num_seqs = o.max_num_seqs,
              .max_num_batched_tokens = o.max_num_batched_tokens}) {
    EXPECT_TRUE(scheduler.Apply(flow::WorkerReady{Epoch(1)}).ok());
  }

  // One step, there and back; false where there was none.
  bool Step() {
    const auto plan = scheduler.PlanStep();
    if (!plan) return false;
    auto result = rank.Step(*plan);
    EXPECT_TRUE(result.ok()) << result.status();
    if (!result.ok()) return false;
    EXPECT_TRUE(scheduler.Apply(flow::StepDone{*std::move(result)}).ok());
    return true;
  }

  void Drain() {
    for (int steps = 0; Step(); ++steps) ASSERT_LT(steps, 10000);
  }

  // All events so far, by request.
  std::map<uint64_t, std::vector<flow::TokenEvent>> Events() {
    std::map<uint64_t, std::vector<flow::TokenEvent>> by_id;
    for (auto& event : scheduler.TakeEvents()) by_id[event.id.value].push_back(std::move(event));
    return by_id;
  }

  Scheduler scheduler;
  testing::FakeRank rank;
};

inline std::vector<TokenId> Tokens(const std::vector<flow::TokenEvent>& events) {
  std::vector<TokenId> tokens;
  for (const auto& event : events) {
    if (event.has_token) tokens.push_back(event.token);
  }
  return tokens;
}

}  // namespace pamir::sched

#endif  // PAMIR_TESTS_UNIT_SCHED_SCHED_TESTING_H_
