// What the two kernels of prefill share: the sums of a lane's two queries, masks, the way out.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_CUH_

#include "kernels/attention/attention_kernels.cuh"
#include "kernels/attention/attention_mma.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels::cuda {

struct PrefillCall {
  AttentionCudaArgs args;
  const QueryTile* tiles = nullptr;
};

// One split under way and what was added up before it, of a lane's two queries: those of row
// lane / 4 of the warp's 16 ([n][0], [n][1]: columns 8 n + 2 (lane mod 4) + 0, 1) and 8 behind it.
template <int D>
struct PrefillState {
  float o[D / 8][4];
  float total_o[D / 8][4];
  float m[2], l[2];
  float total_m[2], total_l[2];

  __device__ __forceinline__ void Begin() {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) total_o[i / 4][i % 4] = 0;
    total_m[0] = total_m[1] = -INFINITY;
    total_l[0] = total_l[1] = 0;
  }

  // Of m and l only; o begins with the first tile's P V.
  __device__ __forceinline__ void BeginSplit() {
    m[0] = m[1] = -INFINITY;
    l[0] = l[1] = 0;
  }

  __device__ __forceinline__ void ClearO() {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) o[i / 4][i % 4] = 0;
  }

  // The split's m and l into the totals; its o with AddO.
  __device__ __forceinline__ void AddSplits(SplitFactors (&f)[2], float c) {
    f[0] = AddSplit(total_m[0], total_l[0], m[0], QuadSum(l[0]), c);
    f[1] = AddSplit(total_m[1], total_l[1], m[1], QuadSum(l[1]), c);
  }
  __device__ __forceinline__ void AddO(const SplitFactors (&f)[2]) {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) {
      float& total = total_o[i / 4][i % 4];
      total = AddSplitOutput(total, o[i / 4][i % 4], f[i % 4 / 2]);
    }
  }

  // s: the tile's scores; becomes P. a: what o is to be multiplied with.
  __device__ __forceinline__ void Softmax(float (&s)[8][4], float (&a)[2], float c) {
    a[0] = SoftmaxTile<0>(s, m[0], l[0], c);
    a[1] = SoftmaxTile<2>(s, m[1], l[1], c);
  }
  __device__ __forceinline__ void ScaleO(const float (&a)[2]) {
#pragma unroll
    for (int i = 0; i < D / 2; ++i) {
      o[i / 4][i % 4] = __fmul_rn(o[i / 4][i % 4], a[i % 4 / 2]);
    }
  }
};

// Keys behind a query do not count. position: of the lane's first query; the other is 8 later.
__device__ __forceinline__ void MaskTile(float (&s)[8][4], int first_key, int position) {
  const int key = first_key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (key + n * 8 + e % 2 > position + e / 2 * 8) s[n][e] = -INFINITY;
    }
  }
}

// Lane i of four: own[j] is its piece of row j; then the pieces of all four of row i.
__device__ __forceinline__ void TransposeQuad(uint32_t* own) {
  const bool odd = threadIdx.x & 1, upper = threadIdx.x & 2;
#pragma unroll
  for (int j = 0; j < 4; j += 2) {
    const uint32_t got = __shfl_xor_sync(~0u, odd ? own[j] : own[j + 1], 1);
    (odd ? own[j] : own[j + 1]) = got;
  }
#pragma unroll
  for (int j = 0; j < 2; ++j) {
    const uint32_t got = __shfl_xor_sync(~0u, upper ? own[j] : own[j + 2], 2);
    (upper ? own[j] : own[j + 2]) = got;
  }
}

// The warp's 16 rows, first_row being its first, of the `count` at `out`. kWide: 16 bytes at a
// time; out and its rows are aligned to that.
template <bool kWide, int D>
__device__ __forceinline__ void StoreOutput(const PrefillState<D>& state,
                                            const AttentionCudaArgs& args, int64_t token, int head,
                                            int first_row, int count) {
  constexpr int kWideEnd = kWide ? D / 32 * 4 : 0;
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + threadIdx.x % 32 / 4 + r * 8;
    const float inverse = 1.0f / state.total_l[r];
    uint16_t* to =
        static_cast<uint16_t*>(args.out) + (token + row) * args.out_stride + int64_t{head} * D;
    uint32_t packed[D / 8];
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      packed[n] = PackOutput(args.out_type, __fmul_rn(state.total_o[n][2 * r], inverse),
                             __fmul_rn(state.total_o[n][2 * r + 1], inverse));
    }
#pragma unroll
    for (int n = 0; n < kWideEnd; n += 4) TransposeQuad(packed + n);
    if (row >= count) continue;
#pragma unroll
    for (int n = 0; n < kWideEnd; n += 4) {
      *reinterpret_cast<uint4*>(to + (n + t) * 8) = {packed[n], packed[n + 1], packed[n + 2],
                                                     packed[n + 3]};
    }
#pragma unroll
    for (int n = kWideEnd; n < D / 8; ++n) {
      *reinterpret_cast<uint32_t*>(to + n * 8 + t * 2) = packed[n];
    }
  }
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_CUH_
