// Attention of single tokens on any device: a block of threads for one split of one head, so that
// few tokens with long contexts still fill the device. Bound by reading the cache.
//
// All 16 rows of the tensor cores' left operand hold the same query. Per tile, warp w multiplies
// the keys of block w and hands its 16 scores to the others; then every warp does the softmax for
// itself and multiplies its share of V's columns.
#include "kernels/attention/attention_kernels.cuh"
#include "kernels/attention/attention_mma.cuh"
#include "kernels/attention/attention_ring.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kStages = 3;
template <bool kFp8>
using Ring = TileRing<kFp8, kThreads, kStages>;

// What a block of threads works on.
struct Work {
  int token;
  int head;
  int split;
  int splits;   // of this token
  int context;  // keys of this token
  int dim;      // padded
};

template <int D>
struct Limits {
  static constexpr int kSteps = D / 16;
  static constexpr int kPairs = (kSteps + 3) / 4;  // of V's columns, 16 each, for a warp
};

// The query, as the left operand of each step; zeros behind head_dim.
template <int D>
__device__ __forceinline__ void LoadQuery(uint32_t (&q)[Limits<D>::kSteps][2], const half* from,
                                          int head_dim) {
  const int t = threadIdx.x % 4;
  const auto load = [&](int d) {
    const half zero = __float2half(0.0f);
    const half2 pair =
        __halves2half2(d < head_dim ? from[d] : zero, d + 1 < head_dim ? from[d + 1] : zero);
    return *reinterpret_cast<const uint32_t*>(&pair);
  };
#pragma unroll
  for (int s = 0; s < Limits<D>::kSteps; ++s) {
    q[s][0] = load(s * 16 + 2 * t);
    q[s][1] = load(s * 16 + 8 + 2 * t);
  }
}

// Scores of the warp's 16 keys into scores[0 .. 15]; keys from `valid` on are masked.
template <int D>
__device__ __forceinline__ void Scores(float* scores, const uint32_t (&q)[Limits<D>::kSteps][2],
                                       const half* keys, int dim, int valid) {
  const int lane = threadIdx.x % 32;
  const uint32_t address =
      SharedAddress(keys + (lane / 16) * dim * 8 + (lane / 8 % 2) * 64 + lane % 8 * 8);
  float c[2][4] = {};
#pragma unroll
  for (int s = 0; s < Limits<D>::kSteps; ++s) {
    if (s * 16 >= dim) break;
    uint32_t b[4];
    LoadMatrices(b, address + s * 256);
    const uint32_t a[4] = {q[s][0], q[s][0], q[s][1], q[s][1]};
    Mma(c[0], a, b[0], b[1]);
    Mma(c[1], a, b[2], b[3]);
  }
  if (lane >= 4) return;
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int key = n * 8 + lane * 2 + e;
      scores[key] = key < valid ? c[n][e] : -INFINITY;
    }
  }
}

// o = o a + P V for the warp's columns: pairs warp, warp + 4, ...
template <int D>
__device__ __forceinline__ void Values(float (&o)[Limits<D>::kPairs][2][4], const float (&p)[8][4],
                                       float a, const half* values, int dim) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < Limits<D>::kPairs; ++i) {
#pragma unroll
    for (int e = 0; e < 8; ++e) o[i][e / 4][e % 4] = __fmul_rn(o[i][e / 4][e % 4], a);
  }
  const uint32_t address =
      SharedAddress(values + (lane / 8 % 2) * dim * 8 + (lane / 16) * 64 + lane % 8 * 8);
#pragma unroll
  for (int s = 0; s < kTileBlocks; ++s) {
    uint32_t left[4];
    PackP(left, p, s);
#pragma unroll
    for (int i = 0; i < Limits<D>::kPairs; ++i) {
      const int pair = warp + 4 * i;
      if (pair * 16 >= dim) break;
      uint32_t b[4];
      LoadMatricesTransposed(b, address + s * dim * 32 + pair * 256);
      Mma(o[i][0], left, b[0], b[1]);
      Mma(o[i][1], left, b[2], b[3]);
    }
  }
}

// Where a token's splits leave (m, l) and o until the last one is there.
struct Partials {
  float2* ml;  // [splits]
  float* o;    // [splits][dim]
};
__device__ __forceinline__ Partials PartialsOf(const DecodeCall& call, const Work& w) {
  const int64_t first =
      (static_cast<int64_t>(blockIdx.z) * gridDim.y + w.head) * gridDim.x;  // splits_max apart
  return {call.partial_ml + first, call.partial_o + first * w.dim};
}

// The last of a token's splits to finish adds them all, in ascending order.
__device__ __forceinline__ void AddSplits(const DecodeCall& call, const Work& w,
                                          const Partials& partials) {
  const float c = call.args.scale * kLog2E;
  const int d = threadIdx.x * 2;
  float m = -INFINITY, l = 0, o0 = 0, o1 = 0;
#pragma unroll 4
  for (int s = 0; s < w.splits; ++s) {
    const float2 ml = __ldcg(partials.ml + s);
    float2 o = {0, 0};
    if (d < w.dim) o = __ldcg(reinterpret_cast<const float2*>(partials.o + s * w.dim + d));
    const SplitFactors f = AddSplit(m, l, ml.x, ml.y, c);
    o0 = AddSplitOutput(o0, o.x, f);
    o1 = AddSplitOutput(o1, o.y, f);
  }
  const float inverse = 1.0f / l;
  const int head_dim = call.args.kv.head_dim;
  const int64_t at = w.token * call.args.out_stride + static_cast<int64_t>(w.head) * head_dim + d;
  const auto store = [&](int64_t index, float value) {
    StoreElement(call.args.out, call.args.out_type, index, value);
  };
  if (d < head_dim) store(at, __fmul_rn(o0, inverse));
  if (d + 1 < head_dim) store(at + 1, __fmul_rn(o1, inverse));
}

template <int D>
__device__ __forceinline__ void Finish(const DecodeCall& call, const Work& w, float m, float l,
                                       const float (&o)[Limits<D>::kPairs][2][4]) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Partials partials = PartialsOf(call, w);
  if (lane < 4) {
    float* to = partials.o + w.split * w.dim;
#pragma unroll
    for (int i = 0; i < Limits<D>::kPairs; ++i) {
      const int d = (warp + 4 * i) * 16 + lane * 2;
      if (d >= w.dim) break;
      __stcg(reinterpret_cast<float2*>(to + d), make_float2(o[i][0][0], o[i][0][1]));
      __stcg(reinterpret_cast<float2*>(to + d + 8), make_float2(o[i][1][0], o[i][1][1]));
    }
  }
  if (threadIdx.x == 0) __stcg(partials.ml + w.split, make_float2(m, l));
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    // Wraps to 0 at the token's last split: ready for the next call.
    unsigned* counter = call.counters + static_cast<int64_t>(blockIdx.z) * gridDim.y + w.head;
    last = atomicInc(counter, w.splits - 1) == static_cast<unsigned>(w.splits - 1);
    __threadfence();
  }
  __syncthreads();
  if (!last) return;
  AddSplits(call, w, partials);
}

// The token's own k and v, from qkv to the cache and to the tile in shared memory that has its
// position. block: the id of the position's block.
template <bool kFp8>
__device__ __forceinline__ void PutOwn(const AttentionCudaArgs& args, const Work& w, half* keys,
                                       int block) {
  // In fp8 a warp has one of the two whole; a lane without a chunk still helps to find its scale.
  const int chunks = w.dim / 8, lanes = kFp8 ? 32 : chunks, i = threadIdx.x;
  if (i >= 2 * lanes) return;
  const int part = i / lanes, chunk = i - part * lanes;  // k, v
  const uint16_t* from =
      static_cast<const uint16_t*>(args.qkv) + w.token * args.qkv_stride +
      (static_cast<int64_t>(part + 1) * args.kv.heads + w.head) * args.kv.head_dim;
  const int position = w.context - 1, at = ChunkOffset(position, chunk, w.dim);
  void* plane = part == 0 ? args.kv.k : args.kv.v;
  uint4 own;
  if constexpr (kFp8) {
    own = StoreFp8(Fp8Block(plane, block, args.kv.heads, w.head, w.dim), from, position, w.dim,
                   args.kv.head_dim);
    if (chunk >= chunks) return;
  } else {
    own = KvChunk(from, chunk * 8, args.kv.head_dim);
    half* to = static_cast<half*>(plane);
    to += (static_cast<int64_t>(block) * args.kv.heads + w.head) * (kKvCudaBlock * w.dim);
    *reinterpret_cast<uint4*>(to + at) = own;
  }
  const int tile_block = position % kTileKeys / kKvCudaBlock;
  half* tile = keys + (part * kTileKeys + tile_block * kKvCudaBlock) * w.dim;
  *reinterpret_cast<uint4*>(tile + at) = own;
}

template <int D, bool kFp8>
__device__ __forceinline__ void Attend(const DecodeCall& call, const Work& w,
                                       const Ring<kFp8>& ring, const int* ids,
                                       float (*scores)[kTileKeys]) {
  const AttentionCudaArgs& args = call.args;
  const int dim = w.dim, warp = threadIdx.x / 32;
  const int first = w.split * kSplitKeys;
  const int tiles = (min(w.context - first, kSplitKeys) + kTileKeys - 1) / kTileKeys;
  const int plane = kTileKeys * dim;
  const int stored = w.context - (args.write_kv ? 1 : 0);  // keys to be read from the cache
  const bool own = args.write_kv && w.split == w.splits - 1;
  const auto copy = [&](int tile) {
    if (tile < tiles) {
      ring.Copy(args.kv, ids + tile * kTileBlocks, w.head, tile, first + tile * kTileKeys, stored);
    }
    CommitCopies();
  };
  for (int tile = 0; tile < kStages; ++tile) copy(tile);
  uint32_t q[Limits<D>::kSteps][2];
  LoadQuery<D>(q,
               static_cast<const half*>(args.qkv) + w.token * args.qkv_stride +
                   static_cast<int64_t>(w.head) * args.kv.head_dim,
               args.kv.head_dim);
  const float c = args.scale * kLog2E;
  float m = -INFINITY, l = 0;
  float o[Limits<D>::kPairs][2][4] = {};
#pragma unroll 1
  for (int tile = 0; tile < tiles; ++tile) {
    AwaitCopies<kStages - 1>();
    __syncthreads();
    half* keys = ring.Tile(tile, first + tile * kTileKeys, stored);
    if (own && tile == tiles - 1) {
      PutOwn<kFp8>(args, w, keys, ids[(w.context - 1 - first) / kKvCudaBlock]);
      __syncthreads();
    }
    float* row = scores[tile % 2];
    Scores<D>(row + warp * 16, q, keys + warp * 16 * dim, dim,
              w.context - first - tile * kTileKeys - warp * 16);
    __syncthreads();
    float p[8][4];
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const float2 s = *reinterpret_cast<const float2*>(row + n * 8 + threadIdx.x % 4 * 2);
      p[n][0] = s.x, p[n][1] = s.y;
    }
    const float a = SoftmaxTile<0>(p, m, l, c);
#pragma unroll
    for (int n = 0; n < 8; ++n) p[n][2] = p[n][0], p[n][3] = p[n][1];
    Values<D>(o, p, a, keys + plane, dim);
    if (tile + kStages < tiles) __syncthreads();
    copy(tile + kStages);
  }
  Finish<D>(call, w, m, QuadSum(l), o);
}

// D: the padded head dim, or kCudaHeadDimMax for any up to it.
template <int D, bool kFp8>
__global__ void __launch_bounds__(kThreads) DecodeKernel(const __grid_constant__ DecodeCall call) {
  extern __shared__ __align__(128) half stages[];
  __shared__ __align__(16) float scores[2][kTileKeys];  // read as float2
  __shared__ int ids[kSplitKeys / kKvCudaBlock];
  AwaitPrevious();
  AllowNext();
  const AttentionCudaArgs& args = call.args;
  Work w;
  w.token = static_cast<int>(call.first + blockIdx.z);
  if (call.tiles != nullptr) {
    const QueryTile tile = call.tiles[blockIdx.z / kTileQueries];
    if (blockIdx.z % kTileQueries >= tile.count) return;
    w.token = tile.token + blockIdx.z % kTileQueries;
  }
  w.head = blockIdx.y;
  w.split = blockIdx.x;
  w.context = args.positions[w.token] + 1;
  w.splits = (w.context + kSplitKeys - 1) / kSplitKeys;
  w.dim = D < kCudaHeadDimMax ? D : call.dim;
  if (w.split >= w.splits) return;
  constexpr int kBlocks = kSplitKeys / kKvCudaBlock;
  if (threadIdx.x < kBlocks) {
    const int block = w.split * kBlocks + threadIdx.x;
    const int* row = args.block_table + args.token_row[w.token] * args.max_blocks;
    ids[threadIdx.x] = block * kKvCudaBlock < w.context ? row[block] : 0;
  }
  __syncthreads();
  Attend<D, kFp8>(call, w, {stages, w.dim}, ids, scores);
}

template <int D, bool kFp8>
int LaunchType(const DecodeCall& call, int64_t tokens, StreamRef stream) {
  Shape shape;
  shape.grid = dim3(call.splits_max, call.args.kv.heads, static_cast<unsigned>(tokens));
  shape.threads = kThreads;
  shape.shared_bytes = Ring<kFp8>::Bytes(call.dim);
  shape.dependent = call.args.dependent_launch;
  return Launch(stream, shape, DecodeKernel<D, kFp8>, call);
}

template <int D>
int LaunchDim(const DecodeCall& call, int64_t tokens, StreamRef stream) {
  return call.args.kv.fp8 ? LaunchType<D, true>(call, tokens, stream)
                          : LaunchType<D, false>(call, tokens, stream);
}

}  // namespace

int LaunchDecode(const DecodeCall& call, int64_t tokens, StreamRef stream) {
  switch (call.dim) {
    case 64:
      return LaunchDim<64>(call, tokens, stream);
    case 80:
      return LaunchDim<80>(call, tokens, stream);
    case 128:
      return LaunchDim<128>(call, tokens, stream);
    default:
      return LaunchDim<kCudaHeadDimMax>(call, tokens, stream);
  }
}

}  // namespace pamir::kernels::cuda
