// Residual + bias + LayerNorm on CUDA devices, in one launch: x += delta + bias; y = (x - mean) /
// sqrt(var + eps) * gamma + beta. The residual stream x stays fp32: a row of it is a thousandth of
// a product's bytes, and no rounding piles up over the layers. y feeds products, in their type.
//
// Order of the sums, whatever the number of rows: thread t of a row owns quadruples t, t + T, ...
// (T = NormCudaThreads(width)) and adds ((x0 + x1) + (x2 + x3)) of each, ascending; lanes by a
// butterfly (16, 8, 4, 2, 1), then the warps' sums by another. Mean first, then the variance of
// x - mean (biased).
#ifndef PAMIR_KERNELS_NORM_NORM_CUDA_H_
#define PAMIR_KERNELS_NORM_NORM_CUDA_H_

#include <cstdint>

#include "base/dtype.h"
#include "base/stream.h"

namespace pamir::kernels {

inline constexpr int64_t kNormCudaWidthMax = 16384;

// All pointers are device memory, 16-byte aligned; rows are contiguous.
struct NormCudaArgs {
  int64_t rows = 0;
  int64_t width = 0;            // a multiple of 4, up to kNormCudaWidthMax
  float* x = nullptr;           // [rows][width]; updated where delta is given
  const void* delta = nullptr;  // [rows][width] of delta_type, or null: x stays
  DType delta_type = DType::kFloat16;
  const float* bias = nullptr;   // [width] or null
  bool normalize = true;         // false: only the addition; y is then x in y_type
  const float* gamma = nullptr;  // [width] or null: 1
  const float* beta = nullptr;   // [width] or null: 0
  float epsilon = 1e-5f;
  void* y = nullptr;  // [rows][width] of y_type, or null
  DType y_type = DType::kFloat16;
  bool y_into_x = false;          // post-norm models: y becomes the residual stream too
  bool dependent_launch = false;  // see kernels/cuda/launch.cuh
};

// Threads of a row: enough for a quadruple each, up to 1024, whole warps.
constexpr int NormCudaThreads(int64_t width) {
  const int64_t quadruples = width / 4;
  const int64_t each = (quadruples + 1023) / 1024;
  return static_cast<int>(((quadruples + each - 1) / each + 31) / 32 * 32);
}

// Only enqueues; 0 or a cudaError_t.
int AddNormCuda(const NormCudaArgs& args, StreamRef stream);

}  // namespace pamir::kernels

#endif  // PAMIR_KERNELS_NORM_NORM_CUDA_H_
