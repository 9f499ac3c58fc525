// How many KV blocks a rank gets where the flags do not say: what the memory has room for, and no
// more than can be used.
#ifndef PAMIR_CLI_KV_BLOCKS_H_
#define PAMIR_CLI_KV_BLOCKS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"

namespace pamir::cli {

// The plan's limits other than num_blocks must have been set. `memory` is that of the machine on
// which all ranks run; a quarter of it is for KV blocks, and always enough for one sequence.
int64_t CpuKvBlocks(const spec::ModelSpec& model, const spec::ShardPlan& plan, int64_t memory);

struct GpuBudget {
  std::vector<int64_t> memory;  // bytes of each GPU
  double utilization = 0.9;     // the share that may be used
  // The ranks run on these GPUs, dealt out in turn; else each has one to itself, as large as the
  // smallest here.
  bool shared_out = true;
};

// Of the memory that a rank may use: less its weights, its buffers and a reserve for CUDA's own
// needs and the kernels' scratch. Ranks are numbered as workers come, so every rank counts with the
// least that one may have. RESOURCE_EXHAUSTED where one sequence of max_model_len does not fit:
// what is missing, and what would fit.
absl::StatusOr<int64_t> CudaKvBlocks(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                     const GpuBudget& budget);

}  // namespace pamir::cli

#endif  // PAMIR_CLI_KV_BLOCKS_H_
