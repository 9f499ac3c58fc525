#include "engine/model/cuda_layers.h"

#include <algorithm>
#include <cmath>

#include "base/status_macros.h"

namespace pamir::model {
namespace {

// PrefillAttentionCuda takes fewer than 65536 queries' worth of tiles.
constexpr int64_t kMaxTilesOfLaunch = 65535 / kernels::kTileQueries;

using CudaLayer = weights::LayerWeightsOf<kernels::cuda::GpuMatrix>;

template <typename T>
T* Input(const CudaContext& c, int64_t offset) {
  return reinterpret_cast<T*>(c.buffers->inputs + offset);
}

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

// x += delta + bias, then y = norm(x) where there is a norm. Post-norm models let y be x too.
struct AddNormCall {
  const float* delta = nullptr;
  const float* bias = nullptr;
  const weights::NormWeights* norm = nullptr;
};
absl::Status AddNorm(const CudaContext& c, int64_t rows, const AddNormCall& call) {
  kernels::NormCudaArgs args;
  args.rows = rows;
  args.width = c.model->hidden;
  args.x = c.buffers->x;
  args.delta = call.delta;
  args.delta_type = DType::kFloat32;
  args.bias = call.bias;
  args.normalize = call.norm != nullptr;
  if (call.norm != nullptr) {
    args.gamma = call.norm->gamma;
    args.beta = call.norm->beta;
    args.y = c.buffers->y;
    args.y_type = c.type();
    args.y_into_x = call.delta != nullptr && !c.model->pre_norm;
  }
  args.dependent_launch = c.dependent;
  return c.device->Check(c.api().add_norm(args, c.stream), "normalize");
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
  args.positions = Input<int32_t>(c, step.at.positions);
  args.token_row = Input<int32_t>(c, step.at.token_row);
  args.block_table = Input<int32_t>(c, step.at.block_table);
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
  kernels::AttentionCudaArgs behind = args;
  const int64_t element = static_cast<int64_t>(SizeOf(args.type));
  behind.qkv = static_cast<const char*>(args.qkv) + shape.decoding * args.qkv_stride * element;
  behind.positions += shape.decoding;
  behind.token_row += shape.decoding;
  PAMIR_RETURN_IF_ERROR(c.device->Check(
      c.api().write_kv(behind, shape.tokens - shape.decoding, c.stream), "write the KV cache"));
  const kernels::QueryTile* tiles = Input<kernels::QueryTile>(c, step.at.tiles);
  // Head dims without a fast path need scratch for each tile; a launch takes so many at most.
  const int64_t at_once =
      c.buffers->attention_tiles == 0 ? kMaxTilesOfLaunch : c.buffers->attention_tiles;
  for (int64_t done = 0; done < shape.tiles; done += at_once) {
    PAMIR_RETURN_IF_ERROR(c.device->Check(
        c.api().prefill_attention(args, tiles + done, std::min(at_once, shape.tiles - done),
                                  shape.context, c.stream, kernels::PrefillWay::kBest),
        "attend to a prompt"));
  }
  return absl::OkStatus();
}

// delta = out_proj(attention(y)), summed over the ranks; the bias is not yet added.
absl::Status AttentionBlock(const CudaContext& c, const CudaStep& step, size_t index) {
  const CudaLayer& layer = c.weights->layers[index];
  const CudaBuffers& b = *c.buffers;
  PAMIR_RETURN_IF_ERROR(Multiply(c, {.x = b.y,
                                     .rows = step.shape.tokens,
                                     .w = layer.qkv,
                                     .bias = layer.qkv_bias,
                                     .narrow_bias = c.biases->layers[index].qkv,
                                     .y = b.wide,
                                     .y_type = c.plan->kv_dtype}));
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

// delta = fc2(activation(fc1(y))), summed over the ranks; the bias is not yet added.
absl::Status FfnBlock(const CudaContext& c, const CudaStep& step, size_t index) {
  const CudaLayer& layer = c.weights->layers[index];
  const CudaBuffers& b = *c.buffers;
  const bool relu = c.model->activation == spec::Activation::kRelu;
  const int64_t tokens = step.shape.tokens;
  const bool flags =
      relu && c.plan->relu_skip == spec::ReluSkip::kGroup && tokens <= kernels::cuda::kMaxSkipRows;
  PAMIR_RETURN_IF_ERROR(
      Multiply(c, {.x = b.y,
                   .rows = tokens,
                   .w = layer.fc1,
                   .bias = layer.fc1_bias,
                   .narrow_bias = c.biases->layers[index].fc1,
                   .activation = relu ? kernels::Activation::kRelu : kernels::Activation::kGelu,
                   .y = b.wide,
                   .y_type = c.type(),
                   .active_out = flags ? b.active : nullptr}));
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
  return SumOverStage(c, b.delta, tokens * c.model->hidden);
}

// y of the first layer: the first norm of x, or for post-norm models x itself.
absl::Status Enter(const CudaContext& c, int64_t tokens) {
  if (c.model->pre_norm) return AddNorm(c, tokens, {.norm = &c.weights->layers[0].attention_norm});
  return Convert(c, c.buffers->x, tokens, c.model->hidden);
}

// The norm behind a layer's second residual: the next layer's first one; at the model's end the
// final one where every token is sampled; else none.
const weights::NormWeights* NormBehind(const CudaContext& c, size_t layer, bool final_too) {
  const auto& layers = c.weights->layers;
  if (!c.model->pre_norm) return &layers[layer].ffn_norm;
  if (layer + 1 < layers.size()) return &layers[layer + 1].attention_norm;
  return final_too && c.model->final_norm ? &c.weights->final_norm : nullptr;
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
  args.ids = Input<int32_t>(c, step.at.ids);
  args.sampled = b.sampled;
  args.tokens = tokens;
  args.width = c.model->embed;
  args.table = c.weights->embedding.data;
  args.table_type = c.type();
  args.first_row = c.vocab.begin;
  args.table_rows = c.vocab.size();
  const int32_t* positions = Input<int32_t>(c, step.at.positions);
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
  const int64_t tokens = step.shape.tokens;
  const auto& layers = c.weights->layers;
  PAMIR_RETURN_IF_ERROR(Enter(c, tokens));
  for (size_t i = 0; i < layers.size(); ++i) {
    const CudaLayer& layer = layers[i];
    PAMIR_RETURN_IF_ERROR(AttentionBlock(c, step, i));
    PAMIR_RETURN_IF_ERROR(
        AddNorm(c, tokens,
                {.delta = c.buffers->delta,
                 .bias = layer.out_bias,
                 .norm = c.model->pre_norm ? &layer.ffn_norm : &layer.attention_norm}));
    PAMIR_RETURN_IF_ERROR(FfnBlock(c, step, i));
    PAMIR_RETURN_IF_ERROR(AddNorm(c, tokens,
                                  {.delta = c.buffers->delta,
                                   .bias = layer.fc2_bias,
                                   .norm = NormBehind(c, i, last && step.shape.in_order)}));
  }
  return absl::OkStatus();
}

}  // namespace pamir::model
