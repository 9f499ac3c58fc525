// Attention of tiles of up to 128 queries, 16 to a warp; `Way` says how the tensor cores are
// driven.
//   Way::Scores(s, queries, keys): s = Q K^T of the warp's 16 queries and the tile's 64 keys
//   Way::Values(o, p, values): o += P V
//   Way::kWarps: warps that must take part together (masked tiles are passed over together)
//   Way::PublishCopies(): makes this thread's copies visible to the multiplications
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_CUH_

#include "kernels/attention/attention_kernels.cuh"
#include "kernels/attention/attention_mma.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels::cuda {

inline constexpr int kPrefillThreads = 256;
inline constexpr int kPrefillStages = 3;

struct PrefillCall {
  AttentionCudaArgs args;
  const QueryTile* tiles = nullptr;
};

// One split under way and what was added up before it, of a lane's two queries.
template <int D>
struct PrefillState {
  float o[D / 8][4];
  float total_o[D / 8][4] = {};
  float m[2], l[2];
  float total_m[2] = {-INFINITY, -INFINITY}, total_l[2] = {0, 0};

  __device__ __forceinline__ void BeginSplit() {
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[n][e] = 0;
    }
    m[0] = m[1] = -INFINITY;
    l[0] = l[1] = 0;
  }

  __device__ __forceinline__ void EndSplit(float c) {
    const SplitFactors f0 = AddSplit(total_m[0], total_l[0], m[0], QuadSum(l[0]), c);
    const SplitFactors f1 = AddSplit(total_m[1], total_l[1], m[1], QuadSum(l[1]), c);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        total_o[n][e] = AddSplitOutput(total_o[n][e], o[n][e], e < 2 ? f0 : f1);
      }
    }
  }

  // s: the tile's scores; becomes P. Rescales o.
  __device__ __forceinline__ void Softmax(float (&s)[8][4], float c) {
    const float a0 = SoftmaxTile<0>(s, m[0], l[0], c);
    const float a1 = SoftmaxTile<2>(s, m[1], l[1], c);
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
#pragma unroll
      for (int e = 0; e < 4; ++e) o[n][e] = __fmul_rn(o[n][e], e < 2 ? a0 : a1);
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

// Queries into shared memory, in the cache's order: [16][D / 8][8][8]; zeros behind the last.
template <int D>
__device__ __forceinline__ void CopyQueries(half* to, const half* from, int64_t stride, int count) {
  constexpr int kChunks = D / 8;
  for (int i = threadIdx.x; i < kTileQueries * kChunks; i += kPrefillThreads) {
    const int row = i / kChunks, chunk = i - row * kChunks;
    CopyAsync(to + (row / 8) * D * 8 + chunk * 64 + row % 8 * 8,
              row < count ? from + row * stride + chunk * 8 : from, row < count);
  }
}

template <int D>
__device__ __forceinline__ void StoreOutput(const PrefillState<D>& state, half* out, int64_t stride,
                                            int first_row, int count) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + threadIdx.x % 32 / 4 + r * 8;
    if (row >= count) continue;
    const float inverse = 1.0f / state.total_l[r];
    half* to = out + row * stride + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      *reinterpret_cast<uint32_t*>(to + n * 8) =
          PackHalves(__fmul_rn(state.total_o[n][2 * r], inverse),
                     __fmul_rn(state.total_o[n][2 * r + 1], inverse));
    }
  }
}

template <int D>
constexpr size_t PrefillSharedBytes(int64_t context_max) {
  return sizeof(half) * D * (kTileQueries + kPrefillStages * 2 * kTileKeys) +
         sizeof(int) * ((context_max + kTileKeys - 1) / kTileKeys * kTileBlocks);
}

template <int D, typename Way>
__global__ void __launch_bounds__(kPrefillThreads, 1)
    PrefillKernel(const __grid_constant__ PrefillCall call) {
  extern __shared__ __align__(128) half shared[];
  half* queries = shared;
  half* stages = queries + kTileQueries * D;
  constexpr int kPlane = kTileKeys * D;
  int* ids = reinterpret_cast<int*>(stages + kPrefillStages * 2 * kPlane);
  AwaitPrevious();
  AllowNext();
  const AttentionCudaArgs& args = call.args;
  const QueryTile tile = call.tiles[blockIdx.y];
  const int head = blockIdx.x, warp = threadIdx.x / 32;
  const int position = args.positions[tile.token];  // of the first query
  const int context = position + tile.count;
  const int key_tiles = (context + kTileKeys - 1) / kTileKeys;
  const int* row = args.block_table + args.token_row[tile.token] * args.max_blocks;
  for (int i = threadIdx.x; i * kKvCudaBlock < context; i += kPrefillThreads) ids[i] = row[i];
  CopyQueries<D>(queries,
                 static_cast<const half*>(args.qkv) + tile.token * args.qkv_stride + head * D,
                 args.qkv_stride, tile.count);
  __syncthreads();
  const auto copy = [&](int t) {
    if (t < key_tiles) {
      CopyStage<kPrefillThreads>(stages + t % kPrefillStages * 2 * kPlane, args.kv,
                                 ids + t * kTileBlocks, head, D, t * kTileKeys, context);
    }
    CommitCopies();
  };
  copy(0);
  copy(1);
  const float c = args.scale * kLog2E;
  const int first_row = warp * 16;
  const int first_together = warp / Way::kWarps * Way::kWarps * 16;
  const int last_position = position + first_together + Way::kWarps * 16 - 1;
  const int lane_position = position + first_row + threadIdx.x % 32 / 4;
  PrefillState<D> state;
#pragma unroll 1
  for (int t = 0; t < key_tiles; ++t) {
    AwaitCopies<1>();
    Way::PublishCopies();
    __syncthreads();  // the tile is there, and everybody is done with tile t - 1
    copy(t + 2);
    if (t % kSplitTiles == 0) state.BeginSplit();
    const int first_key = t * kTileKeys;
    if (first_key <= last_position) {
      const half* keys = stages + t % kPrefillStages * 2 * kPlane;
      float s[8][4];
      Way::Scores(s, queries, keys);
      if (first_key + kTileKeys - 1 > position + first_row) MaskTile(s, first_key, lane_position);
      state.Softmax(s, c);
      Way::Values(state.o, s, keys + kPlane);
    }
    if (t % kSplitTiles == kSplitTiles - 1 || t == key_tiles - 1) state.EndSplit(c);
  }
  half* out = static_cast<half*>(args.out) + tile.token * args.out_stride + head * D;
  StoreOutput<D>(state, out, args.out_stride, first_row, tile.count);
}

template <int D, typename Way>
int LaunchPrefill(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                  int64_t context_max, StreamRef stream) {
  Shape shape;
  shape.grid = dim3(args.kv.heads, static_cast<unsigned>(count));
  shape.threads = kPrefillThreads;
  shape.shared_bytes = PrefillSharedBytes<D>(context_max);
  shape.dependent = args.dependent_launch;
  return Launch(stream, shape, PrefillKernel<D, Way>, PrefillCall{args, tiles});
}

template <template <int> typename Way>
int LaunchPrefillDim(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                     int64_t context_max, StreamRef stream) {
  switch (args.kv.head_dim) {
    case 64:
      return LaunchPrefill<64, Way<64>>(args, tiles, count, context_max, stream);
    case 80:
      return LaunchPrefill<80, Way<80>>(args, tiles, count, context_max, stream);
    case 128:
      return LaunchPrefill<128, Way<128>>(args, tiles, count, context_max, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_CUH_
