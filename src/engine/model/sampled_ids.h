// Sampled ids on their way from the last stage's first rank to every rank of the first stage, which
// takes them over when a row needs them. Between hosts' memories.
#ifndef PAMIR_ENGINE_MODEL_SAMPLED_IDS_H_
#define PAMIR_ENGINE_MODEL_SAMPLED_IDS_H_

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/status/status.h"
#include "core/flow/step_plan.h"
#include "core/spec/shard_plan.h"
#include "engine/comm/communicator.h"
#include "engine/model/slots.h"

namespace pamir::model {

// The slots that a step sampled for, in the plan's order: who its ids belong to.
struct AwaitedSample {
  SlotId slot;
  uint64_t generation = 0;
};
using AwaitedStep = std::vector<AwaitedSample>;
AwaitedStep SampledSlots(const flow::StepPlan& plan, const SlotTable& slots);

class SampledIds {
 public:
  // `world` is of all ranks of the plan, null where it has one; it and the table outlive this.
  SampledIds(const spec::ShardPlan& plan, int rank, comm::Communicator* world, SlotTable* slots);

  // The sampling rank sends the ids of its step, and takes them over where it is in the first stage
  // itself. `tokens`: one for each of the step's samples.
  absl::Status Send(const AwaitedStep& step, const int32_t* tokens);

  // The other ranks of the first stage: this step's ids will come.
  absl::Status Await(AwaitedStep step);

  // Before a plan changes what slots remember: forks copy ids, and forced tokens go behind them, so
  // what was sampled is taken over first.
  absl::Status TakeBefore(const flow::StepPlan& plan);

  // Takes over ids, oldest first, until the slot has `needed` or none is awaited any more.
  absl::Status TakeFor(SlotId slot, size_t needed);

  bool sampling_rank() const { return rank_ == sampling_rank_; }
  bool first_stage() const { return rank_ < first_stage_ranks_; }

 private:
  absl::Status TakeOldest();
  absl::Status Append(const AwaitedStep& step, const int32_t* tokens);

  const int rank_;
  const int sampling_rank_;
  const int first_stage_ranks_;
  comm::Communicator* const world_;
  SlotTable* const slots_;
  std::vector<int32_t> tokens_;
  std::deque<AwaitedStep> awaited_;
  size_t awaited_samples_ = 0;  // in them
};

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_SAMPLED_IDS_H_
