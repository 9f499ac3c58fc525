// A product that makes its own x: every block adds and norms the few rows itself, while its ring of
// weights fills, and keeps them in shared memory as the tensor cores read them. Bits of norm.cu.
#ifndef PAMIR_KERNELS_PRODUCT_NORM_PROLOGUE_CUH_
#define PAMIR_KERNELS_PRODUCT_NORM_PROLOGUE_CUH_

#include "kernels/norm/norm_parts.cuh"
#include "kernels/product/stream_kernel.cuh"

namespace pamir::kernels::cuda {

constexpr int kNormWarps = 8;  // of a block work at the norm, whatever it has

// Sums of 32 quadruples each, as norm.cu's warps make them.
struct NormSums {
  float mean[kMaxNormRows][kMaxNormWidth / 128];
  float variance[kMaxNormRows][kMaxNormWidth / 128];
};

__device__ __forceinline__ void BarrierOfNorm(int threads) {
  asm volatile("bar.sync 2, %0;" ::"r"(threads) : "memory");
}

// Where quadruple `at` of `row` lies among boxes of [8 rows][64 inputs] with a 128-byte swizzle.
__device__ __forceinline__ int NormedAt(int row, int at) {
  const int k = 4 * at;
  return k / kBoxK * 1024 + row * 128 + ((k % kBoxK / 8) ^ row) * 16 + k % 8 * 2;
}

// The quadruples of one lane. kRows rows share the warps; a row's warps take its runs of 32
// quadruples in turn.
template <int kRows>
struct NormLane {
  static constexpr int kSplit = kNormWarps / kRows;
  static constexpr int kEach = (kMaxNormWidth / 128 + kSplit - 1) / kSplit;

  int row, part, lane, quads, runs;
  bool mine;

  __device__ __forceinline__ explicit NormLane(const StreamParams& p)
      : row(threadIdx.x / 32 / kSplit),
        part(threadIdx.x / 32 % kSplit),
        lane(threadIdx.x % 32),
        quads(p.in / 4),
        runs((quads + 31) / 32),
        mine(row < p.rows && row < kRows) {}

  __device__ __forceinline__ int Run(int i) const { return part + i * kSplit; }
  __device__ __forceinline__ int At(int i) const { return Run(i) * 32 + lane; }
  __device__ __forceinline__ bool Has(int i) const { return mine && At(i) < quads; }

  __device__ __forceinline__ float4 Part(const float* vector, int i, float otherwise) const {
    if (vector == nullptr || !Has(i)) return norm_parts::Splat(otherwise);
    return __ldg(reinterpret_cast<const float4*>(vector) + At(i));
  }

  // x + (delta + bias), zeros behind the row's end.
  __device__ __forceinline__ void Rows(float4 (&x)[kEach], const NormParams& n,
                                       const float4 (&bias)[kEach]) const {
    const int64_t first = static_cast<int64_t>(row) * quads;
    float4 delta[kEach];
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      x[i] = delta[i] = norm_parts::Splat(0);
      if (!Has(i)) continue;
      x[i] = __ldcg(reinterpret_cast<const float4*>(n.x) + first + At(i));
      if (n.delta == nullptr) continue;
      delta[i] = __ldcg(reinterpret_cast<const float4*>(n.delta) + first + At(i));
    }
    if (n.delta == nullptr) return;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (Has(i)) x[i] = norm_parts::Add(x[i], norm_parts::Add(delta[i], bias[i]));
    }
  }

  // Leaves each run's sum of value(i); the same sum for all of the row's lanes by Total.
  template <typename Value>
  __device__ __forceinline__ void Partial(float* to, const Value& value) const {
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (!mine || Run(i) >= runs) continue;  // the whole warp alike
      const float sum = norm_parts::WarpSum(__fadd_rn(0.0f, value(i)));
      if (lane == 0) to[Run(i)] = sum;
    }
  }
  __device__ __forceinline__ float Total(const float* from) const {
    return norm_parts::WarpSum(lane < runs ? from[lane] : 0.0f);
  }
};

// Called by the block's first `threads` threads, all of them. Awaits the last kernel.
template <DType kType, int kRows>
__device__ __forceinline__ void NormRows(const NormParams& n, const StreamParams& p, char* normed,
                                         NormSums& sums, int threads) {
  using norm_parts::Sum;
  using Lane = NormLane<kRows>;
  const Lane l(p);
  float4 x[Lane::kEach], bias[Lane::kEach], gamma[Lane::kEach], beta[Lane::kEach];
#pragma unroll
  for (int i = 0; i < Lane::kEach; ++i) {
    bias[i] = l.Part(n.delta_bias, i, 0);
    gamma[i] = l.Part(n.gamma, i, 1), beta[i] = l.Part(n.beta, i, 0);
  }
  const float width = static_cast<float>(p.in);
  const int row = l.mine ? l.row : 0;
  AwaitLastKernel();
  l.Rows(x, n, bias);
  l.Partial(sums.mean[row], [&](int i) { return Sum(x[i]); });
  BarrierOfNorm(threads);
  const float mean = __fdiv_rn(l.Total(sums.mean[row]), width);
  if (blockIdx.x == 0 && n.x_out != nullptr) {
#pragma unroll
    for (int i = 0; i < Lane::kEach; ++i) {
      const int64_t first = static_cast<int64_t>(row) * l.quads;
      if (l.Has(i)) reinterpret_cast<float4*>(n.x_out)[first + l.At(i)] = x[i];
    }
  }
#pragma unroll
  for (int i = 0; i < Lane::kEach; ++i) x[i] = norm_parts::Add(x[i], norm_parts::Splat(-mean));
  l.Partial(sums.variance[row],
            [&](int i) { return l.Has(i) ? Sum(norm_parts::Multiply(x[i], x[i])) : 0.0f; });
  BarrierOfNorm(threads);
  const float variance = __fdiv_rn(l.Total(sums.variance[row]), width);
  const float inverse = norm_parts::InverseDeviation(variance, n.epsilon);
#pragma unroll
  for (int i = 0; i < Lane::kEach; ++i) {
    if (!l.Has(i)) continue;
    StoreFour(normed + NormedAt(l.row, l.At(i)), kType, 0,
              norm_parts::Normalize(x[i], inverse, gamma[i], beta[i]));
  }
  ShowStores();
  BarrierOfNorm(threads);
}

template <DType kType, int kRows>
__global__ void __launch_bounds__(128 * kMaxNormGroups + 32, 1)
    NormStreamKernel(const __grid_constant__ CUtensorMap w, const __grid_constant__ StreamParams p,
                     const __grid_constant__ NormParams n) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char raw[];
  __shared__ uint64_t barriers[2 * kMaxStages];
  __shared__ NormSums norm_sums;
  char* normed = Align1024(raw);
  const int chunks = p.in / kBoxK;
  char* shared = normed + chunks * 1024;
  const Rings r = MakeRings(barriers, SharedAddress(shared), p.stages, 4 * p.groups);
  const Place at = {0, static_cast<int>(blockIdx.x) * p.outs};
  const int threads = blockDim.x - 32;  // all but the warp that asks
  if (threadIdx.x >= threads) {
    if (threadIdx.x % 32 == 0) AskWeightsOnly(w, p, at, r, (chunks + p.chunks - 1) / p.chunks);
    return;
  }
  const int group = threadIdx.x / 128;
  const FewBiases biases = FetchBiases(p, at);
  NormRows<kType, kRows>(n, p, normed, norm_sums, threads);
  if (group >= p.groups) return;
  float sums[4] = {};
  Multiply<kType, 8, false>(sums, p, r, group, chunks, SharedAddress(normed));
  StoreFew(sums, p, at, biases);
#endif
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_NORM_PROLOGUE_CUH_
