// Prefill with mma.sync, for devices from 8.0 on: tiles of up to 128 queries, 16 to a warp.
#include "kernels/attention/attention_prefill.cuh"
#include "kernels/attention/attention_ring.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kStages = 3;
template <bool kFp8>
using Ring = TileRing<kFp8, kThreads, kStages>;

// s = Q K^T of the warp's 16 queries and the tile's 64 keys.
template <int D>
__device__ __forceinline__ void Scores(float (&s)[8][4], const half* queries, const half* keys) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const uint32_t left =
      SharedAddress(queries + (warp * 2 + lane / 8 % 2) * D * 8 + (lane / 16) * 64 + lane % 8 * 8);
  const uint32_t right =
      SharedAddress(keys + (lane / 16) * D * 8 + (lane / 8 % 2) * 64 + lane % 8 * 8);
#pragma unroll
  for (int n = 0; n < 8; ++n) {
#pragma unroll
    for (int e = 0; e < 4; ++e) s[n][e] = 0;
  }
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    uint32_t a[4];
    LoadMatrices(a, left + step * 256);
#pragma unroll
    for (int block = 0; block < kTileBlocks; ++block) {
      uint32_t b[4];
      LoadMatrices(b, right + block * D * 32 + step * 256);
      Mma(s[2 * block], a, b[0], b[1]);
      Mma(s[2 * block + 1], a, b[2], b[3]);
    }
  }
}

// o += P V.
template <int D>
__device__ __forceinline__ void Values(float (&o)[D / 8][4], const float (&p)[8][4],
                                       const half* values) {
  const int lane = threadIdx.x % 32;
  const uint32_t right =
      SharedAddress(values + (lane / 8 % 2) * D * 8 + (lane / 16) * 64 + lane % 8 * 8);
#pragma unroll
  for (int step = 0; step < kTileBlocks; ++step) {
    uint32_t a[4];
    PackP(a, p, step);
#pragma unroll
    for (int pair = 0; pair < D / 16; ++pair) {
      uint32_t b[4];
      LoadMatricesTransposed(b, right + step * D * 32 + pair * 256);
      Mma(o[2 * pair], a, b[0], b[1]);
      Mma(o[2 * pair + 1], a, b[2], b[3]);
    }
  }
}

// Queries into shared memory, in the cache's order: [16][D / 8][8][8]; zeros behind the last.
template <int D>
__device__ __forceinline__ void CopyQueries(half* to, const half* from, int64_t stride, int count) {
  constexpr int kChunks = D / 8;
  for (int i = threadIdx.x; i < kTileQueries * kChunks; i += kThreads) {
    const int row = i / kChunks, chunk = i - row * kChunks;
    CopyAsync(to + (row / 8) * D * 8 + chunk * 64 + row % 8 * 8,
              row < count ? from + row * stride + chunk * 8 : from, row < count);
  }
}

template <int D, bool kFp8>
__global__ void __launch_bounds__(kThreads, 1)
    PrefillKernel(const __grid_constant__ PrefillCall call) {
  extern __shared__ __align__(128) half shared[];
  half* queries = shared;
  const Ring<kFp8> ring = {queries + kTileQueries * D, D};
  int* ids = reinterpret_cast<int*>(reinterpret_cast<char*>(ring.shared) + ring.Bytes(D));
  AwaitPrevious();
  AllowNext();
  const AttentionCudaArgs& args = call.args;
  const QueryTile tile = call.tiles[blockIdx.y];
  const int head = blockIdx.x, warp = threadIdx.x / 32;
  const int position = args.positions[tile.token];  // of the first query
  const int context = position + tile.count;
  const int key_tiles = (context + kTileKeys - 1) / kTileKeys;
  const int* row = args.block_table + args.token_row[tile.token] * args.max_blocks;
  for (int i = threadIdx.x; i * kKvCudaBlock < context; i += kThreads) ids[i] = row[i];
  CopyQueries<D>(queries,
                 static_cast<const half*>(args.qkv) + tile.token * args.qkv_stride + head * D,
                 args.qkv_stride, tile.count);
  __syncthreads();
  const auto copy = [&](int t) {
    if (t < key_tiles) {
      ring.Copy(args.kv, ids + t * kTileBlocks, head, t, t * kTileKeys, context);
    }
    CommitCopies();
  };
  copy(0);
  copy(1);
  const float c = args.scale * kLog2E;
  const int first_row = warp * 16;
  const int lane_position = position + first_row + threadIdx.x % 32 / 4;
  PrefillState<D> state;
  state.Begin();
#pragma unroll 1
  for (int t = 0; t < key_tiles; ++t) {
    AwaitCopies<1>();
    __syncthreads();  // the tile is there, and everybody is done with tile t - 1
    copy(t + 2);
    if (t % kSplitTiles == 0) state.BeginSplit(), state.ClearO();
    const int first_key = t * kTileKeys;
    const half* keys = ring.Tile(t, first_key, context);
    if (first_key <= position + first_row + 15) {
      float s[8][4], a[2];
      Scores<D>(s, queries, keys);
      if (first_key + kTileKeys - 1 > position + first_row) MaskTile(s, first_key, lane_position);
      state.Softmax(s, a, c);
      state.ScaleO(a);
      Values<D>(state.o, s, keys + kTileKeys * D);
    }
    if (t % kSplitTiles == kSplitTiles - 1 || t == key_tiles - 1) {
      SplitFactors f[2];
      state.AddSplits(f, c);
      state.AddO(f);
    }
  }
  StoreOutput<false>(state, args, tile.token, head, first_row, tile.count);
}

template <int D, bool kFp8>
int LaunchType(const PrefillCall& call, int64_t count, int64_t context_max, StreamRef stream) {
  Shape shape;
  shape.grid = dim3(call.args.kv.heads, static_cast<unsigned>(count));
  shape.threads = kThreads;
  shape.shared_bytes = sizeof(half) * D * kTileQueries + Ring<kFp8>::Bytes(D) +
                       sizeof(int) * ((context_max + kTileKeys - 1) / kTileKeys * kTileBlocks);
  shape.dependent = call.args.dependent_launch;
  return Launch(stream, shape, PrefillKernel<D, kFp8>, call);
}

template <int D>
int LaunchDim(const PrefillCall& call, int64_t count, int64_t context_max, StreamRef stream) {
  return call.args.kv.fp8 ? LaunchType<D, true>(call, count, context_max, stream)
                          : LaunchType<D, false>(call, count, context_max, stream);
}

}  // namespace

int LaunchPrefillMma(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                     int64_t context_max, StreamRef stream) {
  const PrefillCall call = {args, tiles};
  switch (args.kv.head_dim) {
    case 64:
      return LaunchDim<64>(call, count, context_max, stream);
    case 80:
      return LaunchDim<80>(call, count, context_max, stream);
    case 128:
      return LaunchDim<128>(call, count, context_max, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace pamir::kernels::cuda
