// What a block of threads of the decode kernel for Hopper is made of (attention_decode_hopper.cu).
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_DECODE_PARTS_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_DECODE_PARTS_CUH_

#include "kernels/attention/attention_cluster.cuh"
#include "kernels/attention/attention_kernels.cuh"
#include "kernels/attention/attention_mma.cuh"

namespace pamir::kernels::cuda {

inline constexpr int kDecodeConsumers = 128;  // threads that multiply
inline constexpr int kDecodeWarps = kDecodeConsumers / 32;
inline constexpr int kDecodeRingBytes = 96 * 1024;
inline constexpr int kDecodeStagesMax = 12;
static_assert(kSplitTiles == kDecodeWarps);

template <int D>
struct Layout {
  static constexpr int kTileHalves = kTileKeys * D;  // a stage: keys or values of a tile
  static constexpr int kStages = kDecodeRingBytes / (kTileHalves * 2);  // where two blocks share
  static_assert(kStages <= kDecodeStagesMax && 2 * kSplitTiles <= kDecodeStagesMax);
  static constexpr int kPairs =
      (D / 16 + kDecodeWarps - 1) / kDecodeWarps;  // of 16 columns of V, for a warp
  static constexpr int kRow = D + 4;               // a split's sums: o, m, l
};

// What warps tell each other about a split. By lane mod 4; rows padded against bank conflicts.
struct Exchange {
  alignas(16) uint32_t p[4][kSplitTiles * 8 + 4];  // [tile][step][lower, upper 8 keys]
  alignas(16) float sums[4][kSplitTiles * 8 + 4];  // [tile][n]: P of keys 8 n + 2 t + {0, 1}
  float maxima[kSplitTiles];
};

struct Barriers {
  uint64_t full[kDecodeStagesMax], empty[kDecodeStagesMax];
  uint64_t arrived[2];  // all sums of a token and head
  uint64_t window[2];   // as many (token, head) as the cluster has blocks are done
};

// Where a ring's next stage is.
struct Cursor {
  int stages, slot = 0, parity = 0;
  __device__ __forceinline__ void Step(int by = 1) {
    slot += by;
    if (slot >= stages) slot -= stages, parity ^= 1;
  }
};

// A token and head. What is loaded for it is asked for long before it is used.
struct Item {
  int token, head;
  int position, row;  // of the block table
  __device__ __forceinline__ int Splits() const { return position / kSplitKeys + 1; }
};

template <int D>
struct Block {
  const DecodeCall& call;
  half* ring;
  float* inbox;  // [2][splits_max][kRow]
  Exchange& exchange;
  Barriers& barriers;
  int stages;
  int rank, size;         // in the cluster
  int cluster, clusters;  // of the grid
  int count;              // of the cluster's items

  __device__ __forceinline__ Item ItemOf(int k) const {
    const int i = cluster + k * clusters, heads = call.args.kv.heads;
    Item item;
    item.token = static_cast<int>(call.first) + i / heads;
    item.head = i % heads;
    item.position = call.args.positions[item.token];
    item.row = call.args.token_row[item.token];
    return item;
  }
  // The first of the block's splits of item k; they are `size` apart. Block k mod size leads.
  __device__ __forceinline__ int FirstSplit(int k) const { return (rank + size - k % size) % size; }
  __device__ __forceinline__ const int* Ids(const Item& item) const {
    return call.args.block_table + item.row * call.args.max_blocks;
  }
  __device__ __forceinline__ int64_t PlaneAt(int id, int head) const {
    return (static_cast<int64_t>(id) * call.args.kv.heads + head) * (kKvCudaBlock * D);
  }
  __device__ __forceinline__ uint32_t Full(int slot) const {
    return SharedAddress(&barriers.full[slot]);
  }
  __device__ __forceinline__ uint32_t Empty(int slot) const {
    return SharedAddress(&barriers.empty[slot]);
  }
  __device__ __forceinline__ half* Stage(int slot) const {
    return ring + slot * Layout<D>::kTileHalves;
  }
};

// The query as the left operand of each step, and what the token adds to the cache itself.
template <int D>
struct Token {
  uint32_t q[D / 16][2];
  uint4 k;                     // chunk `lane`
  uint4 v[Layout<D>::kPairs];  // lanes of its position: the chunk that VChunk names
  int64_t block;               // of its position, in the planes
};

// In the warp's columns of V, lane i cares for position i mod 16 of a block, and for this chunk.
__device__ __forceinline__ int VChunk(int pair) {
  return (threadIdx.x / 32 + kDecodeWarps * pair) * 2 + threadIdx.x % 32 / 16;
}

// After AwaitPrevious().
template <int D>
__device__ __forceinline__ void LoadToken(Token<D>& token, const Block<D>& b, const Item& item,
                                          bool own) {
  const AttentionCudaArgs& args = b.call.args;
  const int lane = threadIdx.x % 32;
  const uint16_t* q = static_cast<const uint16_t*>(args.qkv) + item.token * args.qkv_stride +
                      static_cast<int64_t>(item.head) * D;
#pragma unroll
  for (int s = 0; s < D / 16; ++s) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const uint16_t* at = q + s * 16 + e * 8 + lane % 4 * 2;
      token.q[s][e] = __ldcg(reinterpret_cast<const unsigned*>(at));
    }
  }
  if (!own) return;
  const int64_t part = static_cast<int64_t>(args.kv.heads) * D;
  if (lane < D / 8) token.k = KvChunk(q + part, lane * 8, D);
#pragma unroll
  for (int i = 0; i < Layout<D>::kPairs; ++i) {
    if (lane % 16 == item.position % 16 && VChunk(i) < D / 8) {
      token.v[i] = KvChunk(q + 2 * part, VChunk(i) * 8, D);
    }
  }
}

// The token's own key, into the last tile. By the warp that has the tile.
template <int D>
__device__ __forceinline__ void PutKey(const Token<D>& token, half* tile, int position) {
  const int lane = threadIdx.x % 32;
  half* block = tile + position % kTileKeys / kKvCudaBlock * (kKvCudaBlock * D);
  if (lane < D / 8) {
    *reinterpret_cast<uint4*>(block + ChunkOffset(position, lane, D)) = token.k;
  }
  __syncwarp();
}

// Of the warp's columns in the last tile: zeros behind the token's position in its block, and its
// own value.
template <int D>
__device__ __forceinline__ void PutValue(const Token<D>& token, half* tile, int position,
                                         bool own) {
  const int row = threadIdx.x % 16, last = position % 16;
  half* block = tile + position % kTileKeys / kKvCudaBlock * (kKvCudaBlock * D);
#pragma unroll
  for (int i = 0; i < Layout<D>::kPairs; ++i) {
    if (VChunk(i) >= D / 8) break;
    uint4* to = reinterpret_cast<uint4*>(block + ChunkOffset(row, VChunk(i), D));
    if (row > last) *to = uint4{0, 0, 0, 0};
    if (row == last && own) *to = token.v[i];
  }
  __syncwarp();
}

// The token's own key and value, into the cache.
template <int D>
__device__ __forceinline__ void StoreOwn(const Token<D>& token, const Block<D>& b, int position) {
  const KvCuda& kv = b.call.args.kv;
  const auto store = [&](void* plane, int chunk, const uint4& value) {
    half* block = static_cast<half*>(plane) + token.block;
    *reinterpret_cast<uint4*>(block + ChunkOffset(position, chunk, D)) = value;
  };
  if (threadIdx.x < D / 8) store(kv.k, threadIdx.x, token.k);
#pragma unroll
  for (int i = 0; i < Layout<D>::kPairs; ++i) {
    if (threadIdx.x % 16 == position % 16 && VChunk(i) < D / 8) store(kv.v, VChunk(i), token.v[i]);
  }
}

// Scores of a tile; keys from `valid` on are masked. All 16 rows of the left operand are the query,
// so s[n][2] and s[n][3] repeat s[n][0] and s[n][1].
template <int D>
__device__ __forceinline__ void Scores(float (&s)[8][4], const Token<D>& token, const half* keys,
                                       int valid) {
  const int lane = threadIdx.x % 32;
  const uint32_t address =
      SharedAddress(keys + (lane / 16) * D * 8 + (lane / 8 % 2) * 64 + lane % 8 * 8);
#pragma unroll
  for (int i = 0; i < 32; ++i) s[i / 4][i % 4] = 0;
#pragma unroll
  for (int step = 0; step < D / 16; ++step) {
    const uint32_t a[4] = {token.q[step][0], token.q[step][0], token.q[step][1], token.q[step][1]};
#pragma unroll
    for (int block = 0; block < kTileBlocks; ++block) {
      uint32_t k[4];
      LoadMatrices(k, address + block * D * 32 + step * 256);
      Mma(s[2 * block], a, k[0], k[1]);
      Mma(s[2 * block + 1], a, k[2], k[3]);
    }
  }
  if (valid >= kTileKeys) return;
#pragma unroll
  for (int i = 0; i < 16; ++i) {
    if (i / 2 * 8 + lane % 4 * 2 + i % 2 >= valid) s[i / 2][i % 2] = -INFINITY;
  }
}

// P of a tile to the other warps: rounded, and the sums of neighbours.
__device__ __forceinline__ void ShareP(Exchange& exchange, const float (&s)[8][4], int tile,
                                       float c, float shift) {
  uint32_t p[8];
  float sums[8];
#pragma unroll
  for (int n = 0; n < 8; ++n) {
    const float p0 = Exp2(__fmaf_rn(s[n][0], c, shift)), p1 = Exp2(__fmaf_rn(s[n][1], c, shift));
    p[n] = PackHalves(p0, p1);
    sums[n] = __fadd_rn(p0, p1);
  }
  const int t = threadIdx.x % 32;
  if (t >= 4) return;
#pragma unroll
  for (int n = 0; n < 8; n += 4) {
    *reinterpret_cast<uint4*>(&exchange.p[t][tile * 8 + n]) = {p[n], p[n + 1], p[n + 2], p[n + 3]};
    *reinterpret_cast<float4*>(&exchange.sums[t][tile * 8 + n]) = {sums[n], sums[n + 1],
                                                                   sums[n + 2], sums[n + 3]};
  }
}

// A split's sums, of the warp's columns.
template <int D>
struct Sums {
  float o[Layout<D>::kPairs][2][4] = {};
  float m = -INFINITY, l = 0;
};

// o = o a + P V, l = l a + sum of P, for one tile. kWhole: all its blocks are there, not only the
// first `blocks`.
template <int D, bool kWhole>
__device__ __forceinline__ void Values(Sums<D>& sums, const Exchange& exchange, int tile, float a,
                                       const half* values, int blocks) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int i = 0; i < Layout<D>::kPairs * 8; ++i) {
    float& o = sums.o[i / 8][i / 4 % 2][i % 4];
    o = __fmul_rn(o, a);
  }
  sums.l = __fmul_rn(sums.l, a);
  const uint32_t address =
      SharedAddress(values + (lane / 8 % 2) * D * 8 + (lane / 16) * 64 + lane % 8 * 8);
#pragma unroll
  for (int half_tile = 0; half_tile < 2; ++half_tile) {
    const int word = tile * 8 + half_tile * 4;
    const uint4 p = *reinterpret_cast<const uint4*>(&exchange.p[lane % 4][word]);
    const float4 x = *reinterpret_cast<const float4*>(&exchange.sums[lane % 4][word]);
    sums.l = __fadd_rn(__fadd_rn(sums.l, x.x), x.y);
    sums.l = __fadd_rn(__fadd_rn(sums.l, x.z), x.w);
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int step = half_tile * 2 + e;
      const uint32_t low = e == 0 ? p.x : p.z, high = e == 0 ? p.y : p.w;
      const uint32_t left[4] = {low, low, high, high};
#pragma unroll
      for (int i = 0; i < Layout<D>::kPairs; ++i) {
        const int pair = warp + kDecodeWarps * i;
        if (pair * 16 >= D) break;
        uint32_t v[4] = {0, 0, 0, 0};
        if (kWhole || step < blocks) {
          LoadMatricesTransposed(v, address + step * D * 32 + pair * 256);
        }
        Mma(sums.o[i][0], left, v[0], v[1]);
        Mma(sums.o[i][1], left, v[2], v[3]);
      }
    }
  }
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_DECODE_PARTS_CUH_
