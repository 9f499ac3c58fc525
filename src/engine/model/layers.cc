#include "engine/model/layers.h"

#include <cmath>

#include "base/status_macros.h"
#include "kernels/embedding/embedding.h"
#include "kernels/norm/norm.h"
#include "kernels/product/product.h"

namespace pamir::model {
namespace {

void Multiply(const LayerContext& c, const float* x, int64_t rows, const kernels::Matrix& w,
              const float* bias, kernels::Activation activation, float* y) {
  kernels::Product(c.kernel, {.x = x,
                              .rows = rows,
                              .x_stride = w.in,
                              .w = w,
                              .bias = bias,
                              .activation = activation,
                              .y = y,
                              .y_stride = w.out,
                              .scratch = c.buffers->scratch});
}

// x += delta + bias, then, with a norm, y = norm(x). The residual's two ways of being normed:
// pre-norm models keep x and read y, post-norm models let y be x.
struct AddNormCall {
  const float* delta = nullptr;
  const float* bias = nullptr;
  const weights::NormWeights* norm = nullptr;
  float* y = nullptr;
};
void AddNorm(const LayerContext& c, float* x, int64_t rows, const AddNormCall& call) {
  kernels::NormArgs args{.rows = rows,
                         .width = c.model->hidden,
                         .x = x,
                         .delta = call.delta,
                         .bias = call.bias,
                         .normalize = call.norm != nullptr,
                         .y = call.y};
  if (call.norm != nullptr) {
    args.gamma = call.norm->gamma;
    args.beta = call.norm->beta;
  }
  kernels::AddNorm(c.kernel, args);
}

absl::Status SumOverStage(const LayerContext& c, float* data, int64_t count) {
  if (c.stage == nullptr) return absl::OkStatus();
  return c.stage->AllReduce(data, count, c.kernel.stream);
}

// delta = out_proj(attention(input)), summed over the ranks; the bias is not yet added.
absl::Status AttentionBlock(const LayerContext& c, const weights::LayerWeights& layer,
                            const kernels::KvLayer& kv, const kernels::RowsView& rows,
                            const float* input) {
  const StepBuffers& b = *c.buffers;
  Multiply(c, input, rows.tokens, layer.qkv, layer.qkv_bias, kernels::Activation::kNone, b.wide);
  const int64_t width = kv.heads * kv.head_dim;
  const kernels::AttentionArgs args{.qkv = b.wide,
                                    .qkv_stride = 3 * width,
                                    .scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim)),
                                    .rows = rows,
                                    .kv = kv,
                                    .out = b.y,
                                    .out_stride = width,
                                    .scratch = b.scratch};
  kernels::WriteKv(c.kernel, args);
  kernels::Attention(c.kernel, args);
  Multiply(c, b.y, rows.tokens, layer.out, nullptr, kernels::Activation::kNone, b.delta);
  return SumOverStage(c, b.delta, rows.tokens * c.model->hidden);
}

// delta = fc2(activation(fc1(input))), summed over the ranks; the bias is not yet added.
absl::Status FfnBlock(const LayerContext& c, const weights::LayerWeights& layer,
                      int64_t layer_index, int64_t tokens, const float* input) {
  const StepBuffers& b = *c.buffers;
  const auto activation = c.model->activation == spec::Activation::kRelu
                              ? kernels::Activation::kRelu
                              : kernels::Activation::kGelu;
  Multiply(c, input, tokens, layer.fc1, layer.fc1_bias, activation, b.wide);
  if (c.ffn_observer != nullptr && *c.ffn_observer) {
    (*c.ffn_observer)(layer_index, tokens, layer.fc1.out, b.wide);
  }
  Multiply(c, b.wide, tokens, layer.fc2, nullptr, kernels::Activation::kNone, b.delta);
  return SumOverStage(c, b.delta, tokens * c.model->hidden);
}

}  // namespace

absl::StatusOr<KvPool> AllocateKvPool(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                      int rank) {
  const spec::RankPlace place = spec::PlaceOfRank(plan, rank);
  const spec::StagePlan& stage = plan.stages[place.stage];
  const int64_t heads = stage.shards[place.tensor_index].heads.size();
  const int64_t plane =
      kernels::KvPlaneBytes(plan.kv_dtype, plan.limits.num_blocks, heads, model.head_dim());
  KvPool pool;
  PAMIR_ASSIGN_OR_RETURN(pool.storage,
                         device::HostBuffer::Allocate(2 * plane * stage.layers.size()));
  char* at = static_cast<char*>(pool.storage.data());
  for (int64_t i = 0; i < stage.layers.size(); ++i, at += 2 * plane) {
    pool.layers.push_back({.k = at,
                           .v = at + plane,
                           .dtype = plan.kv_dtype,
                           .num_blocks = plan.limits.num_blocks,
                           .heads = heads,
                           .head_dim = model.head_dim()});
  }
  return pool;
}

absl::Status Embed(const LayerContext& c, const kernels::RowsView& rows, int64_t first_row) {
  const StepBuffers& b = *c.buffers;
  float* embedded = c.model->projected() ? b.delta : b.x;
  kernels::GatherRows(c.kernel, {.ids = b.ids,
                                 .tokens = rows.tokens,
                                 .table = c.weights->embedding,
                                 .first_row = first_row,
                                 .out = embedded});
  PAMIR_RETURN_IF_ERROR(SumOverStage(c, embedded, rows.tokens * c.model->embed));
  if (c.model->projected()) {
    Multiply(c, embedded, rows.tokens, c.weights->project_in, nullptr, kernels::Activation::kNone,
             b.x);
  }
  kernels::AddPositions(c.kernel, {.positions = b.positions,
                                   .tokens = rows.tokens,
                                   .table = c.weights->positions,
                                   .dtype = c.weights->positions_dtype,
                                   .width = c.model->hidden,
                                   .x = b.x});
  return absl::OkStatus();
}

absl::Status RunLayers(const LayerContext& c, const kernels::RowsView& rows) {
  const StepBuffers& b = *c.buffers;
  const bool pre_norm = c.model->pre_norm;
  float* const normed = pre_norm ? b.y : b.x;
  const std::vector<weights::LayerWeights>& layers = c.weights->layers;

  if (pre_norm) {
    AddNorm(c, b.x, rows.tokens, {.norm = &layers.front().attention_norm, .y = b.y});
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const weights::LayerWeights& layer = layers[i];
    PAMIR_RETURN_IF_ERROR(AttentionBlock(c, layer, c.kv->layers[i], rows, normed));
    AddNorm(c, b.x, rows.tokens,
            {.delta = b.delta,
             .bias = layer.out_bias,
             .norm = pre_norm ? &layer.ffn_norm : &layer.attention_norm,
             .y = normed});
    PAMIR_RETURN_IF_ERROR(
        FfnBlock(c, layer, c.first_layer + static_cast<int64_t>(i), rows.tokens, normed));
    // The norm behind the second residual: the next layer's first one, or none at the stage's end.
    const weights::NormWeights* next =
        i + 1 < layers.size() ? &layers[i + 1].attention_norm : nullptr;
    AddNorm(c, b.x, rows.tokens,
            {.delta = b.delta,
             .bias = layer.fc2_bias,
             .norm = pre_norm ? next : &layer.ffn_norm,
             .y = normed});
  }
  return absl::OkStatus();
}

void ShardLogits(const LayerContext& c, int64_t count) {
  const StepBuffers& b = *c.buffers;
  const float* hidden = b.picked;
  if (c.model->final_norm) {
    AddNorm(c, b.picked, count, {.norm = &c.weights->final_norm, .y = b.picked});
  }
  if (c.model->projected()) {
    Multiply(c, hidden, count, c.weights->project_out, nullptr, kernels::Activation::kNone,
             b.projected);
    hidden = b.projected;
  }
  Multiply(c, hidden, count, c.weights->lm_head, nullptr, kernels::Activation::kNone,
           b.shard_logits);
}

}  // namespace pamir::model
