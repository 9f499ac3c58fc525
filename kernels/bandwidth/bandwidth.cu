#include <cuda_runtime.h>

#include "kernels/bandwidth/bandwidth_cuda.h"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels {
namespace {

constexpr int kThreads = 256;
// Four times what one holds at once: those near the memory take more of them than those far off.
constexpr int kBlocksPerMultiprocessor = 32;
constexpr int kInFlight = 4;  // loads of a thread before it looks at the first
constexpr unsigned kUnlikely = 0x12345;

__device__ __forceinline__ uint4 LoadOnce(const uint4* from) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(from));
  return v;
}

__device__ __forceinline__ unsigned Mix(uint4 v) { return v.x ^ v.y ^ v.z ^ v.w; }

__global__ void __launch_bounds__(kThreads)
    ReadKernel(const uint4* data, int64_t count, float* sink) {
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kThreads;
  int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  unsigned mixed = 0;
  for (; i + (kInFlight - 1) * stride < count; i += kInFlight * stride) {
    uint4 v[kInFlight];
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) v[u] = LoadOnce(data + i + u * stride);
#pragma unroll
    for (int u = 0; u < kInFlight; ++u) mixed ^= Mix(v[u]);
  }
  for (; i < count; i += stride) mixed ^= Mix(LoadOnce(data + i));
  if (mixed == kUnlikely) *sink = 1;  // so that the loads are not dropped
}

}  // namespace

int ReadBandwidthCuda(const void* data, int64_t bytes, float* sink, StreamRef stream) {
  constexpr int64_t kLoad = sizeof(uint4);
  if (bytes <= 0 || bytes % kLoad != 0 || reinterpret_cast<uintptr_t>(data) % kLoad != 0) {
    return cudaErrorInvalidValue;
  }
  int device = 0, multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error != cudaSuccess) return error;
  cuda::Shape shape;
  shape.grid = dim3(static_cast<unsigned>(multiprocessors * kBlocksPerMultiprocessor));
  shape.threads = kThreads;
  return cuda::Launch(stream, shape, ReadKernel, static_cast<const uint4*>(data), bytes / kLoad,
                      sink);
}

}  // namespace pamir::kernels
