#include "engine/model/cuda_tuning.h"

#include <algorithm>

#include "base/log.h"
#include "base/status_macros.h"
#include "base/units.h"

namespace pamir::model {
namespace {

int64_t ElementBytes(const CudaContext& c) { return static_cast<int64_t>(SizeOf(c.type())); }

// to[0 .. count) = from, in the weights' type.
absl::Status Narrow(const CudaContext& c, const float* from, int64_t count, void* to) {
  constexpr int64_t kWidth = 8;  // of a row, so that any vector of eights will do
  kernels::NormCudaArgs args;
  args.rows = count / kWidth;
  args.width = kWidth;
  args.x = const_cast<float*>(from);  // only read without a delta
  args.normalize = false;
  args.y = to;
  args.y_type = c.type();
  return c.device->Check(c.api().add_norm(args, c.stream), "narrow a bias");
}

// Fills x with weights: values as they come in products, not zeros.
absl::Status FillWithWeights(const CudaContext& c, void* x, int64_t bytes) {
  const kernels::cuda::GpuMatrix& w = c.weights->layers.front().fc1;
  const int64_t piece = w.out * w.in * ElementBytes(c);
  for (int64_t done = 0; done < bytes; done += piece) {
    PAMIR_RETURN_IF_ERROR(c.device->Check(
        c.api().copy(static_cast<char*>(x) + done, w.data, std::min(piece, bytes - done), c.stream),
        "fill a buffer"));
  }
  return absl::OkStatus();
}

absl::Status TuneOne(const CudaContext& c, kernels::cuda::ProductDevice* products,
                     const CudaProductCall& call) {
  const int64_t y_bytes = call.rows * call.w.out * static_cast<int64_t>(SizeOf(call.y_type));
  if (y_bytes > c.kv->bytes) return absl::OkStatus();  // the own kernels do it
  PAMIR_RETURN_IF_ERROR(
      FillWithWeights(c, const_cast<void*>(call.x), call.rows * call.w.in * ElementBytes(c)));
  kernels::cuda::TunedWay way;
  return c.device->Check(
      c.api().tune_product(products, c.stream, ProductArgsOf(c, call), c.kv->storage.get(),
                           {c.buffers->workspace, kProductWorkspaceBytes}, &way),
      "tune a product");
}

}  // namespace

absl::StatusOr<CudaBiases> CopyBiases(const CudaContext& c) {
  CudaBiases biases;
  biases.layers.resize(c.weights->layers.size());
  if (ElementBytes(c) != 2) return biases;
  int64_t each = 0;  // elements of a layer
  for (const auto& layer : c.weights->layers) {
    if (layer.qkv_bias != nullptr) each = std::max(each, layer.qkv.out + layer.fc1.out);
  }
  const int64_t layers = static_cast<int64_t>(biases.layers.size());
  PAMIR_ASSIGN_OR_RETURN(
      biases.storage,
      device::AllocateCuda(*c.device, layers * each * ElementBytes(c), "copies of biases"));
  char* at = static_cast<char*>(biases.storage.get());
  for (size_t i = 0; each > 0 && i < biases.layers.size(); ++i) {
    const auto& layer = c.weights->layers[i];
    PAMIR_RETURN_IF_ERROR(Narrow(c, layer.qkv_bias, layer.qkv.out, at));
    // The cache's type is that of q, k and v: another one takes no copy.
    if (c.plan->kv_dtype == c.type()) biases.layers[i].qkv = at;
    at += layer.qkv.out * ElementBytes(c);
    PAMIR_RETURN_IF_ERROR(Narrow(c, layer.fc1_bias, layer.fc1.out, at));
    biases.layers[i].fc1 = at;
    at += layer.fc1.out * ElementBytes(c);
  }
  return biases;
}

absl::Status TuneProducts(const CudaContext& c, kernels::cuda::ProductDevice* products) {
  if (ElementBytes(c) != 2) return absl::OkStatus();
  const CudaBuffers& b = *c.buffers;
  const auto& layer = c.weights->layers.front();
  const LayerBiases& narrow = c.biases->layers.front();
  const bool relu = c.model->activation == spec::Activation::kRelu;
  const int64_t most = c.plan->limits.max_num_batched_tokens;
  for (int64_t rows = 2 * kernels::cuda::kMaxStreamedRows; rows / 2 < most; rows *= 2) {
    const int64_t tried = std::min(rows, most);
    const CudaProductCall calls[] = {
        {.x = b.y,
         .rows = tried,
         .w = layer.qkv,
         .bias = layer.qkv_bias,
         .narrow_bias = narrow.qkv,
         .y = b.wide,
         .y_type = c.plan->kv_dtype},
        {.x = b.y, .rows = tried, .w = layer.out, .y = b.delta},
        {.x = b.y,
         .rows = tried,
         .w = layer.fc1,
         .bias = layer.fc1_bias,
         .narrow_bias = narrow.fc1,
         .activation = relu ? kernels::Activation::kRelu : kernels::Activation::kGelu,
         .y = b.wide,
         .y_type = c.type()},
        {.x = b.wide, .rows = tried, .w = layer.fc2, .y = b.delta},
    };
    for (const CudaProductCall& call : calls) {
      PAMIR_RETURN_IF_ERROR(TuneOne(c, products, call));
    }
  }
  return absl::OkStatus();
}

}  // namespace pamir::model
