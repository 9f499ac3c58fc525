// Seams between the files of this folder that run on GPUs.
#ifndef PAMIR_KERNELS_PRODUCT_PRODUCT_PARTS_CUH_
#define PAMIR_KERNELS_PRODUCT_PRODUCT_PARTS_CUH_

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <memory>

#include "kernels/product/product_cuda.h"

namespace pamir::kernels::cuda {

using EncodeTiled = decltype(&cuTensorMapEncodeTiled);

struct LtWays;  // product_lt.cu: cuBLASLt and the algorithms that were chosen
struct LtWaysDelete {
  void operator()(LtWays* ways) const;
};

struct ProductDevice {
  int device = 0;
  int capability = 0;  // 90 for 9.0
  int multiprocessors = 0;
  bool bfloat16 = false;
  EncodeTiled encode = nullptr;  // null: no tensor copies, hence plain ways only
  std::unique_ptr<LtWays, LtWaysDelete> lt;
};

// What happens to a finished sum. A sum of -0 becomes +0, as where its zero inputs were skipped.
__device__ __forceinline__ float Finish(float sum, float bias, Activation activation) {
  const float v = __fadd_rn(__fadd_rn(sum, 0.0f), bias);
  if (activation == Activation::kRelu) return v > 0 ? v : 0;
  if (activation == Activation::kGelu) {
    return __fmul_rn(__fmul_rn(0.5f, v), __fadd_rn(1.0f, erff(__fmul_rn(v, 0.70710678f))));
  }
  return v;
}

__device__ __forceinline__ void StoreOne(void* y, DType type, int64_t at, float v) {
  if (type == DType::kFloat32) {
    static_cast<float*>(y)[at] = v;
  } else if (type == DType::kFloat16) {
    static_cast<__half*>(y)[at] = __float2half_rn(v);
  } else {
    static_cast<__nv_bfloat16*>(y)[at] = __float2bfloat16_rn(v);
  }
}

// The largest magnitude that is zero once rounded to `type`.
constexpr float LargestZero(DType type) {
  return type == DType::kFloat16 ? 0x1p-25f : type == DType::kBFloat16 ? 0x1p-134f : 0.0f;
}

inline cudaFuncAttributes AttributesOf(const void* kernel) {
  cudaFuncAttributes attributes = {};
  return cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess ? attributes
                                                                   : cudaFuncAttributes{};
}

// product_stream.cu: tensor copies and wgmma. Sets the kernels' shared-memory limits.
cudaError_t PrepareStream();
bool NormFits(const GpuProductArgs& a);
StreamShape ChooseStream(const ProductDevice& d, const GpuProductArgs& a);
cudaError_t LaunchStream(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a,
                         const StreamShape& shape);

// product_plain.cu: mma.sync, any GPU from 7.5 on.
cudaError_t LaunchPlain(cudaStream_t s, const GpuProductArgs& a);
bool PlainHasBFloat16();

// product_float32.cu: CUDA cores.
cudaError_t LaunchFloat32(cudaStream_t s, const GpuProductArgs& a);

// product_lt.cu
LtWays* OpenLt();
// Runs the algorithm chosen for this shape; false where none was.
bool LaunchLt(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a, cudaError_t* error);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_PRODUCT_PARTS_CUH_
