// A rank's weights on a GPU: matrices row-major as in the checkpoint, but for fc2 where the plan
// skips neurons (transposed); biases and norms in fp32.
#ifndef PAMIR_ENGINE_WEIGHTS_CUDA_WEIGHTS_H_
#define PAMIR_ENGINE_WEIGHTS_CUDA_WEIGHTS_H_

#include <functional>

#include "absl/status/statusor.h"
#include "engine/device/cuda_device.h"
#include "engine/weights/rank_weights.h"
#include "kernels/product/product_cuda.h"

namespace pamir::weights {

using CudaLayerWeights = LayerWeightsOf<kernels::cuda::GpuMatrix>;
using CudaWeights = RankWeightsOf<kernels::cuda::GpuMatrix>;  // all pointers are device memory

// As LoadRankWeights, for a plan for GPUs. Files are read into pinned memory, checked and converted
// there, and copied while the next part is read. `threads` 0: one a core, 16 at most. Once it
// returns, also with an error, the weights are all that it has left on the device; `device` must
// outlive them. RESOURCE_EXHAUSTED: they do not fit.
absl::StatusOr<CudaWeights> LoadCudaWeights(const spec::ModelSpec& model,
                                            const spec::ShardPlan& plan, int rank,
                                            const TensorSource& source, int threads,
                                            const std::function<void(LoadProgress)>& progress,
                                            const device::CudaDevice& device);

}  // namespace pamir::weights

#endif  // PAMIR_ENGINE_WEIGHTS_CUDA_WEIGHTS_H_
