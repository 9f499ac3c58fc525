// The layers of an OPT model on one rank: hidden states in, hidden states out.
#ifndef PAMIR_ENGINE_MODEL_LAYERS_H_
#define PAMIR_ENGINE_MODEL_LAYERS_H_

#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "base/kernel_context.h"
#include "core/spec/model_spec.h"
#include "core/spec/shard_plan.h"
#include "engine/comm/communicator.h"
#include "engine/device/host_buffer.h"
#include "engine/model/step_buffers.h"
#include "engine/weights/rank_weights.h"
#include "kernels/attention/attention.h"

namespace pamir::model {

// This rank's part of the KV pool: one K and one V plane a layer.
struct KvPool {
  std::vector<kernels::KvLayer> layers;
  device::HostBuffer storage;
};
absl::StatusOr<KvPool> AllocateKvPool(const spec::ModelSpec& model, const spec::ShardPlan& plan,
                                      int rank);

// What the layers need of their rank; owns nothing.
struct LayerContext {
  KernelContext kernel;
  const spec::ModelSpec* model = nullptr;
  const weights::RankWeights* weights = nullptr;
  const StepBuffers* buffers = nullptr;
  const KvPool* kv = nullptr;
  comm::Communicator* stage = nullptr;  // null where the stage has one rank
  int64_t first_layer = 0;
  const std::function<void(int64_t, int64_t, int64_t, const float*)>* ffn_observer = nullptr;
};

// E[token] + P[position] into buffers.x (first stage).
absl::Status Embed(const LayerContext& context, const kernels::RowsView& rows, int64_t first_row);

// All layers of the stage over buffers.x, in place.
absl::Status RunLayers(const LayerContext& context, const kernels::RowsView& rows);

// This rank's columns of the logits of `count` hidden states in buffers.picked into
// buffers.shard_logits (last stage); final norm and output projection first.
void ShardLogits(const LayerContext& context, int64_t count);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_LAYERS_H_
