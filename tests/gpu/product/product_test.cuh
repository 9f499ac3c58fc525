// What parity.cu and speed.cu share.
#ifndef PAMIR_TESTS_GPU_PRODUCT_PRODUCT_TEST_CUH_
#define PAMIR_TESTS_GPU_PRODUCT_PRODUCT_TEST_CUH_

#include <cuda_bf16.h>
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

__host__ __device__ inline float Uniform(uint64_t i, uint32_t seed, float scale) {
  return (Hash(i, seed) / 2147483648.0f - 1) * scale;
}

// Element i of an array of `type`, as a float, and back.
__host__ __device__ inline float Load(const void* p, DType type, size_t i) {
  if (type == DType::kFloat32) return static_cast<const float*>(p)[i];
  if (type == DType::kFloat16) return __half2float(static_cast<const __half*>(p)[i]);
  return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
}
__host__ __device__ inline void Put(void* p, DType type, size_t i, float v) {
  if (type == DType::kFloat32) {
    static_cast<float*>(p)[i] = v;
  } else if (type == DType::kFloat16) {
    static_cast<__half*>(p)[i] = __float2half_rn(v);
  } else {
    static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16_rn(v);
  }
}

// Uniform in -scale .. scale.
static __global__ void FillKernel(void* p, DType type, size_t n, uint32_t seed, float scale) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n;
       i += size_t{gridDim.x} * blockDim.x) {
    Put(p, type, i, Uniform(i, seed, scale));
  }
}
static inline void Fill(void* p, DType type, size_t n, uint32_t seed, float scale) {
  FillKernel<<<2048, 256>>>(p, type, n, seed, scale);
  PAMIR_CUDA_OK(cudaGetLastError());
}

// Sets neurons (16 bits each) to zero so that a share `density` of them is left in each row, at
// random, and flags the groups of 16 that are left. flags must be zero before.
static __global__ void MaskKernel(uint16_t* x, int rows, int in, uint32_t seed, float density,
                                  uint8_t* flags) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows * in; i += gridDim.x * blockDim.x) {
    if (Hash(i, seed) >= density * 4294967296.0f) {
      x[i] = 0;
    } else {
      flags[i % in / 16] = 1;
    }
  }
}

// All return the number of failed checks.
int ParityFloat32(kernels::cuda::ProductDevice* device, Extent extent);
int ParityNorm(kernels::cuda::ProductDevice* device, Extent extent);
int Parity(kernels::cuda::ProductDevice* device, Extent extent);
int Speed(kernels::cuda::ProductDevice* device, int argc, char** argv);

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_PRODUCT_PRODUCT_TEST_CUH_
