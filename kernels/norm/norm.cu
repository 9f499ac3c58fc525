// A block of threads a row; the row stays in registers between its three passes. What no kernel of
// the step writes (bias, gamma, beta) is read before the predecessor is awaited.
#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/norm/norm_cuda.h"
#include "kernels/norm/norm_parts.cuh"

namespace pamir::kernels {
namespace {

using namespace norm_parts;  // NOLINT: this file's own arithmetic

constexpr int kEachMax = 4;  // quadruples of a thread

// The same sum in every thread. Each call needs its own `warps`.
__device__ __forceinline__ float BlockSum(float x, float (&warps)[kWarp]) {
  x = WarpSum(x);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = x;
  __syncthreads();
  const int lane = threadIdx.x % kWarp;
  return WarpSum(lane < blockDim.x / kWarp ? warps[lane] : 0.0f);
}

template <int kEach>
using Row = float4[kEach];

template <int kEach>
__device__ __forceinline__ void LoadVector(Row<kEach>& v, const float* from, float otherwise,
                                           int quadruples) {
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    v[i] = from != nullptr && at < quadruples ? reinterpret_cast<const float4*>(from)[at]
                                              : Splat(otherwise);
  }
}

// x + (delta + bias), stored back where there is a delta; zeros behind the row's end.
template <int kEach>
__device__ __forceinline__ void LoadRow(Row<kEach>& x, const NormCudaArgs& args,
                                        const Row<kEach>& bias, int quadruples) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * quadruples;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    x[i] = Splat(0);
    if (at >= quadruples) continue;
    x[i] = reinterpret_cast<const float4*>(args.x)[first + at];
    if (args.delta == nullptr) continue;
    const float4 delta = cuda::LoadFour(args.delta, args.delta_type, first + at);
    x[i] = Add(x[i], Add(delta, bias[i]));
    if (!args.y_into_x) reinterpret_cast<float4*>(args.x)[first + at] = x[i];
  }
}

template <int kEach>
__device__ __forceinline__ void NormRow(Row<kEach>& x, const NormCudaArgs& args,
                                        const Row<kEach>& gamma, const Row<kEach>& beta,
                                        int quadruples) {
  __shared__ float means[kWarp], variances[kWarp];
  const float width = static_cast<float>(args.width);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) sum = __fadd_rn(sum, Sum(x[i]));
  const float mean = __fdiv_rn(BlockSum(sum, means), width);
  sum = 0;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    x[i] = Add(x[i], Splat(-mean));
    const bool inside = threadIdx.x + i * blockDim.x < quadruples;
    sum = __fadd_rn(sum, inside ? Sum(Multiply(x[i], x[i])) : 0.0f);
  }
  const float variance = __fdiv_rn(BlockSum(sum, variances), width);
  const float inverse = InverseDeviation(variance, args.epsilon);
  const int64_t first = static_cast<int64_t>(blockIdx.x) * quadruples;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at >= quadruples) continue;
    const float4 y = Normalize(x[i], inverse, gamma[i], beta[i]);
    if (args.y != nullptr) cuda::StoreFour(args.y, args.y_type, first + at, y);
    if (args.y_into_x) reinterpret_cast<float4*>(args.x)[first + at] = y;
  }
}

// y = x, in y's type.
template <int kEach>
__device__ __forceinline__ void StoreRow(const Row<kEach>& x, const NormCudaArgs& args,
                                         int quadruples) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * quadruples;
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int at = threadIdx.x + i * blockDim.x;
    if (at < quadruples) cuda::StoreFour(args.y, args.y_type, first + at, x[i]);
  }
}

template <int kEach>
__global__ void __launch_bounds__(1024) NormKernel(const __grid_constant__ NormCudaArgs args) {
  const int quadruples = static_cast<int>(args.width / 4);
  Row<kEach> bias, gamma, beta, x;
  LoadVector<kEach>(bias, args.delta != nullptr ? args.bias : nullptr, 0, quadruples);
  LoadVector<kEach>(gamma, args.gamma, 1, quadruples);
  LoadVector<kEach>(beta, args.beta, 0, quadruples);
  cuda::AllowNext();  // early: a product's weights are on their way while the rows are normed
  cuda::AwaitPrevious();
  LoadRow<kEach>(x, args, bias, quadruples);
  if (args.normalize) {
    NormRow<kEach>(x, args, gamma, beta, quadruples);
  } else if (args.y != nullptr) {
    StoreRow<kEach>(x, args, quadruples);
  }
}

template <int kEach>
int LaunchEach(const NormCudaArgs& args, StreamRef stream) {
  cuda::Shape shape;
  shape.grid = dim3(static_cast<unsigned>(args.rows));
  shape.threads = NormCudaThreads(args.width);
  shape.dependent = args.dependent_launch;
  return cuda::Launch(stream, shape, NormKernel<kEach>, args);
}

}  // namespace

int AddNormCuda(const NormCudaArgs& args, StreamRef stream) {
  if (args.rows == 0) return cudaSuccess;
  if (args.width <= 0 || args.width % 4 != 0 || args.width > kNormCudaWidthMax ||
      (args.y_into_x && !args.normalize)) {
    return cudaErrorInvalidValue;
  }
  const int64_t each = (args.width / 4 + 1023) / 1024;
  static_assert(kNormCudaWidthMax / 4 / 1024 == kEachMax);
  if (each == 1) return LaunchEach<1>(args, stream);
  if (each == 2) return LaunchEach<2>(args, stream);
  if (each == 3) return LaunchEach<3>(args, stream);
  return LaunchEach<kEachMax>(args, stream);
}

}  // namespace pamir::kernels
