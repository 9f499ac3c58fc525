// Sums, maxima and prefix sums over a block of kSampleThreads threads.
#ifndef PAMIR_KERNELS_SAMPLE_SAMPLE_BLOCK_CUH_
#define PAMIR_KERNELS_SAMPLE_SAMPLE_BLOCK_CUH_

#include <cstdint>

namespace pamir::kernels::cuda {

inline constexpr int kSampleThreads = 1024;
inline constexpr int kSampleWarps = kSampleThreads / 32;

__device__ __forceinline__ int Lane() { return threadIdx.x % 32; }
__device__ __forceinline__ int Warp() { return threadIdx.x / 32; }

// Combines all threads' values in a fixed order; the same result everywhere. May be called again
// with the same `warps` at once.
template <typename T, typename Op>
__device__ __forceinline__ T BlockReduce(T value, T (&warps)[kSampleWarps], Op op) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = op(value, __shfl_xor_sync(~0u, value, lanes));
  }
  __syncthreads();
  if (Lane() == 0) warps[Warp()] = value;
  __syncthreads();
  value = warps[Lane()];
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    value = op(value, __shfl_xor_sync(~0u, value, lanes));
  }
  return value;
}

__device__ __forceinline__ uint64_t WarpPrefix(uint64_t value) {  // inclusive
#pragma unroll
  for (int lanes = 1; lanes < 32; lanes *= 2) {
    const uint64_t below = __shfl_up_sync(~0u, value, lanes);
    if (Lane() >= lanes) value += below;
  }
  return value;
}

// Of values given by whole warps (lane 0's counts): what the warps before this one have.
__device__ __forceinline__ uint64_t WarpsBefore(uint64_t warp_total,
                                                uint64_t (&warps)[kSampleWarps]) {
  __syncthreads();
  if (Lane() == 0) warps[Warp()] = warp_total;
  __syncthreads();
  const uint64_t mine = warps[Lane()];
  return __shfl_sync(~0u, WarpPrefix(mine) - mine, Warp());
}

// What the threads before this one have.
__device__ __forceinline__ uint64_t BlockBefore(uint64_t value, uint64_t (&warps)[kSampleWarps]) {
  const uint64_t inclusive = WarpPrefix(value);
  return WarpsBefore(__shfl_sync(~0u, inclusive, 31), warps) + inclusive - value;
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_SAMPLE_SAMPLE_BLOCK_CUH_
