// What parity.cu and speed.cu share: weights and activations of a known sequence.
#ifndef PAMIR_TESTS_GPU_SKIP_SKIP_TEST_CUH_
#define PAMIR_TESTS_GPU_SKIP_SKIP_TEST_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <vector>

#include "base/dtype.h"
#include "kernels/product/skip_neurons_cuda.h"
#include "tests/gpu/support/gpu_test.cuh"

namespace pamir::gpu_test {

__host__ __device__ inline uint16_t BitsOf(float value, DType type) {
  if (type == DType::kFloat16) return __half_as_ushort(__float2half_rn(value));
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
}

__host__ __device__ inline float FloatOf(uint16_t bits, DType type) {
  if (type == DType::kFloat16) return __half2float(__ushort_as_half(bits));
  return __bfloat162float(__ushort_as_bfloat16(bits));
}

// Uniform in -scale .. scale.
static __global__ void FillWeights(uint16_t* w, size_t count, DType type, float scale) {
  const size_t step = static_cast<size_t>(gridDim.x) * blockDim.x;
  for (size_t i = blockIdx.x * static_cast<size_t>(blockDim.x) + threadIdx.x; i < count;
       i += step) {
    uint32_t z = static_cast<uint32_t>(i) * 747796405u + static_cast<uint32_t>(i >> 32) + 97u;
    z = ((z >> ((z >> 28) + 4)) ^ z) * 277803737u;
    z ^= z >> 22;
    w[i] = BitsOf((static_cast<float>(z >> 8) * 0x1p-23f - 1) * scale, type);
  }
}

// Rows of ReLU'd activations: each neuron is active in each row by itself with probability
// `density`. Between the rows lies NaN.
inline std::vector<uint16_t> Activations(int rows, int in, int stride, double density, DType type,
                                         uint32_t seed) {
  Random random(seed);
  std::vector<uint16_t> x(static_cast<size_t>(rows) * stride, 0x7fff);
  for (int r = 0; r < rows; ++r) {
    for (int i = 0; i < in; ++i) {
      const bool active = density >= 1 || random.Uniform() < density;
      const float value = active ? 0.01f + random.Uniform() : 0.0f;
      x[static_cast<size_t>(r) * stride + i] = BitsOf(value, type);
    }
  }
  return x;
}

void CheckSkip(Verdicts& verdicts, Extent extent);
void TimeSkip();

}  // namespace pamir::gpu_test

#endif  // PAMIR_TESTS_GPU_SKIP_SKIP_TEST_CUH_
