#include "engine/model/step_buffers.h"

#include <algorithm>

#include "base/status_macros.h"
#include "base/units.h"
#include "engine/model/carver.h"
#include "kernels/attention/attention.h"
#include "kernels/product/product.h"

namespace pamir::model {
namespace {

constexpr int64_t kAlign = 64;

int64_t ScratchBytes(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                     const spec::TensorShard& shard, int threads) {
  const int64_t tokens = plan.limits.max_num_batched_tokens;
  const int64_t in_max = std::max({model.hidden, shard.ffn.size(), model.embed});
  const int64_t out_max = std::max({3 * shard.heads.size() * model.head_dim(), model.hidden,
                                    shard.ffn.size(), shard.vocab.size(), model.embed});
  return std::max({kernels::ProductScratchBytes(tokens, in_max, out_max, threads),
                   kernels::AttentionScratchBytes(tokens, plan.limits.max_model_len,
                                                  shard.heads.size(), model.head_dim(), threads),
                   kernels::SampleScratchBytes(model.vocab, threads)});
}

int64_t Carve(const spec::ModelSpec& model, const spec::ShardPlan& plan, int rank, int threads,
              char* base, StepBuffers* b) {
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  const spec::StagePlan& stage = plan.stages[place.stage];
  const spec::TensorShard& shard = stage.shards[place.tensor_index];
  const bool last = place.stage + 1 == plan.pipeline();
  const bool samples = last && place.tensor_index == 0;
  const int64_t tokens = plan.limits.max_num_batched_tokens;
  const int64_t attention_width = shard.heads.size() * model.head_dim();
  const int64_t widest = std::max(model.hidden, model.embed);

  Carver carver(base, kAlign);
  carver.Take(&b->x, tokens * model.hidden);
  carver.Take(&b->y, tokens * std::max(widest, attention_width));
  carver.Take(&b->delta, tokens * widest);
  carver.Take(&b->wide, tokens * std::max(3 * attention_width, shard.ffn.size()));
  carver.Take(&b->picked, last ? kLogitRows * widest : 0);
  carver.Take(&b->projected, last && model.projected() ? kLogitRows * model.embed : 0);
  carver.Take(&b->shard_logits, last ? kLogitRows * shard.vocab.size() : 0);
  carver.Take(&b->gathered_logits,
              samples && stage.shards.size() > 1 ? kLogitRows * model.vocab : 0);
  carver.Take(&b->logits, samples && stage.shards.size() > 1 ? kLogitRows * model.vocab : 0);
  carver.Take(&b->tokens, plan.limits.max_num_seqs);
  char* scratch = nullptr;
  carver.Take(&scratch, ScratchBytes(model, plan, shard, threads));
  b->scratch = scratch;
  carver.Take(&b->ids, tokens);
  carver.Take(&b->positions, tokens);
  carver.Take(&b->row_start, tokens + 1);
  carver.Take(&b->block_table, tokens * CeilDiv(plan.limits.max_model_len, plan.limits.block_size));
  return carver.used();
}

}  // namespace

absl::StatusOr<StepBuffers> AllocateStepBuffers(const spec::ModelSpec& model,
                                                const spec::ShardPlan& plan, int rank,
                                                int threads) {
  StepBuffers buffers;
  const int64_t bytes = Carve(model, plan, rank, threads, nullptr, &buffers);
  PAMIR_ASSIGN_OR_RETURN(buffers.storage, device::HostBuffer::Allocate(bytes));
  Carve(model, plan, rank, threads, static_cast<char*>(buffers.storage.data()), &buffers);
  return buffers;
}

int64_t MaxMessageBytes(const spec::ModelSpec& model, const spec::ShardPlan& plan) {
  const int64_t activations =
      int64_t{plan.limits.max_num_batched_tokens} * std::max(model.hidden, model.embed);
  return static_cast<int64_t>(sizeof(float)) * std::max(activations, kLogitRows * model.vocab);
}

}  // namespace pamir::model
