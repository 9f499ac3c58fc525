#include "engine/model/sampled_ids.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace pamir::model {
namespace {

// At most so many steps' worth may lie unread, and at most so many ids: far below what any
// transport holds (16 KiB), or the sampling rank would wait in Send for a rank that waits for its
// next step.
constexpr size_t kUnreadSampleStepsMax = 8;
constexpr size_t kUnreadSamplesMax = 1024;

int64_t BytesOf(const AwaitedStep& step) {
  return static_cast<int64_t>(step.size() * sizeof(int32_t));
}

}  // namespace

AwaitedStep SampledSlots(const flow::StepPlan& plan, const SlotTable& slots) {
  AwaitedStep step;
  for (const flow::Row& row : plan.rows) {
    if (row.wants == flow::RowWants::kSample) {
      step.push_back({row.slot, slots.at(row.slot).generation});
    }
  }
  return step;
}

SampledIds::SampledIds(const spec::ShardPlan& plan, int rank, comm::Communicator* world,
                       SlotTable* slots)
    : rank_(rank),
      sampling_rank_(spec::RankAt(plan, plan.pipeline() - 1, 0)),
      first_stage_ranks_(static_cast<int>(plan.stages.front().shards.size())),
      world_(world),
      slots_(slots),
      tokens_(static_cast<size_t>(plan.limits.max_num_seqs)) {}

absl::Status SampledIds::Send(const AwaitedStep& step, const int32_t* tokens) {
  if (step.empty()) return absl::OkStatus();
  for (int rank = 0; rank < first_stage_ranks_; ++rank) {
    if (rank == rank_) continue;
    PAMIR_RETURN_IF_ERROR(world_->Send(rank, tokens, BytesOf(step), {}));
  }
  return first_stage() ? Append(step, tokens) : absl::OkStatus();
}

absl::Status SampledIds::Await(AwaitedStep step) {
  if (step.empty()) return absl::OkStatus();
  awaited_samples_ += step.size();
  awaited_.push_back(std::move(step));
  while (awaited_.size() > kUnreadSampleStepsMax || awaited_samples_ > kUnreadSamplesMax) {
    PAMIR_RETURN_IF_ERROR(TakeOldest());
  }
  return absl::OkStatus();
}

absl::Status SampledIds::TakeBefore(const flow::StepPlan& plan) {
  if (plan.forks.empty() && plan.forced_tokens.empty()) return absl::OkStatus();
  while (!awaited_.empty()) PAMIR_RETURN_IF_ERROR(TakeOldest());
  return absl::OkStatus();
}

absl::Status SampledIds::TakeFor(SlotId slot, size_t needed) {
  while (slots_->at(slot).ids.size() < needed && !awaited_.empty()) {
    PAMIR_RETURN_IF_ERROR(TakeOldest());
  }
  return absl::OkStatus();
}

absl::Status SampledIds::TakeOldest() {
  const AwaitedStep step = std::move(awaited_.front());
  awaited_.pop_front();
  awaited_samples_ -= step.size();
  PAMIR_RETURN_IF_ERROR(world_->Recv(sampling_rank_, tokens_.data(), BytesOf(step), {}));
  return Append(step, tokens_.data());
}

absl::Status SampledIds::Append(const AwaitedStep& step, const int32_t* tokens) {
  for (size_t i = 0; i < step.size(); ++i) {
    PAMIR_RETURN_IF_ERROR(slots_->Append(step[i].slot, step[i].generation, tokens[i]));
  }
  return absl::OkStatus();
}

}  // namespace pamir::model
