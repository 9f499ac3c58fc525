// What must hold after every operation.
#include <gtest/gtest.h>

#include <algorithm>

#include "model/sched_model.h"

namespace pamir::testing {

SchedModel::Live::iterator SchedModel::FindLive(SeqId id) {
  return std::find_if(live_.begin(), live_.end(),
                      [id](const auto& entry) { return entry.second.asked.id == id; });
}

// Blocks that the running sequences need before they can decode their next token.
int32_t SchedModel::BlocksToGrow() const {
  int32_t needed = 0;
  for (const auto& [arrival, r] : live_) {
    if (!r.running || !r.decodes()) continue;
    needed += kv::BlocksFor(r.coming(), options_.block_size) - r.blocks;
  }
  return needed;
}

// Something can be computed before the steps that are out have come back.
bool SchedModel::HasRows() const {
  const int32_t slots = std::min(options_.max_num_seqs, options_.max_num_batched_tokens);
  int32_t running = 0;
  for (const auto& [arrival, r] : live_) {
    if (r.running) {
      ++running;
      if (r.decodes() || r.ChunkEnd() > r.computed) return true;
      continue;
    }
    const int32_t positions = r.asked.max_tokens == 0 ? r.prompt() - 1 : r.length();
    return running < slots &&
           kv::BlocksFor(positions, options_.block_size) <= scheduler_->Stats().blocks_free;
  }
  return false;
}

void SchedModel::CheckPlan(const flow::StepPlan& plan, int32_t free_before) {
  const int32_t to_grow = BlocksToGrow();
  bool preempted = false;
  ApplyReleases(plan, &preempted);
  // Nobody gives way without need, nor while steps are out.
  EXPECT_TRUE(!preempted || (to_grow > free_before && in_flight_.empty()))
      << to_grow << " of " << free_before;
  ApplyAdmissions(plan);
  CheckFirstComeFirstServed(plan);
  CheckRows(plan);
  // The rank's tables (it refuses a block with two owners) and the ledger agree.
  EXPECT_EQ(rank_->owned_blocks() + scheduler_->Stats().blocks_free, options_.num_blocks);
}

void SchedModel::ApplyReleases(const flow::StepPlan& plan, bool* preempted) {
  for (const SlotId slot : plan.releases) {
    const auto arrival = slots_[slot.value];
    ASSERT_TRUE(arrival.has_value()) << "slot " << slot.value;
    const auto it = live_.find(*arrival);
    if (it != live_.end()) {
      *preempted = true;
      it->second.running = false;
      it->second.computed = it->second.blocks = it->second.pending = 0;
    }
    slots_[slot.value].reset();
  }
  for (const auto& arrival : slots_) {  // who has ended is released by the very next plan
    EXPECT_TRUE(!arrival || live_.contains(*arrival)) << "arrival " << *arrival;
  }
}

void SchedModel::ApplyAdmissions(const flow::StepPlan& plan) {
  for (const flow::Admission& a : plan.admissions) {
    const auto it = FindLive(SeqId(a.ids.at(0) - 1000));
    ASSERT_NE(it, live_.end());
    Request& request = it->second;
    EXPECT_FALSE(request.running) << "in two slots";
    EXPECT_EQ(a.ids, request.ids);
    EXPECT_EQ(a.prompt_length, request.prompt());
    EXPECT_EQ(a.sampling.seed, request.asked.sampling.seed);
    request.running = true;
    request.admitted = ++admissions_;
    request.slot = a.slot;
    request.blocks = static_cast<int32_t>(a.blocks.size());
    slots_[a.slot.value] = it->first;
  }
  for (const flow::AppendedBlock& a : plan.appended_blocks) {
    ++live_.at(slots_[a.slot.value].value()).blocks;
  }
}

void SchedModel::CheckFirstComeFirstServed(const flow::StepPlan& plan) {
  bool waits = false;
  for (const auto& [arrival, request] : live_) {
    if (!request.running) waits = true;
    EXPECT_FALSE(waits && request.running) << "arrival " << arrival << " overtook another";
  }
  // No starvation: the oldest makes progress with every step.
  const Request& oldest = live_.begin()->second;
  const bool waits_for_result =
      !in_flight_.empty() && !oldest.decodes() && oldest.ChunkEnd() == oldest.computed;
  EXPECT_TRUE(waits_for_result ||
              std::any_of(plan.rows.begin(), plan.rows.end(), [&](const flow::Row& row) {
                return oldest.running && row.slot == oldest.slot;
              }));
}

void SchedModel::CheckRows(const flow::StepPlan& plan) {
  int32_t tokens = 0;
  std::map<int32_t, const flow::Row*> by_slot;
  bool decode = true;
  for (const flow::Row& row : plan.rows) {
    EXPECT_TRUE(by_slot.emplace(row.slot.value, &row).second) << "two rows of one slot";
    tokens += row.count;
    const bool decodes = live_.at(slots_[row.slot.value].value()).decodes();
    EXPECT_TRUE(decode || !decodes) << "a decode row behind a chunk";
    decode = decodes;
  }
  const int32_t left = options_.max_num_batched_tokens - tokens;
  EXPECT_GE(left, 0);
  for (auto& [arrival, r] : live_) {
    if (!r.running) continue;
    const bool score = r.scores();
    const int32_t end = r.decodes() ? r.computed + 1 : r.ChunkEnd();
    const auto row = by_slot.find(r.slot.value);
    if (row != by_slot.end()) {
      EXPECT_EQ(row->second->from, r.computed);
      EXPECT_EQ(row->second->wants == flow::RowWants::kPromptLogprobs, score);
      EXPECT_TRUE(!r.decodes() || row->second->wants == flow::RowWants::kSample);
      r.computed += row->second->count;
      r.pending += row->second->wants == flow::RowWants::kSample ? 1 : 0;
    } else {
      EXPECT_FALSE(r.decodes()) << "a decoding sequence has no row";
    }
    EXPECT_TRUE(r.computed == end || left == 0) << "tokens of the step are left unused";
  }
  CheckHeadOfQueue(left);
}

// Who waits at the head has a reason to.
void SchedModel::CheckHeadOfQueue(int32_t tokens_left) {
  int32_t running = 0;
  for (const auto& [arrival, r] : live_) {
    if (r.running) {
      ++running;
      continue;
    }
    const int32_t positions = r.asked.max_tokens == 0 ? r.prompt() - 1 : r.length();
    const int32_t slots = std::min(options_.max_num_seqs, options_.max_num_batched_tokens);
    EXPECT_TRUE(tokens_left == 0 || running == slots ||
                kv::BlocksFor(positions, options_.block_size) > scheduler_->Stats().blocks_free);
    return;
  }
}

std::vector<float> SchedModel::ExpectedScores(const Request& request) const {
  std::vector<float> scores;
  if (!request.asked.prompt_logprobs) return scores;
  const std::span<const TokenId> prompt(request.asked.prompt);
  for (size_t n = 1; n < prompt.size(); ++n) {
    scores.push_back(FakeLogprob(prompt.first(n), prompt[n]));
  }
  return scores;
}

FinishReason SchedModel::ExpectedFinish(const Request& r) const {
  const TokenId token = r.ids.back();
  const auto& stops = r.asked.stop_token_ids;
  if (token == options_.eos && !r.asked.ignore_eos) return FinishReason::kStop;
  if (std::find(stops.begin(), stops.end(), token) != stops.end()) return FinishReason::kStop;
  const bool full = r.length() == sched::ContextLimit(options_);
  return full || r.emitted() == r.asked.max_tokens ? FinishReason::kLength : FinishReason::kNone;
}

// The token is the one that the sequence gets alone.
void SchedModel::CheckToken(Request& r, const flow::TokenEvent& event) {
  ASSERT_GT(tokens_due_, 0u);
  --tokens_due_;
  EXPECT_EQ(event.index, r.emitted());
  EXPECT_EQ(event.token, FakeToken(r.ids, r.asked.sampling.seed, vocab_));
  EXPECT_EQ(event.logprob, FakeLogprob(r.ids, event.token));
  r.ids.push_back(event.token);
  EXPECT_EQ(event.finish, ExpectedFinish(r));
}

void SchedModel::TakeEvents() {
  for (const flow::TokenEvent& event : scheduler_->TakeEvents()) {
    const auto it = FindLive(event.id);
    ASSERT_NE(it, live_.end()) << "an event behind the last one of " << event.id.value;
    Request& request = it->second;
    const auto end = ends_.find(event.id.value);
    if (event.has_token) {
      CheckToken(request, event);
    } else if (end != ends_.end()) {
      EXPECT_EQ(event.finish, end->second.finish);
      EXPECT_EQ(event.index, end->second.index);
      EXPECT_EQ(event.deadline_exceeded, end->second.deadline_exceeded);
      EXPECT_EQ(event.error.empty(), event.finish != FinishReason::kCancelled);
      ends_.erase(end);
    } else {  // a scored prompt
      EXPECT_EQ(event.finish, FinishReason::kLength);
      EXPECT_TRUE(request.asked.prompt_logprobs && request.asked.max_tokens == 0);
      EXPECT_EQ(request.computed, request.prompt() - 1);
    }
    if (event.finish == FinishReason::kNone) continue;
    const bool scored = event.finish != FinishReason::kCancelled;
    EXPECT_EQ(event.prompt_logprobs, scored ? ExpectedScores(request) : std::vector<float>());
    live_.erase(it);
    ++finished_;
  }
  EXPECT_TRUE(ends_.empty()) << "an end did not come";
  EXPECT_EQ(tokens_due_, 0u) << "a token did not come";
}

void SchedModel::CheckState() {
  TakeEvents();
  const sched::SchedulerStats stats = scheduler_->Stats();
  int32_t running = 0, waiting = 0, blocks = 0;
  int64_t waiting_tokens = 0;
  for (const auto& [arrival, r] : live_) {
    (r.running ? running : waiting) += 1;
    if (r.running) blocks += r.blocks;
    if (!r.running) waiting_tokens += r.length();
  }
  EXPECT_EQ(stats.running, running);
  EXPECT_EQ(stats.waiting, waiting);
  EXPECT_EQ(stats.waiting_tokens, waiting_tokens);
  EXPECT_EQ(stats.blocks_free, options_.num_blocks - blocks);
  EXPECT_EQ(stats.requests_finished, finished_);
  EXPECT_EQ(stats.in_flight, !in_flight_.empty());
  EXPECT_EQ(stats.ready, ready_);
  EXPECT_EQ(stats.epoch, epoch_);
}

}  // namespace pamir::testing
