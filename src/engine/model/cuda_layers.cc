#include "engine/model/cuda_layers.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/status_macros.h"

namespace pamir::model {
namespace {

// PrefillAttentionCuda takes fewer than 65536 queries' worth of tiles.
constexpr int64_t kMaxTilesOfLaunch = 65535 / kernels::kTileQueries;

using CudaLayer = weights::LayerWeightsOf<kernels::cuda::GpuMatrix>;

absl::Status Multiply(const CudaContext& c, const CudaProductCall& call) {
  if (call.rows == 0) return absl::OkStatus();
  return c.device->Check(c.api().product(c.products, c.stream, ProductArgsOf(c, call)), "multiply");
}

absl::Status SumOverStage(const CudaContext& c, float* data, int64_t count) {
  if (c.stage == nullptr) return absl::OkStatus();
  return c.stage->AllReduce(data, count, c.stream);
}

// y = values, in the weights' type.
absl::Status Convert(const CudaContext& c, float* values, int64_t rows, int64_t width) {
  kernels::NormCudaArgs args;
  args.rows = rows;
  args.width = width;
  args.x = values;
  args.normalize = false;
  args.y = c.buffers->y;
  args.y_type = c.type();
  args.dependent_launch = c.dependent;
  return c.device->Check(c.api().add_norm(args, c.stream), "convert");
}

// The residual stream of a step, and what is still to be added to it.
struct Residual {
  float* x = nullptr;
  float* other = nullptr;  // a row, for products that add and norm themselves
  const float* delta = nullptr;
  const float* bias = nullptr;
};

// x += delta + bias, then y = norm(x) where there is a norm. Post-norm models let y be x too.
absl::Status AddNorm(const CudaContext& c, int64_t rows, const weights::NormWeights* norm,
                     Residual* residual) {
  kernels::NormCudaArgs args;
  args.rows = rows;
  args.width = c.model->hidden;
  args.x = residual->x;
  args.delta = residual->delta;
  args.delta_type = DType::kFloat32;
  args.bias = residual->bias;
  args.normalize = norm != nullptr;
  if (norm != nullptr) {
    args.gamma = norm->gamma;
    args.beta = norm->beta;
    args.y = c.buffers->y;
    args.y_type = c.type();
    args.y_into_x = residual->delta != nullptr && !c.model->pre_norm;
  }
  args.dependent_launch = c.dependent;
  residual->delta = residual->bias = nullptr;
  return c.device->Check(c.api().add_norm(args, c.stream), "normalize");
}

// The product of norm(x + delta + bias), one launch where a single row of a narrow model allows it.
// `in_place`: x stays where it is. No norm: post-norm models multiply x as it is.
absl::Status NormedProduct(const CudaContext& c, const weights::NormWeights* norm, bool in_place,
                           CudaProductCall call, Residual* r) {
  call.x = c.buffers->y;
  kernels::cuda::GpuProductArgs args = ProductArgsOf(c, call);
  kernels::cuda::NormPrologue prologue;
  if (norm == nullptr) {
    PAMIR_RETURN_IF_ERROR(Convert(c, r->x, call.rows, c.model->hidden));
  } else if (in_place || !c.model->pre_norm || call.rows != 1 ||
             !c.api().norm_prologue_fits(c.products, args)) {
    PAMIR_RETURN_IF_ERROR(AddNorm(c, call.rows, norm, r));
  } else {
    prologue.x = r->x;
    prologue.delta = r->delta;
    prologue.delta_bias = r->bias;
    prologue.gamma = norm->gamma;
    prologue.beta = norm->beta;
    if (r->delta != nullptr) {
      prologue.x_out = r->other;
      std::swap(r->x, r->other);
    }
    args.norm = &prologue;
    r->delta = r->bias = nullptr;
  }
  return c.device->Check(c.api().product(c.products, c.stream, args), "multiply");
}

kernels::AttentionCudaArgs AttentionArgs(const CudaContext& c, const CudaStep& step,
                                         const kernels::KvCuda& kv) {
  const int64_t width = int64_t{kv.heads} * kv.head_dim;
  kernels::AttentionCudaArgs args;
  args.type = c.plan->kv_dtype;
  args.out_type = c.type();
  args.qkv = c.buffers->wide;
  args.qkv_stride = 3 * width;
  args.scale = 1.0f / std::sqrt(static_cast<float>(kv.head_dim));
  args.positions = Input<int32_t>(c, step, step.at.positions);
  args.token_row = Input<int32_t>(c, step, step.at.token_row);
  args.block_table = Input<int32_t>(c, step, step.at.block_table);
  args.max_blocks = step.max_blocks;
  args.kv = kv;
  args.out = c.buffers->y;
  args.out_stride = width;
  args.scratch = c.buffers->attention_scratch;
  args.scratch_tokens = c.buffers->attention_tokens;
  args.dependent_launch = c.dependent;
  return args;
}

// Prompts, chunks and replays: tokens behind the decoding ones, which write their keys first.
absl::Status AttendTiles(const CudaContext& c, const CudaStep& step,
                         const kernels::AttentionCudaArgs& args) {
  const StepShape& shape = step.shape;
  if (shape.tiles == 0) return absl::OkStatus();
  kernels::AttentionCudaArgs prompts = args;
  prompts.kv_tokens = shape.kv_tokens;
  kernels::AttentionCudaArgs behind = args;
  const int64_t element = static_cast<int64_t>(SizeOf(args.type));
  behind.qkv = static_cast<const char*>(args.qkv) + shape.decoding * args.qkv_stride * element;
  behind.positions += shape.decoding;
  behind.token_row += shape.decoding;
  PAMIR_RETURN_IF_ERROR(c.device->Check(
      c.api().write_kv(behind, shape.tokens - shape.decoding, c.stream), "write the KV cache"));
  const kernels::QueryTile* tiles = Input<kernels::QueryTile>(c, step, step.at.tiles);
  // Head dims without a fast path need scratch for each tile; a launch takes so many at most.
  const int64_t at_once =
      c.buffers->attention_tiles == 0 ? kMaxTilesOfLaunch : c.buffers->attention_tiles;
  for (int64_t done = 0; done < shape.tiles; done += at_once) {
    PAMIR_RETURN_IF_ERROR(c.device->Check(
        c.api().prefill_attention(prompts, tiles + done, std::min(at_once, shape.tiles - done),
                                  shape.context, c.stream, kernels::PrefillWay::kBest),
        "attend to a prompt"));
  }
  return absl::OkStatus();
}

// The norm before the attention of a layer: its own, or the one that ends the layer before.
const weights::NormWeights* NormBefore(const CudaContext& c, size_t index) {
  if (c.model->pre_norm) return &c.weights->layers[index].attention_norm;
  return index == 0 ? nullptr : &c.weights->layers[index - 1].ffn_norm;
}

// delta = out_proj(attention(norm(x))), summed over the ranks; the bias is not yet added.
absl::Status AttentionBlock(const CudaContext& c, const CudaStep& step, size_t index,
                            Residual* residual) {
  const CudaLayer& layer = c.weights->layers[index];
  const CudaBuffers& b = *c.buffers;
  PAMIR_RETURN_IF_ERROR(NormedProduct(c, NormBefore(c, index), /*in_place=*/false,
                                      {.rows = step.shape.tokens,
                                       .w = layer.qkv,
                                       .bias = layer.qkv_bias,
                                       .narrow_bias = c.biases->layers[index].qkv,
                                       .y = b.wide,
                                       .y_type = c.plan->kv_dtype},
                                      residual));
  kernels::AttentionCudaArgs args = AttentionArgs(c, step, c.kv->layers[index]);
  PAMIR_RETURN_IF_ERROR(AttendTiles(c, step, args));
  args.write_kv = true;
  for (int64_t done = 0; done < step.shape.decoding; done += b.attention_tokens) {
    const int64_t count = std::min(b.attention_tokens, step.shape.decoding - done);
    PAMIR_RETURN_IF_ERROR(c.device->Check(
        c.api().decode_attention(args, done, count, step.shape.context, c.stream), "attend"));
  }
  PAMIR_RETURN_IF_ERROR(
      Multiply(c, {.x = b.y, .rows = step.shape.tokens, .w = layer.out, .y = b.delta}));
  residual->delta = b.delta;
  residual->bias = layer.out_bias;
  return SumOverStage(c, b.delta, step.shape.tokens * c.model->hidden);
}

// The emitted tokens' fc2 by the neurons that are not zero.
absl::Status SkipNeurons(const CudaContext& c, const CudaLayer& layer, int64_t tokens) {
  const CudaBuffers& b = *c.buffers;
  const kernels::cuda::GpuMatrix& w = layer.fc2;
  for (int64_t done = 0; done < tokens; done += kSkipRows) {
    kernels::cuda::SkipNeuronsArgs args;
    args.x =
        static_cast<const char*>(b.wide) + done * w.in * static_cast<int64_t>(SizeOf(c.type()));
    args.rows = std::min(kSkipRows, tokens - done);
    args.x_stride = w.in;
    args.w = w.data;
    args.out = w.out;
    args.in = w.in;
    args.type = c.type();
    args.y = b.delta + done * w.out;
    args.y_stride = w.out;
    args.scratch = b.skip_scratch;
    args.scratch_rows = kSkipRows;
    args.dependent_launch = c.dependent;
    PAMIR_RETURN_IF_ERROR(
        c.device->Check(c.api().skip_neurons(args, c.stream, kernels::cuda::SkipNeuronsWay::kBest),
                        "multiply active neurons"));
  }
  return absl::OkStatus();
}

// delta = fc2(activation(fc1(norm(x)))), summed over the ranks; the bias is not yet added.
absl::Status FfnBlock(const CudaContext& c, const CudaStep& step, size_t index,
                      Residual* residual) {
  const CudaLayer& layer = c.weights->layers[index];
  const CudaBuffers& b = *c.buffers;
  const bool relu = c.model->activation == spec::Activation::kRelu;
  const int64_t tokens = step.shape.tokens;
  const bool flags =
      relu && c.plan->relu_skip == spec::ReluSkip::kGroup && tokens <= kernels::cuda::kMaxSkipRows;
  // x has changed places an even number of times once the last layer leaves it where it is.
  const bool in_place = index + 1 == c.weights->layers.size();
  PAMIR_RETURN_IF_ERROR(
      NormedProduct(c, c.model->pre_norm ? &layer.ffn_norm : &layer.attention_norm, in_place,
                    {.rows = tokens,
                     .w = layer.fc1,
                     .bias = layer.fc1_bias,
                     .narrow_bias = c.biases->layers[index].fc1,
                     .activation = relu ? kernels::Activation::kRelu : kernels::Activation::kGelu,
                     .y = b.wide,
                     .y_type = c.type(),
                     .active_out = flags ? b.active : nullptr},
                    residual));
  const int64_t skipping =
      relu && c.plan->relu_skip == spec::ReluSkip::kFull ? step.shape.emitted : 0;
  PAMIR_RETURN_IF_ERROR(SkipNeurons(c, layer, skipping));
  const char* rest = static_cast<const char*>(b.wide) +
                     skipping * layer.fc2.in * static_cast<int64_t>(SizeOf(c.type()));
  PAMIR_RETURN_IF_ERROR(Multiply(c, {.x = rest,
                                     .rows = tokens - skipping,
                                     .w = layer.fc2,
                                     .y = b.delta + skipping * c.model->hidden,
                                     .active_in = flags ? b.active : nullptr}));
  residual->delta = b.delta;
  residual->bias = layer.fc2_bias;
  return SumOverStage(c, b.delta, tokens * c.model->hidden);
}

// The norm behind the last layer: of the model where every token is sampled, else none.
const weights::NormWeights* NormAtTheEnd(const CudaContext& c, bool of_model) {
  if (!c.model->pre_norm) return &c.weights->layers.back().ffn_norm;
  return of_model && c.model->final_norm ? &c.weights->final_norm : nullptr;
}

}  // namespace

kernels::cuda::GpuProductArgs ProductArgsOf(const CudaContext& c, const CudaProductCall& call) {
  kernels::cuda::GpuProductArgs args;
  args.type = c.type();
  args.x = call.x;
  args.rows = call.rows;
  args.x_stride = call.w.in;
  args.w = call.w;
  args.bias = call.bias;
  args.bias_in_y_type = call.narrow_bias;
  args.activation = call.activation;
  args.y = call.y;
  args.y_type = call.y_type;
  args.y_stride = call.w.out;
  args.active_out = call.active_out;
  args.active_in = call.active_in;
  args.overlap = c.dependent;
  return args;
}

absl::Status CudaEmbed(const CudaContext& c, const CudaStep& step) {
  const CudaBuffers& b = *c.buffers;
  const bool projected = c.model->projected();
  const int64_t tokens = step.shape.tokens;
  kernels::EmbedCudaArgs args;
  args.ids = Input<int32_t>(c, step, step.at.ids);
  args.sampled = b.sampled;
  args.tokens = tokens;
  args.width = c.model->embed;
  args.table = c.weights->embedding.data;
  args.table_type = c.type();
  args.first_row = c.vocab.begin;
  args.table_rows = c.vocab.size();
  const int32_t* positions = Input<int32_t>(c, step, step.at.positions);
  if (!projected && c.tensor_index == 0) {  // once, whatever the ranks
    args.positions = positions;
    args.position_table = c.weights->positions;
  }
  args.out = projected ? b.delta : b.x;
  args.dependent_launch = c.dependent;
  PAMIR_RETURN_IF_ERROR(c.device->Check(c.api().embed(args, c.stream), "embed"));
  PAMIR_RETURN_IF_ERROR(SumOverStage(c, projected ? b.delta : b.x, tokens * c.model->embed));
  if (!projected) return absl::OkStatus();

  PAMIR_RETURN_IF_ERROR(Convert(c, b.delta, tokens, c.model->embed));
  PAMIR_RETURN_IF_ERROR(
      Multiply(c, {.x = b.y, .rows = tokens, .w = c.weights->project_in, .y = b.x}));
  kernels::AddPositionsCudaArgs add;
  add.positions = positions;
  add.tokens = tokens;
  add.width = c.model->hidden;
  add.table = c.weights->positions;
  add.table_type = c.type();
  add.x = b.x;
  add.dependent_launch = c.dependent;
  return c.device->Check(c.api().add_positions(add, c.stream), "add positions");
}

absl::Status CudaLayers(const CudaContext& c, const CudaStep& step, bool last) {
  Residual residual{.x = c.buffers->x, .other = c.buffers->other_x};
  for (size_t i = 0; i < c.weights->layers.size(); ++i) {
    PAMIR_RETURN_IF_ERROR(AttentionBlock(c, step, i, &residual));
    PAMIR_RETURN_IF_ERROR(FfnBlock(c, step, i, &residual));
  }
  PAMIR_CHECK(residual.x == c.buffers->x, "the residual stream ends where it began");
  return AddNorm(c, step.shape.tokens, NormAtTheEnd(c, last && step.shape.in_order), &residual);
}

}  // namespace pamir::model
