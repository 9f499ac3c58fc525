#include "engine/model/cuda_buffers.h"

#include <algorithm>

#include "base/status_macros.h"
#include "base/units.h"
#include "engine/model/carver.h"
#include "engine/model/cuda_inputs.h"

namespace pamir::model {
namespace {

constexpr int64_t kAlign = 256;

bool HasFastPrefill(int64_t head_dim) {
  return head_dim == 64 || head_dim == 80 || head_dim == 128;
}

// Other head dims compute prompts by the decode kernel, a tile at a time.
int64_t AttentionTokens(const spec::ModelSpec& model, const spec::EngineLimits& limits) {
  const int64_t prompt = HasFastPrefill(model.head_dim()) ? 0 : kernels::kTileQueries;
  return std::max<int64_t>(std::min(limits.max_num_seqs, limits.max_num_batched_tokens), prompt);
}

void CarveHead(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank, Carver& carver,
               CudaBuffers* b) {
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  if (place.stage + 1 != plan.pipeline()) return;
  const spec::StagePlan& stage = plan.stages[place.stage];
  const int64_t element = static_cast<int64_t>(SizeOf(plan.weight_dtype));
  carver.Take(&b->picked, spec::kLogitRows * model.hidden);
  carver.TakeBytes(&b->picked_y, spec::kLogitRows * (model.hidden + model.embed) * element);
  carver.Take(&b->shard_logits, spec::kLogitRows * stage.shards[place.tensor_index].vocab.size());
  if (stage.shards.size() == 1 || place.tensor_index != 0) return;
  carver.Take(&b->gathered_logits, spec::kLogitRows * model.vocab);
  carver.Take(&b->logits, spec::kLogitRows * model.vocab);
}

int64_t Carve(const kernels::CudaApi& api, const spec::ModelSpec& model,
              const spec::ShardPlan& plan, int rank, char* base, CudaBuffers* b) {
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  const spec::StagePlan& stage = plan.stages[place.stage];
  const spec::TensorShard& shard = stage.shards[place.tensor_index];
  const StepShape largest = LargestShape(plan.limits);
  const int64_t heads = shard.heads.size(), attention_width = heads * model.head_dim();
  const int64_t widest = std::max(model.hidden, model.embed);
  const int64_t element = static_cast<int64_t>(SizeOf(plan.weight_dtype));
  const int64_t kv_element = static_cast<int64_t>(SizeOf(plan.kv_dtype));

  Carver carver(base, kAlign);
  carver.Take(&b->x, largest.tokens * model.hidden);
  carver.Take(&b->other_x, model.hidden);
  carver.TakeBytes(&b->y, largest.tokens * std::max(widest, attention_width) * element);
  carver.TakeBytes(&b->wide, largest.tokens * std::max(3 * attention_width * kv_element,
                                                       shard.ffn.size() * element));
  carver.Take(&b->delta, largest.tokens * widest);
  carver.Take(&b->active, CeilDiv(shard.ffn.size(), kernels::cuda::kGroup));
  CarveHead(model, plan, rank, carver, b);
  carver.Take(&b->sampled, plan.limits.max_num_seqs + 1);
  b->attention_tokens = AttentionTokens(model, plan.limits);
  if (!HasFastPrefill(model.head_dim())) {
    b->attention_tiles = b->attention_tokens / kernels::kTileQueries;
  }
  carver.TakeBytes(&b->attention_scratch,
                   api.attention_scratch_bytes(b->attention_tokens, plan.limits.max_model_len,
                                               heads, model.head_dim()));
  if (plan.relu_skip == spec::ReluSkip::kFull) {
    carver.TakeBytes(&b->skip_scratch, static_cast<int64_t>(api.skip_neurons_scratch_bytes(
                                           kSkipRows, model.hidden, shard.ffn.size())));
  }
  carver.TakeBytes(&b->workspace, kProductWorkspaceBytes);
  const int64_t max_blocks = CeilDiv(plan.limits.max_model_len, plan.limits.block_size);
  for (char*& inputs : b->inputs) carver.Take(&inputs, OffsetsOf(largest, max_blocks).bytes);
  for (char*& results : b->results) {
    carver.Take(&results, ResultsOf(largest.samples, largest.scores).bytes);
  }
  carver.Take(&b->planes, 2 * stage.layers.size());
  carver.TakeBytes(&b->block_pairs,
                   kMaxBlockPairs * static_cast<int64_t>(sizeof(kernels::BlockPair)));
  return carver.used();
}

}  // namespace

ResultOffsets ResultsOf(int64_t samples, int64_t scores) {
  const int64_t each = static_cast<int64_t>(sizeof(int32_t));
  return {.tokens = 0,
          .logprobs = samples * each,
          .score_logprobs = 2 * samples * each,
          .bytes = (2 * samples + scores) * each};
}

int64_t CudaBufferBytes(const kernels::CudaApi& api, const spec::ModelSpec& model,
                        const spec::ShardPlan& plan, int rank) {
  CudaBuffers counted;
  return Carve(api, model, plan, rank, nullptr, &counted);
}

absl::StatusOr<CudaBuffers> AllocateCudaBuffers(const device::CudaDevice& device,
                                                const spec::ModelSpec& model,
                                                const spec::ShardPlan& plan, int rank) {
  CudaBuffers buffers;
  buffers.bytes = Carve(device.api(), model, plan, rank, nullptr, &buffers);
  PAMIR_ASSIGN_OR_RETURN(buffers.storage,
                         device::AllocateCuda(device, buffers.bytes, "a step's buffers"));
  Carve(device.api(), model, plan, rank, static_cast<char*>(buffers.storage.get()), &buffers);
  return buffers;
}

absl::StatusOr<CudaKv> AllocateCudaKv(const device::CudaDevice& device,
                                      const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                      int rank) {
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  const spec::StagePlan& stage = plan.stages[place.stage];
  const int64_t heads = stage.shards[place.tensor_index].heads.size();
  CudaKv kv;
  kv.block_bytes =
      kernels::KvCudaPlaneBytes(1, heads, model.head_dim(), plan.kv_dtype, plan.kv_fp8);
  const int64_t plane = kv.block_bytes * (int64_t{plan.limits.num_blocks} + 1);
  kv.bytes = 2 * plane * stage.layers.size();
  PAMIR_ASSIGN_OR_RETURN(kv.storage,
                         device::AllocateCuda(device, kv.bytes, "the KV cache's blocks"));
  char* at = static_cast<char*>(kv.storage.get());
  for (int64_t i = 0; i < stage.layers.size(); ++i, at += 2 * plane) {
    kv.layers.push_back({.k = at,
                         .v = at + plane,
                         .heads = static_cast<int32_t>(heads),
                         .head_dim = static_cast<int32_t>(model.head_dim()),
                         .fp8 = plan.kv_fp8});
  }
  return kv;
}

}  // namespace pamir::model
