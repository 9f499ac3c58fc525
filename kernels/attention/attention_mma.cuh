// The rules of attention_cuda.h that every kernel shares, and the instructions they are made of.
// Rounding is spelled out (__fmul_rn, __fmaf_rn), so that the compiler fuses nothing by itself.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_MMA_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_MMA_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "kernels/attention/attention_cuda.h"

namespace pamir::kernels::cuda {

inline constexpr int kTileBlocks = kTileKeys / kKvCudaBlock;
inline constexpr int kSplitTiles = kSplitKeys / kTileKeys;
inline constexpr float kLog2E = 1.44269504f;

__device__ __forceinline__ uint32_t SharedAddress(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// 16 bytes from global to shared memory; zeros where !valid (the source is not read then).
__device__ __forceinline__ void CopyAsync(void* to, const void* from, bool valid) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(SharedAddress(to)), "l"(from),
               "r"(valid ? 16 : 0));
#else
  *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : uint4{0, 0, 0, 0};
#endif
}

__device__ __forceinline__ void CommitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until at most N of this thread's groups are under way.
template <int N>
__device__ __forceinline__ void AwaitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

// Four 8 x 8 matrices; lane i gives the address of row i mod 8 of matrix i / 8.
__device__ __forceinline__ void LoadMatrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void LoadMatricesTransposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

// c += a b: 16 x 16 times 16 x 8, fp16 in, fp32 sums.
__device__ __forceinline__ void Mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                    uint32_t b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  const auto step = [&](uint32_t a0, uint32_t a1, uint32_t b) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b));
  };
  step(a[0], a[1], b0);
  step(a[2], a[3], b1);
#endif
}

__device__ __forceinline__ float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ uint32_t PackHalves(float low, float high) {
  const half2 pair = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// Over the four lanes that share a query.
__device__ __forceinline__ float QuadMax(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ __forceinline__ float QuadSum(float x) {
  x = __fadd_rn(x, __shfl_xor_sync(~0u, x, 1));
  return __fadd_rn(x, __shfl_xor_sync(~0u, x, 2));
}

// What a tile with this largest score does to the running maximum m: the new one, the factor a of
// what was added up before, and the tile's P[j] = exp2(score[j] c + shift).
struct TileFactors {
  float m, a, shift;
};
__device__ __forceinline__ TileFactors NextTile(float m, float tile_max, float c) {
  const float m_new = fmaxf(m, tile_max);
  const float base = m_new == -INFINITY ? 0.0f : m_new;  // all keys masked: P = 0
  return {m_new, Exp2(__fmul_rn(m - base, c)), -__fmul_rn(base, c)};
}

// One query's part of a tile in one lane: scores of keys 8 n + 2 t + {0, 1}, n = 0 .. 7, t = lane
// mod 4, as s[n][at], s[n][at + 1]; they become P. Updates m and the lane's part of l; returns a.
template <int at>
__device__ __forceinline__ float SoftmaxTile(float (&s)[8][4], float& m, float& l, float c) {
  float max[4];
#pragma unroll
  for (int n = 0; n < 4; ++n) {
    max[n] = fmaxf(fmaxf(s[n][at], s[n][at + 1]), fmaxf(s[n + 4][at], s[n + 4][at + 1]));
  }
  const float tile_max = QuadMax(fmaxf(fmaxf(max[0], max[1]), fmaxf(max[2], max[3])));
  const TileFactors f = NextTile(m, tile_max, c);
  l = __fmul_rn(l, f.a);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    s[n][at] = Exp2(__fmaf_rn(s[n][at], c, f.shift));
    s[n][at + 1] = Exp2(__fmaf_rn(s[n][at + 1], c, f.shift));
    l = __fadd_rn(l, __fadd_rn(s[n][at], s[n][at + 1]));
  }
  m = f.m;
  return f.a;
}

// P of one step of 16 positions as the left operand.
__device__ __forceinline__ void PackP(uint32_t (&a)[4], const float (&s)[8][4], int step) {
  a[0] = PackHalves(s[2 * step][0], s[2 * step][1]);
  a[1] = PackHalves(s[2 * step][2], s[2 * step][3]);
  a[2] = PackHalves(s[2 * step + 1][0], s[2 * step + 1][1]);
  a[3] = PackHalves(s[2 * step + 1][2], s[2 * step + 1][3]);
}

// Adding a split (m, l) into (M, L): the factors of both for the caller's O. L must be complete
// (QuadSum); a split whose keys are all masked changes nothing.
struct SplitFactors {
  float total;
  float split;
};
__device__ __forceinline__ SplitFactors AddSplit(float& total_m, float& total_l, float m, float l,
                                                 float c) {
  const float m_new = fmaxf(total_m, m);
  const SplitFactors f = {Exp2(__fmul_rn(total_m - m_new, c)), Exp2(__fmul_rn(m - m_new, c))};
  total_l = __fmaf_rn(l, f.split, __fmul_rn(total_l, f.total));
  total_m = m_new;
  return f;
}
__device__ __forceinline__ float AddSplitOutput(float total, float split, SplitFactors f) {
  return __fmaf_rn(split, f.split, __fmul_rn(total, f.total));
}

// Two neighbouring outputs as fp16 or bf16.
__device__ __forceinline__ uint32_t PackOutput(DType type, float low, float high) {
  if (type == DType::kFloat16) return PackHalves(low, high);
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}
__device__ __forceinline__ void StoreElement(void* out, DType type, int64_t index, float value) {
  if (type == DType::kFloat16) {
    static_cast<half*>(out)[index] = __float2half_rn(value);
  } else {
    static_cast<__nv_bfloat16*>(out)[index] = __float2bfloat16_rn(value);
  }
}

// What the cache stores: infinities of either sign become the largest finite number.
__device__ __forceinline__ uint32_t FiniteHalf(uint32_t bits) {
  return (bits & 0x7fffu) == 0x7c00u ? (bits & 0x8000u) | 0x7bffu : bits;
}
__device__ __forceinline__ uint32_t FinitePair(uint32_t bits) {
  return FiniteHalf(bits & 0xffffu) | FiniteHalf(bits >> 16) << 16;
}

// Elements d .. d + 7 of a token's head as the cache stores them; zeros behind head_dim.
__device__ __forceinline__ uint4 KvChunk(const uint16_t* head, int d, int head_dim) {
  if (head_dim % 8 == 0 && d < head_dim) {
    const uint4 pairs = __ldcg(reinterpret_cast<const uint4*>(head + d));
    return {FinitePair(pairs.x), FinitePair(pairs.y), FinitePair(pairs.z), FinitePair(pairs.w)};
  }
  uint32_t pairs[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int at = d + 2 * i;
    const uint32_t low = at < head_dim ? head[at] : 0, high = at + 1 < head_dim ? head[at + 1] : 0;
    pairs[i] = FinitePair(low | high << 16);
  }
  return {pairs[0], pairs[1], pairs[2], pairs[3]};
}

// Where 8 elements of a position lie in a head's block, in elements.
__device__ __forceinline__ int ChunkOffset(int position, int chunk, int dim) {
  const int at = position % kKvCudaBlock;
  return at / 8 * dim * 8 + chunk * 64 + at % 8 * 8;
}

// Starts copying the tile's keys (or values): blocks of a head as they lie in the cache, zeros from
// position `context` on. ids: the row's blocks from the tile's first on.
template <int kThreads>
__device__ __forceinline__ void CopyTile(half* to, const half* plane, const int* ids, int heads,
                                         int head, int dim, int first_key, int context) {
  const int chunks = 2 * dim;  // of 16 bytes in a block
#pragma unroll 4
  for (int i = threadIdx.x; i < kTileBlocks * chunks; i += kThreads) {
    const int block = i / chunks, chunk = i - block * chunks;
    const int key = first_key + block * kKvCudaBlock + (chunk >= dim ? 8 : 0) + (chunk & 7);
    const bool valid = key < context;
    const half* from = plane;
    if (valid) from += (static_cast<int64_t>(ids[block]) * heads + head) * (kKvCudaBlock * dim);
    CopyAsync(to + i * 8, from + chunk * 8, valid);
  }
}

// Both planes of a tile, the values behind the keys.
template <int kThreads>
__device__ __forceinline__ void CopyStage(half* to, const KvCuda& kv, const int* ids, int head,
                                          int dim, int first_key, int context) {
  CopyTile<kThreads>(to, static_cast<const half*>(kv.k), ids, kv.heads, head, dim, first_key,
                     context);
  CopyTile<kThreads>(to + kTileKeys * dim, static_cast<const half*>(kv.v), ids, kv.heads, head, dim,
                     first_key, context);
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_MMA_CUH_
