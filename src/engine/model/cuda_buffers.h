// Every piece of device memory that a rank's steps use, in one allocation taken at start-up.
#ifndef PAMIR_ENGINE_MODEL_CUDA_BUFFERS_H_
#define PAMIR_ENGINE_MODEL_CUDA_BUFFERS_H_

#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "core/spec/logit_rows.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/device/cuda_device.h"
#include "kernels/attention/attention_cuda.h"

namespace pamir::model {

// A step is computed while the next one's inputs come and the last one's results leave: two of
// each.
inline constexpr int kStepsAhead = 1;
inline constexpr int kLanes = kStepsAhead + 1;

// T: the most tokens of a step. D: the weights' type. Shapes are of this rank; unused ones are
// null.
struct CudaBuffers {
  float* x = nullptr;        // [T][hidden] the residual stream
  float* other_x = nullptr;  // [hidden] its second place, for steps of one token
  void* y = nullptr;     // D [T][max(hidden, embed, local heads * head_dim)] normed, or attention's
  void* wide = nullptr;  // [T][max(3 * local heads * head_dim in the cache's type, local ffn in D)]
  float* delta =
      nullptr;  // [T][max(hidden, embed)] a block's partial output, summed over the ranks
  uint8_t* active = nullptr;         // [local ffn / 16] flags of fc1's outputs
  float* picked = nullptr;           // [kLogitRows][hidden] rows that want logits (last stage)
  void* picked_y = nullptr;          // D [kLogitRows][max(hidden, embed)]
  float* shard_logits = nullptr;     // [kLogitRows][local vocab]
  float* gathered_logits = nullptr;  // [kLogitRows * vocab], rank after rank; sampling rank, tp > 1
  float* logits = nullptr;           // [kLogitRows][vocab]; sampling rank
  int32_t* sampled = nullptr;        // [max_num_seqs + 1] each slot's last token
  void* attention_scratch = nullptr;
  int64_t attention_tokens = 0;  // that it serves
  int64_t attention_tiles = 0;   // of prompts that it serves at once; 0: they need none
  void* skip_scratch = nullptr;
  void* workspace = nullptr;               // of products with many rows
  std::array<char*, kLanes> inputs = {};   // a step's, see InputOffsets
  std::array<char*, kLanes> results = {};  // a step's, see ResultOffsets
  void** planes = nullptr;                 // of the KV cache, for copies of blocks
  void* block_pairs = nullptr;             // BlockPair [kMaxBlockPairs]
  int64_t bytes = 0;

  device::CudaMemory storage;
};
inline constexpr int64_t kProductWorkspaceBytes = 32 << 20;
inline constexpr int64_t kSkipRows = 64;  // of a launch of the full skip; more are done in turns
inline constexpr int64_t kMaxBlockPairs = 4096;  // copied at once; more are done in turns

// What comes back of a step, in one piece.
struct ResultOffsets {
  int64_t tokens = 0;          // int32 [samples]
  int64_t logprobs = 0;        // float [samples]
  int64_t score_logprobs = 0;  // float [scores]
  int64_t bytes = 0;
};
ResultOffsets ResultsOf(int64_t samples, int64_t scores);

// Bytes of AllocateCudaBuffers, to be foretold.
int64_t CudaBufferBytes(const kernels::CudaApi& api, const spec::ModelSpec& model,
                        const spec::ShardPlan& plan, int rank);

absl::StatusOr<CudaBuffers> AllocateCudaBuffers(const device::CudaDevice& device,
                                                const spec::ModelSpec& model,
                                                const spec::ShardPlan& plan, int rank);

// This rank's part of the KV pool: for each layer a plane of K and one of V, and behind the plan's
// last block one more for the padding rows of decode steps.
struct CudaKv {
  std::vector<kernels::KvCuda> layers;
  int64_t block_bytes = 0;  // of a plane
  int64_t bytes = 0;
  device::CudaMemory storage;
};
absl::StatusOr<CudaKv> AllocateCudaKv(const device::CudaDevice& device,
                                      const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                      int rank);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_BUFFERS_H_
