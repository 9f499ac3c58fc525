// The end of the last stage: logits of the rows that want something, and what they want.
#ifndef PAMIR_ENGINE_MODEL_HEAD_H_
#define PAMIR_ENGINE_MODEL_HEAD_H_

#include "absl/status/status.h"
#include "core/flow/step_plan.h"
#include "core/flow/step_result.h"
#include "core/spec/shard_plan.h"
#include "engine/model/layers.h"
#include "engine/model/slots.h"

namespace pamir::model {

struct HeadContext {
  const LayerContext* layers = nullptr;
  const spec::ShardPlan* plan = nullptr;
  const spec::StagePlan* stage = nullptr;
  int tensor_index = 0;
  const SlotTable* slots = nullptr;
};

// All ranks of the last stage call it; the first one's `result` is filled.
absl::Status RunHead(const HeadContext& context, const flow::StepPlan& plan,
                     const kernels::RowsView& rows, flow::StepResult* result);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_HEAD_H_
