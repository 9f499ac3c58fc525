// One rank of an OPT model on one NVIDIA GPU: from a StepPlan to sampled tokens with one copy to
// the device and one back. A step is begun without waiting for the one before: decode rows take
// their last token from the device.
#ifndef PAMIR_ENGINE_MODEL_CUDA_RANK_H_
#define PAMIR_ENGINE_MODEL_CUDA_RANK_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "core/flow/ports.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/comm/communicator.h"
#include "engine/device/cuda_device.h"
#include "engine/weights/cuda_weights.h"

namespace pamir::model {

struct CudaRankOptions {
  spec::ModelSpec model;
  spec::ShardPlan plan;
  int rank = 0;
  // A step that has peers must end within this, or they are given up.
  absl::Duration step_timeout = absl::Seconds(300);
  // Decode steps as CUDA graphs for a ladder of batch sizes, captured while starting. Off:
  // launches.
  bool graphs = true;
  // cuBLASLt for products with many rows, where its bits are those of the own kernels.
  bool cublaslt = true;
};

struct CudaRankParts {
  std::unique_ptr<device::CudaDevice> device;  // outlives the weights: they go first
  weights::CudaWeights weights;
  comm::Groups groups;  // of device memory; null members where the plan has one rank
  // Between hosts' memories, for sampled ids on their way back to the first stage. Null where the
  // plan has one stage.
  std::shared_ptr<comm::Communicator> host_world;
};

struct CudaRankSizes {
  int64_t weight_bytes = 0;
  int64_t kv_bytes = 0;
  int64_t buffer_bytes = 0;
  int graphs = 0;
};

// Before anything is loaded: whether weights, KV cache and buffers fit into what is free.
// RESOURCE_EXHAUSTED names each and what is missing.
absl::Status CheckCudaMemory(const device::CudaDevice& device, const spec::ModelSpec& model,
                             const spec::ShardPlan& plan, int rank);

// Takes all memory and captures all graphs here; Step allocates nothing on the device.
absl::StatusOr<std::unique_ptr<flow::Rank>> MakeCudaRank(const CudaRankOptions& options,
                                                         CudaRankParts parts, CudaRankSizes* sizes);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_RANK_H_
