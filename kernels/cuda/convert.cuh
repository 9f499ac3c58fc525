// Four neighbouring elements of an array of any element type, as floats, and back.
#ifndef PAMIR_KERNELS_CUDA_CONVERT_CUH_
#define PAMIR_KERNELS_CUDA_CONVERT_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "base/dtype.h"

namespace pamir::kernels::cuda {

__device__ __forceinline__ float4 LoadFour(const void* from, DType type, int64_t quadruple) {
  if (type == DType::kFloat32) return static_cast<const float4*>(from)[quadruple];
  const uint2 bits = static_cast<const uint2*>(from)[quadruple];
  float2 low, high;
  if (type == DType::kFloat16) {
    low = __half22float2(*reinterpret_cast<const half2*>(&bits.x));
    high = __half22float2(*reinterpret_cast<const half2*>(&bits.y));
  } else {
    low = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits.x));
    high = __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162*>(&bits.y));
  }
  return {low.x, low.y, high.x, high.y};
}

__device__ __forceinline__ void StoreFour(void* to, DType type, int64_t quadruple, float4 v) {
  if (type == DType::kFloat32) {
    static_cast<float4*>(to)[quadruple] = v;
    return;
  }
  uint2 bits;
  if (type == DType::kFloat16) {
    const half2 low = __floats2half2_rn(v.x, v.y), high = __floats2half2_rn(v.z, v.w);
    bits = {*reinterpret_cast<const uint32_t*>(&low), *reinterpret_cast<const uint32_t*>(&high)};
  } else {
    const __nv_bfloat162 low = __floats2bfloat162_rn(v.x, v.y);
    const __nv_bfloat162 high = __floats2bfloat162_rn(v.z, v.w);
    bits = {*reinterpret_cast<const uint32_t*>(&low), *reinterpret_cast<const uint32_t*>(&high)};
  }
  static_cast<uint2*>(to)[quadruple] = bits;
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_CUDA_CONVERT_CUH_
