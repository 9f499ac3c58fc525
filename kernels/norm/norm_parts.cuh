// The arithmetic of a LayerNorm on CUDA devices, shared by everything that must give its bits:
// norm.cu and the products that make their own x. The order of the sums: norm_cuda.h.
#ifndef PAMIR_KERNELS_NORM_NORM_PARTS_CUH_
#define PAMIR_KERNELS_NORM_NORM_PARTS_CUH_

namespace pamir::kernels::norm_parts {

constexpr int kWarp = 32;

__device__ __forceinline__ float WarpSum(float x) {
#pragma unroll
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    x = __fadd_rn(x, __shfl_xor_sync(~0u, x, lanes));
  }
  return x;
}

__device__ __forceinline__ float Sum(float4 v) {
  return __fadd_rn(__fadd_rn(v.x, v.y), __fadd_rn(v.z, v.w));
}
__device__ __forceinline__ float4 Add(float4 a, float4 b) {
  return {__fadd_rn(a.x, b.x), __fadd_rn(a.y, b.y), __fadd_rn(a.z, b.z), __fadd_rn(a.w, b.w)};
}
__device__ __forceinline__ float4 Multiply(float4 a, float4 b) {
  return {__fmul_rn(a.x, b.x), __fmul_rn(a.y, b.y), __fmul_rn(a.z, b.z), __fmul_rn(a.w, b.w)};
}
__device__ __forceinline__ float4 Splat(float v) { return {v, v, v, v}; }
__device__ __forceinline__ float InverseDeviation(float variance, float epsilon) {
  return __frcp_rn(__fsqrt_rn(__fadd_rn(variance, epsilon)));
}
__device__ __forceinline__ float4 Normalize(float4 centred, float inverse, float4 gamma,
                                            float4 beta) {
  return {__fmaf_rn(__fmul_rn(centred.x, inverse), gamma.x, beta.x),
          __fmaf_rn(__fmul_rn(centred.y, inverse), gamma.y, beta.y),
          __fmaf_rn(__fmul_rn(centred.z, inverse), gamma.z, beta.z),
          __fmaf_rn(__fmul_rn(centred.w, inverse), gamma.w, beta.w)};
}

}  // namespace pamir::kernels::norm_parts

#endif  // PAMIR_KERNELS_NORM_NORM_PARTS_CUH_
