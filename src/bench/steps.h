// Feeds a rank with steps as a coordinator would, and times them. The sequences are made up: ids
// without meaning, and a KV cache of zeros where a context was not computed.
#ifndef PAMIR_BENCH_STEPS_H_
#define PAMIR_BENCH_STEPS_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/flow/ports.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"

namespace pamir::bench {

inline constexpr int kWarmUpSteps = 5;  // before those that are timed

struct Timing {
  double ms = 0;        // a step, median: as they follow each other in service
  double spread = 0;    // between the quartiles, as a share of the median
  double alone_ms = 0;  // median where each is waited for before the next is begun
};

// The median, and the distance of the quartiles as a share of it.
Timing Summarize(std::vector<double> ms);

// Where so many timed steps begin whose contexts, one more a step, are `context` in the mean.
inline int32_t FirstContext(int32_t context, int32_t steps) {
  return std::max(1, context - kWarmUpSteps - steps / 2);
}

// Positions that decoding from `context` for so many timed steps fills.
inline int32_t DecodePositions(int32_t context, int32_t steps) {
  return context + kWarmUpSteps + steps;
}

// Owns the slots of a rank that nobody else drives. `greedy`: else batches of several are sampled
// at temperature 1, so that their sequences stay different whatever the weights are.
class StepFeeder {
 public:
  StepFeeder(flow::Rank* rank, const spec::ModelSpec& model, const spec::EngineLimits& limits,
             bool greedy);

  // A batch of sequences whose `context` ids count as computed, one more a step. Steps are timed
  // begun ahead of each other's end as far as the rank allows, over windows of wall clock, and
  // then, in the same positions, one at a time.
  absl::StatusOr<Timing> Decode(int32_t batch, int32_t context, int32_t steps);

  // One sequence of so many ids in one step, `repeats` times behind a warm-up.
  absl::StatusOr<Timing> Prefill(int32_t tokens, int repeats);

 private:
  // A plan that releases all slots and admits `batch` of `ids` with blocks for `positions`.
  flow::StepPlan Admit(int32_t batch, int32_t ids, int32_t positions);
  // The step `index` behind `context`; the first one admits.
  flow::StepPlan DecodeStep(int32_t batch, int32_t context, int32_t steps, int32_t index);
  absl::StatusOr<std::vector<double>> OneAtATime(int32_t batch, int32_t context, int32_t steps);
  absl::StatusOr<std::vector<double>> Ahead(int32_t batch, int32_t context, int32_t steps);

  flow::Rank* const rank_;
  const int64_t vocab_;
  const spec::EngineLimits limits_;
  const bool greedy_;
  int32_t used_slots_ = 0;
  uint64_t next_step_ = 1;
};

}  // namespace pamir::bench

#endif  // PAMIR_BENCH_STEPS_H_
