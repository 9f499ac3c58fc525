// What a rank finds out at start-up for products with many rows.
#ifndef PAMIR_ENGINE_MODEL_CUDA_TUNING_H_
#define PAMIR_ENGINE_MODEL_CUDA_TUNING_H_

#include <vector>

#include "absl/status/status.h"
#include "engine/model/cuda_layers.h"

namespace pamir::model {

// Copies in the weights' type of the biases that products add: what cuBLASLt's epilogue takes.
// Exact, since the loader rounds biases to that type.
absl::StatusOr<CudaBiases> CopyBiases(const CudaContext& context);

// Lets the products of this rank choose their way for each number of rows above
// kMaxStreamedRows that a step may have, by trying (kernels/product: TuneProduct). Uses the step's
// buffers, and the KV cache's memory as room for a second output; both are left with garbage.
absl::Status TuneProducts(const CudaContext& context, kernels::cuda::ProductDevice* products);

}  // namespace pamir::model

#endif  // PAMIR_ENGINE_MODEL_CUDA_TUNING_H_
