// What parity.cu and speed.cu share.
#ifndef PAMIR_TESTS_GPU_PRODUCT_PRODUCT_TEST_CUH_
#define PAMIR_TESTS_GPU_PRODUCT_PRODUCT_TEST_CUH_

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "kernels/product/product_cuda.h"
#include "tests/gpu/support/extent.h"

namespace pamir::gpu_test {

#define PAMIR_CUDA_OK(x)                                             \
  do {                                                               \
    const int e_ = static_cast<int>(x);                              \
    if (e_ != 0) {                                                   \
      std::printf("%s:%d: %s\n", __FILE__, __LINE__,                 \
                  cudaGetErrorString(static_cast<cudaError_t>(e_))); \
      std::exit(1);                                                  \
    }                                                                \
  } while (0)

template <typename T>
struct Buffer {
  T* data = nullptr;
  size_t count = 0;
  explicit Buffer(size_t n) : count(n) { PAMIR_CUDA_OK(cudaMalloc(&data, n * sizeof(T))); }
  ~Buffer() { cudaFree(data); }
  Buffer(const Buffer&) = delete;
};

__host__ __device__ inline uint32_t Hash(uint64_t i, uint32_t seed) {
  uint64_t z = (i + 1) * 0x9E3779B97F4A7C15ull + seed * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return static_cast<uint32_t>((z ^ (z >> 31)) >> 16);
}

// Uniform in -scale .. scale.
static __global__ void FillKernel(__half* p, size_t n, uint32_t seed, float scale) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n;
       i += size_t{gridDim.x} * blockDim.x) {
    p[i] = __float2half((Hash(i, seed) / 2147483648.0f - 1) * scale);
  }
}
static inline void Fill(__half* p, size_t n, uint32_t seed, float scale) {
  FillKernel<<<2048, 256>>>(p, n, seed, scale);
  PAMIR_CUDA_OK(cudaGetLastError());
}

// Sets neurons to zero so that a share `density` of them is left in each row, at random, and flags
// the groups of 16 that are left. flags must be zero before.
static __global__ void MaskKernel(__half* x, int rows, int in, uint32_t seed, float density,
                                  uint8_t* flags) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows * in; i += gridDim.x * blockDim.x) {
    if (Hash(i, seed) >= density * 4294967296.0f) {
      x[i] = __half(0.0f);
    } else {
      flags[i % in / 16] = 1;
    }
  }
}

// Both return the number of failed checks.
int Parity(kernels::cuda::ProductDevice* device, Extent extent);
int Speed(kernels::cuda::ProductDevice* device, int argc, char** argv);

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_PRODUCT_PRODUCT_TEST_CUH_
