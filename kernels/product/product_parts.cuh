// Seams between the files of this folder that run on GPUs.
#ifndef PAMIR_KERNELS_PRODUCT_PRODUCT_PARTS_CUH_
#define PAMIR_KERNELS_PRODUCT_PRODUCT_PARTS_CUH_

#include <cuda.h>
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
  EncodeTiled encode = nullptr;  // null: no tensor copies, hence plain ways only
  std::unique_ptr<LtWays, LtWaysDelete> lt;
};

// What happens to a finished sum. A sum of -0 becomes +0, as where its zero inputs were skipped.
__device__ __forceinline__ float Finish(float sum, const void* bias, int64_t o, bool y_float,
                                        bool relu) {
  float v = sum + 0.0f;
  if (bias != nullptr) {
    v += y_float ? static_cast<const float*>(bias)[o]
                 : __half2float(static_cast<const __half*>(bias)[o]);
  }
  return relu ? (v > 0 ? v : 0) : v;
}

// product_stream.cu: tensor copies and wgmma. Sets the kernels' shared-memory limits.
cudaError_t PrepareStream();
StreamShape ChooseStream(const ProductDevice& d, const GpuProductArgs& a);
cudaError_t LaunchStream(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a,
                         const StreamShape& shape);

// product_plain.cu: mma.sync, any GPU from 7.5 on.
cudaError_t LaunchPlain(cudaStream_t s, const GpuProductArgs& a);

// product_lt.cu
LtWays* OpenLt();
// Runs the algorithm chosen for this shape; false where none was.
bool LaunchLt(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a, cudaError_t* error);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_PRODUCT_PARTS_CUH_
