#include <algorithm>

#include "core/spec/logit_rows.h"
#include "core/spec/shard_plan.h"
#include "core/spec/weight_layout.h"

namespace pamir::spec {
namespace {

// The step's buffers without the kernels' scratch: fp32 activations of a full step, the tables of
// its rows, and logits on the last stage.
int64_t BufferBytes(const ModelSpec& model, const ShardPlan& plan, RankPlace place) {
  const StagePlan& stage = plan.stages[place.stage];
  const TensorShard& shard = stage.shards[place.tensor_index];
  const EngineLimits& limits = plan.limits;
  const int64_t attention = shard.heads.size() * model.head_dim();
  const int64_t widest = std::max(model.hidden, model.embed);
  const int64_t floats_a_token = model.hidden + std::max(widest, attention) + widest +
                                 std::max(3 * attention, shard.ffn.size());
  const int64_t integers_a_token = 3 + CeilDiv(limits.max_model_len, limits.block_size);
  int64_t words = limits.max_num_batched_tokens * (floats_a_token + integers_a_token);
  if (place.stage == plan.pipeline() - 1) {
    words += kLogitRows * (widest + shard.vocab.size());
    if (model.projected()) words += kLogitRows * model.embed;
    const bool gathers = place.tensor_index == 0 && stage.shards.size() > 1;
    if (gathers) words += 2 * kLogitRows * model.vocab;
  }
  return words * static_cast<int64_t>(sizeof(float));
}

}  // namespace

RankBytes BytesOfRank(const ModelSpec& model, const ShardPlan& plan, int rank) {
  RankBytes bytes;
  bytes.weights = WeightLayoutOf(model, plan, rank).bytes;
  const int64_t spare = plan.device == DeviceKind::kCuda ? kCudaSpareBlocks : 0;
  bytes.kv = (plan.limits.num_blocks + spare) * KvBytesPerBlock(model, plan, rank);
  bytes.buffers = BufferBytes(model, plan, PlaceOfRank(plan, rank));
  return bytes;
}

int64_t KvBytesPerBlock(const ModelSpec& model, const ShardPlan& plan, int rank) {
  const RankPlace place = PlaceOfRank(plan, rank);
  const StagePlan& stage = plan.stages[place.stage];
  const int64_t heads = stage.shards[place.tensor_index].heads.size();
  const auto element = static_cast<int64_t>(SizeOf(plan.kv_dtype));
  const bool pads = plan.device == DeviceKind::kCuda && element == 2;
  const int64_t head_dim = pads ? RoundUp(model.head_dim(), kCudaHeadDimPadding) : model.head_dim();
  const int64_t bytes = plan.kv_fp8 ? head_dim + kCudaFp8ScaleBytes : head_dim * element;
  return stage.layers.size() * 2 * plan.limits.block_size * heads * bytes;
}

}  // namespace pamir::spec
