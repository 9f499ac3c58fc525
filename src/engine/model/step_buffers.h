// Every buffer of a rank's forward pass, taken once at start-up and sized by the limits.
#ifndef PAMIR_ENGINE_MODEL_STEP_BUFFERS_H_
#define PAMIR_ENGINE_MODEL_STEP_BUFFERS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "core/spec/logit_rows.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/device/host_buffer.h"
#include "kernels/sample/sample.h"

namespace pamir::model {

using spec::kLogitRows;

// T = max_num_batched_tokens. Shapes are of this rank; unused ones are null.
struct StepBuffers {
  float* x = nullptr;  // [T][hidden] the residual stream
  float* y =
      nullptr;  // [T][max(hidden, local heads * head_dim, embed)] normed, or attention's output
  float* delta =
      nullptr;            // [T][max(hidden, embed)] a block's partial output, summed over the ranks
  float* wide = nullptr;  // [T][max(3 * local heads * head_dim, local ffn)]
  float* picked = nullptr;           // [kLogitRows][max(hidden, embed)] rows that want logits
  float* projected = nullptr;        // [kLogitRows][embed]
  float* shard_logits = nullptr;     // [kLogitRows][local vocab]
  float* gathered_logits = nullptr;  // [kLogitRows * vocab], rank after rank; sampling rank, tp > 1
  float* logits = nullptr;           // [kLogitRows][vocab]; sampling rank
  int32_t* tokens = nullptr;         // [max_num_seqs] sampled ids on their way to the first stage
  void* scratch = nullptr;           // of the kernels

  int32_t* ids = nullptr;          // [T] StepInputs, packed
  int32_t* positions = nullptr;    // [T]
  int32_t* row_start = nullptr;    // [T + 1]
  int32_t* block_table = nullptr;  // [T][max blocks of a sequence]: a row has at least a token

  device::HostBuffer storage;
};

absl::StatusOr<StepBuffers> AllocateStepBuffers(const spec::ModelSpec& model,
                                                const spec::ShardPlan& plan, int rank, int threads);

// The largest buffer that any collective of this plan carries, in bytes.
int64_t MaxMessageBytes(const spec::ModelSpec& model, const spec::ShardPlan& plan);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_STEP_BUFFERS_H_
