// The random operations.
#include "model/sched_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace pamir::testing {

SchedModel::SchedModel(uint64_t seed) : random_(seed) {
  options_.block_size = random_.Between(1, 5);
  options_.num_blocks = random_.Between(3, 30);
  options_.max_num_seqs = random_.Between(1, 6);
  options_.max_num_batched_tokens = random_.Between(1, 20);
  options_.max_model_len = random_.Between(4, 60);
  options_.max_waiting = random_.Between(1, 12);
  options_.max_waiting_tokens = random_.Between(5, 150);
  options_.max_steps_in_flight = random_.Between(1, 3);
  vocab_ = random_.Between(20, 100);
  slots_.resize(options_.max_num_seqs);
  scheduler_ = std::make_unique<sched::Scheduler>(options_);
  rank_ = std::make_unique<FakeRank>(
      FakeRankOptions{.block_size = options_.block_size,
                      .num_blocks = options_.num_blocks,
                      .max_num_seqs = options_.max_num_seqs,
                      .max_num_batched_tokens = options_.max_num_batched_tokens,
                      .vocab_size = vocab_});
}

void SchedModel::Operate() {
  const int32_t dice = random_.Between(1, 100);
  if (dice <= 40) {
    in_flight_.empty() ? Step() : Done();
  } else if (dice <= 55) {
    in_flight_.empty() ? Step() : Done();
    Step();  // while steps are out: one ahead of them, or nothing
  } else if (dice <= 80) {
    Arrive();
  } else if (dice <= 85) {
    Cancel();
  } else if (dice <= 89) {
    Stop();
  } else if (dice <= 93) {
    Tick();
  } else if (dice <= 95) {
    DoneOfAnother();
  } else if (dice <= 96) {
    Lost();
  } else {
    Ready();
  }
}

flow::TokenRequest SchedModel::RandomRequest() {
  flow::TokenRequest request;
  request.id = SeqId(next_id_++);
  // The first id tells requests apart in admissions.
  const int32_t context = sched::ContextLimit(options_);
  const int32_t length = random_.Between(0, random_.OneIn(4) ? context + 2 : 1 + context / 3);
  for (int32_t i = 0; i < length; ++i) {
    request.prompt.push_back(i == 0 ? 1000 + static_cast<int32_t>(request.id.value)
                                    : random_.Between(0, vocab_ - 1));
  }
  request.sampling.seed = random_.Between(0, 1000);
  request.max_tokens = random_.OneIn(4) ? 1 << 30 : random_.Between(random_.OneIn(9) ? -1 : 0, 12);
  request.prompt_logprobs = random_.OneIn(4);
  request.ignore_eos = random_.OneIn(2);
  if (random_.OneIn(3)) request.stop_token_ids = {random_.Between(0, vocab_ - 1)};
  if (random_.OneIn(4)) request.deadline = now_ + absl::Seconds(random_.Between(0, 20));
  return request;
}

absl::StatusCode SchedModel::ExpectedAnswer(const flow::TokenRequest& request) const {
  const int32_t context = sched::ContextLimit(options_);
  const int32_t length = static_cast<int32_t>(request.prompt.size());
  if (length == 0 || request.max_tokens < 0) return absl::StatusCode::kInvalidArgument;
  if (length > (request.max_tokens == 0 ? context + 1 : context - 1)) {
    return absl::StatusCode::kInvalidArgument;
  }
  if (request.max_tokens == 0 && (length == 1 || !request.prompt_logprobs)) {
    return absl::StatusCode::kOk;
  }
  int32_t waiting = 0;
  int64_t tokens = 0;
  for (const auto& [arrival, r] : live_) {
    if (r.running) continue;
    ++waiting;
    tokens += r.length();
  }
  const bool full = waiting >= options_.max_waiting ||
                    (waiting > 0 && tokens + length > options_.max_waiting_tokens);
  return full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk;
}

void SchedModel::Arrive() {
  flow::TokenRequest request = RandomRequest();
  last_ = "arrive " + std::to_string(request.id.value);
  const bool twice = !live_.empty() && random_.OneIn(20);
  if (twice) request.id = RandomLive()->second.asked.id;
  const absl::StatusCode expected =
      twice ? absl::StatusCode::kAlreadyExists : ExpectedAnswer(request);
  const absl::Status status = scheduler_->Apply(flow::Arrive{request});
  ASSERT_EQ(status.code(), expected) << status;
  if (status.ok()) {
    const auto it =
        live_.emplace(arrivals_++, Request{.asked = request, .ids = request.prompt}).first;
    it->second.longest = static_cast<int32_t>(std::min<int64_t>(
        int64_t{it->second.prompt()} + request.max_tokens, sched::ContextLimit(options_)));
    if (request.max_tokens == 0) it->second.longest = it->second.prompt();
    if (request.max_tokens == 0 && (request.prompt.size() == 1 || !request.prompt_logprobs)) {
      ExpectEnd(it, FinishReason::kLength, 0, false);
    }
  }
  CheckState();
}

SchedModel::Live::iterator SchedModel::RandomLive() {
  return std::next(live_.begin(), random_.Between(0, static_cast<int32_t>(live_.size()) - 1));
}

void SchedModel::ExpectEnd(Live::iterator it, FinishReason finish, int32_t index, bool deadline) {
  ends_[it->second.asked.id.value] = {
      .index = index, .finish = finish, .deadline_exceeded = deadline};
}

void SchedModel::Cancel() {
  SeqId id(next_id_ + 5);  // unknown
  if (!live_.empty() && !random_.OneIn(5)) {
    const auto it = RandomLive();
    id = it->second.asked.id;
    ExpectEnd(it, FinishReason::kCancelled, it->second.emitted(), false);
  }
  last_ = "cancel " + std::to_string(id.value);
  ASSERT_TRUE(scheduler_->Apply(flow::Cancel{id}).ok());
  CheckState();
}

void SchedModel::Stop() {
  if (live_.empty()) return;
  const auto it = RandomLive();
  const Request& request = it->second;
  const int32_t index = random_.OneIn(9) ? 0x7fffffff : random_.Between(-2, request.emitted());
  const bool ours = !random_.OneIn(9);
  last_ = "stop " + std::to_string(request.asked.id.value) + " at " + std::to_string(index);
  // A stop string is seen in emitted text, so scores are complete by then.
  if (request.emitted() == 0 && request.asked.prompt_logprobs) return;
  if (ours) {
    const int64_t kept = std::clamp<int64_t>(int64_t{index} + 1, 0, request.emitted());
    ExpectEnd(it, FinishReason::kStop, static_cast<int32_t>(kept), false);
  }
  ASSERT_TRUE(scheduler_->Apply(flow::Stop{request.asked.id, ours ? 0 : 1, index}).ok());
  CheckState();
}

void SchedModel::Tick() {
  now_ += absl::Seconds(random_.Between(0, 6));
  last_ = "tick " + absl::FormatTime(now_);
  for (auto it = live_.begin(); it != live_.end(); ++it) {
    if (it->second.asked.deadline > now_) continue;
    ExpectEnd(it, FinishReason::kCancelled, it->second.emitted(), true);
  }
  ASSERT_TRUE(scheduler_->Apply(flow::Tick{now_}).ok());
  CheckState();
}

void SchedModel::Step() {
  last_ = "step";
  const int32_t free_before = scheduler_->Stats().blocks_free;
  const bool can_be_ahead = BlocksToGrow() <= free_before && HasRows();
  const auto plan = scheduler_->PlanStep();
  const bool ahead = !in_flight_.empty();
  const bool room = static_cast<int32_t>(in_flight_.size()) < options_.max_steps_in_flight;
  const bool may = ready_ && room && !live_.empty();
  ASSERT_EQ(plan.has_value(), may && (!ahead || can_be_ahead));
  if (plan) {
    auto result = rank_->Step(*plan);
    ASSERT_TRUE(result.ok()) << result.status();
    CheckPlan(*plan, free_before);
    Out& out = in_flight_.emplace_back();
    out.result = *std::move(result);
    for (const auto& arrival : slots_) {
      out.admitted.push_back(arrival ? live_.at(*arrival).admitted : 0);
    }
  }
  CheckState();
}

// Who had the slot when the step went out, if it has it still.
SchedModel::Request* SchedModel::OwnerStill(const Out& out, SlotId slot) {
  const auto arrival = slots_[slot.value];
  const auto it = arrival ? live_.find(*arrival) : live_.end();
  if (it == live_.end() || it->second.admitted != out.admitted[slot.value]) return nullptr;
  return &it->second;
}

void SchedModel::Done() {
  last_ = "done";
  // Everybody who was sampled for and is still there gets one token.
  tokens_due_ = 0;
  const Out out = std::move(in_flight_.front());
  in_flight_.pop_front();
  for (const flow::SampledToken& s : out.result.sampled) {
    Request* request = OwnerStill(out, s.slot);
    if (request == nullptr) continue;
    ++tokens_due_;
    --request->pending;
  }
  for (const flow::PromptLogprobs& p : out.result.prompt_logprobs) {
    Request* request = OwnerStill(out, p.slot);
    if (request == nullptr) continue;
    const int32_t end = p.from + static_cast<int32_t>(p.logprobs.size());
    request->scored = end == request->prompt() - 1;
  }
  ASSERT_TRUE(scheduler_->Apply(flow::StepDone{out.result}).ok());
  CheckState();
  tokens_due_ = 0;
}

void SchedModel::DoneOfAnother() {
  last_ = "done of another step";
  flow::StepResult result;
  if (!stale_.empty()) {
    result = stale_[random_.Between(0, static_cast<int32_t>(stale_.size()) - 1)];
  } else if (!in_flight_.empty()) {
    result = in_flight_.front().result;
    result.step = StepId(result.step.value + random_.Between(1, 3));
  }
  ASSERT_TRUE(scheduler_->Apply(flow::StepDone{result}).ok());
  CheckState();
}

void SchedModel::AllWait() {
  for (auto& [arrival, request] : live_) {
    request.running = false;
    request.computed = request.blocks = request.pending = 0;
  }
  std::fill(slots_.begin(), slots_.end(), std::nullopt);
  for (Out& out : in_flight_) stale_.push_back(std::move(out.result));
  in_flight_.clear();
}

void SchedModel::Lost() {
  last_ = "lost";
  ready_ = false;
  AllWait();
  ASSERT_TRUE(scheduler_->Apply(flow::WorkerLost{0, "model"}).ok());
  CheckState();
}

void SchedModel::Ready() {
  if (ready_ && !random_.OneIn(8)) return;  // a new epoch costs much work: seldom
  const Epoch epoch(epoch_.value + random_.Between(0, 2));
  last_ = "ready " + std::to_string(epoch.value);
  if (epoch > epoch_) {
    AllWait();
    epoch_ = epoch;
    ready_ = true;
  }
  ASSERT_TRUE(scheduler_->Apply(flow::WorkerReady{epoch}).ok());
  CheckState();
}

void SchedModel::Drain() {
  for (int i = 0; !ready_ && i < 1000; ++i) Ready();
  for (int steps = 0; !live_.empty() && !::testing::Test::HasFailure(); ++steps) {
    ASSERT_LT(steps, 20000) << "requests starve";
    in_flight_.empty() || random_.OneIn(2) ? Step() : Done();
  }
  while (!in_flight_.empty()) Done();
  last_ = "drained";
  const sched::SchedulerStats stats = scheduler_->Stats();
  EXPECT_TRUE(scheduler_->idle());
  EXPECT_EQ(stats.blocks_free, options_.num_blocks);
  EXPECT_EQ(stats.requests_accepted, arrivals_);
  EXPECT_EQ(stats.requests_finished, arrivals_);
  EXPECT_FALSE(scheduler_->PlanStep().has_value());
}

}  // namespace pamir::testing
