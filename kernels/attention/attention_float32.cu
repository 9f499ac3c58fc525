// Attention in float32 throughout, for `--dtype float32`: plain arithmetic, no tensor cores. A
// block of threads a token and head, whoever asks, so that prefill, chunk and decode cannot differ.
//   score[j] = one accumulator, fused multiply-adds over d ascending
//   Tiles of kTileKeys positions, from position 0: m = the running maximum, P[j] =
//     exp2((score[j] - m) c), a = exp2((m_old - m) c), c = scale * log2(e);
//     l = l a + sum of P (a butterfly over each 32 positions, then both);
//     o = o a, then one accumulator over positions ascending; out = o / l.
// Keys behind the token's position take no part. The cache's planes are float
// [num_blocks][heads][kKvCudaBlock][head_dim], and hold what was written: infinities stay.
#include <cuda_runtime.h>

#include "kernels/attention/attention_kernels.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kWarps = 2;
constexpr int kThreads = 32 * kWarps;  // one a position of the tile
static_assert(kThreads == kTileKeys);
constexpr int kEach = kCudaHeadDimMax / kThreads;  // elements of the output in a thread
constexpr float kLog2OfE = 1.44269504f;

struct SharedState {
  alignas(16) float query[kCudaHeadDimMax];
  float p[kTileKeys];
  float maxima[kWarps];
  float sums[kWarps];
};

// Both are the same in every thread; `warps` may be written again two barriers later.
__device__ __forceinline__ float BlockMax(float x, float (&warps)[kWarps]) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, lanes));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  return fmaxf(warps[0], warps[1]);
}
__device__ __forceinline__ float BlockSum(float x, float (&warps)[kWarps]) {
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, lanes));
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = x;
  __syncthreads();
  return __fadd_rn(warps[0], warps[1]);
}

// kQuadruples: dim is a multiple of 4. The order, and so the bits, are the same.
template <bool kQuadruples>
__device__ __forceinline__ float Score(const float* query, const float* key, int dim) {
  float s = 0;
  if constexpr (kQuadruples) {
#pragma unroll 8
    for (int d = 0; d < dim; d += 4) {
      const float4 q = *reinterpret_cast<const float4*>(query + d);
      const float4 k = *reinterpret_cast<const float4*>(key + d);
      s = __fmaf_rn(q.x, k.x, s), s = __fmaf_rn(q.y, k.y, s);
      s = __fmaf_rn(q.z, k.z, s), s = __fmaf_rn(q.w, k.w, s);
    }
  } else {
    for (int d = 0; d < dim; ++d) s = __fmaf_rn(query[d], key[d], s);
  }
  return s;
}

// A head's part of a plane, for one row.
struct HeadPlane {
  const float* plane;
  const int32_t* ids;  // the row's blocks
  int64_t heads, head;
  int dim;

  __device__ __forceinline__ const float* At(int position) const {
    const int64_t block = ids[position / kKvCudaBlock];
    return plane + ((block * heads + head) * kKvCudaBlock + position % kKvCudaBlock) * dim;
  }
};

// o = o a + P V over the tile's first `count` positions; this thread's elements.
__device__ __forceinline__ void AddValues(float (&o)[kEach], float a, const float* p,
                                          const HeadPlane& values, int first, int count) {
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int d = threadIdx.x + e * kThreads;
    if (d >= values.dim) break;
    float sum = __fmul_rn(o[e], a);
    for (int block = 0; block < count; block += kKvCudaBlock) {
      const float* v = values.At(first + block) + d;
      const int positions = min(count - block, kKvCudaBlock);
#pragma unroll 8
      for (int j = 0; j < positions; ++j) {
        sum = __fmaf_rn(p[block + j], v[static_cast<int64_t>(j) * values.dim], sum);
      }
    }
    o[e] = sum;
  }
}

// Grid: (tokens, heads).
template <bool kQuadruples>
__global__ void __launch_bounds__(kThreads)
    AttendKernel(const __grid_constant__ AttentionCudaArgs args, int64_t first_token,
                 const QueryTile* tiles) {
  __shared__ SharedState shared;
  int64_t token = first_token + blockIdx.x;
  AwaitPrevious();
  AllowNext();
  if (tiles != nullptr) {
    const QueryTile tile = tiles[blockIdx.x / kTileQueries];
    const int i = static_cast<int>(blockIdx.x % kTileQueries);
    if (i >= tile.count) return;
    token = tile.token + i;
  }
  const int dim = args.kv.head_dim, thread = threadIdx.x;
  const int64_t heads = args.kv.heads, head = blockIdx.y;
  const float* query = static_cast<const float*>(args.qkv) + token * args.qkv_stride + head * dim;
  for (int d = thread; d < dim; d += kThreads) shared.query[d] = query[d];
  __syncthreads();
  const int32_t* ids = args.block_table + args.token_row[token] * args.max_blocks;
  const HeadPlane keys = {static_cast<const float*>(args.kv.k), ids, heads, head, dim};
  const HeadPlane values = {static_cast<const float*>(args.kv.v), ids, heads, head, dim};
  const float c = __fmul_rn(args.scale, kLog2OfE);
  const int context = args.positions[token] + 1;
  float m = -INFINITY, l = 0, o[kEach] = {};
  for (int first = 0; first < context; first += kTileKeys) {
    const bool seen = first + thread < context;
    const float s =
        seen ? Score<kQuadruples>(shared.query, keys.At(first + thread), dim) : -INFINITY;
    const float m_new = fmaxf(m, BlockMax(s, shared.maxima));
    const float p = seen ? exp2f(__fmul_rn(s - m_new, c)) : 0.0f;
    const float a = exp2f(__fmul_rn(m - m_new, c));
    shared.p[thread] = p;
    l = __fmaf_rn(l, a, BlockSum(p, shared.sums));
    AddValues(o, a, shared.p, values, first, min(context - first, kTileKeys));
    m = m_new;
  }
  float* out = static_cast<float*>(args.out) + token * args.out_stride + head * dim;
#pragma unroll
  for (int e = 0; e < kEach; ++e) {
    const int d = thread + e * kThreads;
    if (d < dim) out[d] = __fadd_rn(__fdiv_rn(o[e], l), 0.0f);  // no -0
  }
}

// Grid: (elements of all heads / kWriteThreads, tokens).
constexpr int kWriteThreads = 256;
__global__ void __launch_bounds__(kWriteThreads)
    WriteKernel(const __grid_constant__ AttentionCudaArgs args) {
  const int64_t heads = args.kv.heads, dim = args.kv.head_dim, token = blockIdx.y;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWriteThreads + threadIdx.x;
  AwaitPrevious();
  AllowNext();
  if (i >= heads * dim) return;
  const int position = args.positions[token];
  const int64_t block =
      args.block_table[args.token_row[token] * args.max_blocks + position / kKvCudaBlock];
  const int64_t to =
      ((block * heads + i / dim) * kKvCudaBlock + position % kKvCudaBlock) * dim + i % dim;
  const float* qkv = static_cast<const float*>(args.qkv) + token * args.qkv_stride;
  static_cast<float*>(args.kv.k)[to] = qkv[heads * dim + i];
  static_cast<float*>(args.kv.v)[to] = qkv[2 * heads * dim + i];
}

}  // namespace

int WriteKvFloat32(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream) {
  const int64_t elements = static_cast<int64_t>(args.kv.heads) * args.kv.head_dim;
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>((elements + kWriteThreads - 1) / kWriteThreads),
                    static_cast<unsigned>(tokens));
  shape.threads = kWriteThreads;
  shape.dependent = args.dependent_launch;
  return Launch(stream, shape, WriteKernel, args);
}

int AttendFloat32(const AttentionCudaArgs& args, int64_t first, const QueryTile* tiles,
                  int64_t tokens, StreamRef stream) {
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>(tokens), static_cast<unsigned>(args.kv.heads));
  shape.threads = kThreads;
  shape.dependent = args.dependent_launch;
  const auto kernel = args.kv.head_dim % 4 == 0 ? AttendKernel<true> : AttendKernel<false>;
  return Launch(stream, shape, kernel, args, first, tiles);
}

}  // namespace pamir::kernels::cuda
