// What one rank holds of the model, laid out for the kernels of its device, in one allocation of
// exactly BytesOfRank(...).weights bytes. The CPU's; the GPU's is in cuda_weights.h.
#ifndef PAMIR_ENGINE_WEIGHTS_RANK_WEIGHTS_H_
#define PAMIR_ENGINE_WEIGHTS_RANK_WEIGHTS_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/weights/tensor_source.h"
#include "kernels/product/product.h"

namespace pamir::weights {

// Scale and shift of a LayerNorm, [hidden] each; null where the model has none.
struct NormWeights {
  const float* gamma = nullptr;
  const float* beta = nullptr;
};

// One layer's slice. Matrix is the view that the device's kernels take. Biases are fp32, null where
// the model has none. out_bias and fc2_bias are whole on every rank: they are added once, after the
// all-reduce.
template <typename Matrix>
struct LayerWeightsOf {
  NormWeights attention_norm;  // self_attn_layer_norm
  Matrix qkv;                  // [3 * local heads * head_dim, hidden]: q rows, then k, then v
  const float* qkv_bias = nullptr;
  Matrix out;  // [hidden, local heads * head_dim]
  const float* out_bias = nullptr;
  NormWeights ffn_norm;  // the layer's final_layer_norm
  Matrix fc1;            // [local ffn, hidden]
  const float* fc1_bias = nullptr;
  // [hidden, local ffn]; one neuron's weights together for ReLU models, on a GPU only where the
  // plan skips neurons.
  Matrix fc2;
  const float* fc2_bias = nullptr;
};

template <typename Matrix>
struct RankWeightsOf {
  // First and last stage; one copy where they are the same. [vocab shard, embed].
  Matrix embedding;
  Matrix lm_head;                   // last stage; the embedding where tied
  const void* positions = nullptr;  // first stage: [positions + 2, hidden], row-major
  DType positions_dtype = DType::kFloat16;
  Matrix project_in;       // first stage of projected models, [hidden, embed]
  Matrix project_out;      // last stage of projected models, [embed, hidden]
  NormWeights final_norm;  // last stage, where the model has one
  std::vector<LayerWeightsOf<Matrix>> layers;

  int64_t bytes = 0;
  std::shared_ptr<void> storage;  // owns everything above
};

using LayerWeights = LayerWeightsOf<kernels::Matrix>;
using RankWeights = RankWeightsOf<kernels::Matrix>;

struct LoadProgress {
  int64_t bytes_done = 0;
  int64_t bytes_total = 0;
};

// Reads, checks (shape, dtype, NaN and Inf) and packs the slice of `rank`; several reads in flight
// on `threads` threads. `progress` is called from any of them, at most ten times a second, and once
// at the end; it may be null. The plan is one for CPUs.
absl::StatusOr<RankWeights> LoadRankWeights(const spec::ModelSpec& model,
                                            const spec::ShardPlan& plan, int rank,
                                            const TensorSource& source, int threads,
                                            const std::function<void(LoadProgress)>& progress);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_RANK_WEIGHTS_H_
