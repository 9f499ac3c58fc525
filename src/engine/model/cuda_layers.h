// The layers of an OPT model on one GPU: hidden states in, hidden states out. Only enqueues, so
// that a decode step can be captured into a graph (unless the stage's communicator cannot).
#ifndef PAMIR_ENGINE_MODEL_CUDA_LAYERS_H_
#define PAMIR_ENGINE_MODEL_CUDA_LAYERS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/comm/communicator.h"
#include "engine/device/cuda_device.h"
#include "engine/model/cuda_buffers.h"
#include "engine/model/cuda_inputs.h"
#include "engine/weights/cuda_weights.h"

namespace pamir::model {

// Biases in the weights' type, [out] each; null where there are none.
struct LayerBiases {
  const void* qkv = nullptr;
  const void* fc1 = nullptr;
};
struct CudaBiases {
  std::vector<LayerBiases> layers;
  device::CudaMemory storage;
};

// What the layers need of their rank; owns nothing.
struct CudaContext {
  const device::CudaDevice* device = nullptr;
  StreamRef stream;
  const kernels::cuda::ProductDevice* products = nullptr;
  const spec::ModelSpec* model = nullptr;
  const spec::ShardPlan* plan = nullptr;
  const weights::CudaWeights* weights = nullptr;
  const CudaBiases* biases = nullptr;
  const CudaBuffers* buffers = nullptr;
  const CudaKv* kv = nullptr;
  comm::Communicator* stage = nullptr;  // null where the stage has one rank
  int tensor_index = 0;
  Range vocab;             // this rank's rows of the vocabulary
  bool dependent = false;  // programmatic dependent launches

  const kernels::CudaApi& api() const { return device->api(); }
  DType type() const { return plan->weight_dtype; }
};

// A step's inputs on the device.
struct CudaStep {
  StepShape shape;
  InputOffsets at;  // in buffers->inputs[lane]
  int64_t max_blocks = 0;
  int lane = 0;
};

template <typename T>
T* Input(const CudaContext& c, const CudaStep& step, int64_t offset) {
  return reinterpret_cast<T*>(c.buffers->inputs[step.lane] + offset);
}
template <typename T>
T* Result(const CudaContext& c, const CudaStep& step, int64_t offset) {
  return reinterpret_cast<T*>(c.buffers->results[step.lane] + offset);
}

// E[token] + P[position] into buffers->x (first stage).
absl::Status CudaEmbed(const CudaContext& context, const CudaStep& step);

// All layers of the stage over buffers->x. `last`: of the model; a step whose tokens are what is
// sampled then gets the final norm with the last layer, into buffers->y.
absl::Status CudaLayers(const CudaContext& context, const CudaStep& step, bool last);

// What the step wants, into buffers->results[step.lane] (last stage): samples, then scores.
absl::Status CudaHead(const CudaContext& context, const CudaStep& step);

// One product with this rank's types; `y_type` as y is.
struct CudaProductCall {
  const void* x = nullptr;
  int64_t rows = 0;
  kernels::cuda::GpuMatrix w;
  const float* bias = nullptr;
  const void* narrow_bias = nullptr;  // the same in y_type, or null
  kernels::Activation activation = kernels::Activation::kNone;
  void* y = nullptr;
  DType y_type = DType::kFloat32;
  uint8_t* active_out = nullptr;
  const uint8_t* active_in = nullptr;
};
kernels::cuda::GpuProductArgs ProductArgsOf(const CudaContext& context,
                                            const CudaProductCall& call);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_LAYERS_H_
