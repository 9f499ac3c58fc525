// Decode on Hopper, head dim 64, 80 and 128. A cluster of 1 to 8 blocks takes one (token, head)
// after the other; its splits go around the blocks. In each block one warp fetches tiles of K and
// V, as they lie in the cache, far ahead into a ring in shared memory, across the borders of splits
// and tokens; four warps multiply. A split's sums go to the block that leads the token and head,
// which adds all splits in ascending order. How many blocks share the work changes no bit.
//
// The four warps and a split: warp w multiplies the keys of tile w; the tiles' maxima are
// exchanged, and every warp follows the running maximum; warp w makes P of tile w; P is exchanged,
// and every warp multiplies its share of V's columns.
//
// With write_kv the ring is filled before the kernel that writes qkv has ended: what it then holds
// of the token's own position is replaced from qkv.
#include <algorithm>

#include "kernels/attention/attention_decode_parts.cuh"
#include "kernels/cuda/launch.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kThreads = kDecodeConsumers + 32;
constexpr int kBlocksPerMultiprocessor = 2;
constexpr int kBlockBytesMax = 113 * 1024;  // of shared memory, so that two blocks fit
constexpr int kClusterMax = 8;
constexpr int kSplitBlocks = kSplitKeys / kKvCudaBlock;

// A split under way in the fetching warp.
struct FetchPlace {
  int k = 0, split = 0;
  Item item;
  int id = 0;  // of the split's block `lane`
};

template <int D>
__device__ __forceinline__ int BlocksOf(const FetchPlace& at) {
  return min(at.item.position / kKvCudaBlock + 1 - at.split * kSplitBlocks, kSplitBlocks);
}

// To the block's next split, from at.split on; false: there is none. next: the item behind at's.
template <int D>
__device__ __forceinline__ bool Find(const Block<D>& b, FetchPlace& at, Item& next) {
  while (at.split >= at.item.Splits()) {
    if (++at.k >= b.count) return false;
    at.item = next;
    if (at.k + 1 < b.count) next = b.ItemOf(at.k + 1);
    at.split = b.FirstSplit(at.k);
  }
  const int lane = threadIdx.x % 32;
  if (lane < BlocksOf<D>(at)) at.id = b.Ids(at.item)[at.split * kSplitBlocks + lane];
  return true;
}

// Its tiles of K, then those of V.
template <int D>
__device__ __forceinline__ void FetchSplit(const Block<D>& b, const FetchPlace& at,
                                           Cursor& cursor) {
  const KvCuda& kv = b.call.args.kv;
  const int lane = threadIdx.x % 32, blocks = BlocksOf<D>(at);
  constexpr int kBytes = kKvCudaBlock * D * 2;
  for (int part = 0; part < 2; ++part) {
    const half* plane = static_cast<const half*>(part == 0 ? kv.k : kv.v);
    for (int first = 0; first < blocks; first += kTileBlocks) {
      const int count = min(blocks - first, kTileBlocks);
      const int id = __shfl_sync(~0u, at.id, first + lane % kTileBlocks);
      MbarrierAwait(b.Empty(cursor.slot), cursor.parity ^ 1);
      const uint32_t full = b.Full(cursor.slot);
      if (lane == 0) MbarrierArriveExpect(full, count * kBytes);
      __syncwarp();
      if (lane < count) {
        BulkCopy(SharedAddress(b.Stage(cursor.slot)) + lane * kBytes,
                 plane + b.PlaneAt(id, at.item.head), kBytes, full);
      }
      cursor.Step();
    }
  }
}

// The fetching warp. What it must know of a split is asked for before the split ahead of it.
template <int D>
__device__ __forceinline__ void Fetch(const Block<D>& b) {
  Cursor cursor = {b.stages};
  FetchPlace at;
  at.item = b.ItemOf(0);
  at.split = b.FirstSplit(0);
  Item next = at.item;
  if (b.count > 1) next = b.ItemOf(1);
  bool more = Find(b, at, next);
  while (more) {
    FetchPlace ahead = at;
    ahead.split += b.size;
    more = Find(b, ahead, next);
    FetchSplit(b, at, cursor);
    at = ahead;
  }
}

__device__ __forceinline__ void ConsumerBarrier() {
  asm volatile("bar.sync 1, %0;" ::"n"(kDecodeConsumers) : "memory");
}

// The scores of the warp's tile, if the split has it.
template <int D>
__device__ __forceinline__ void ScoreTile(float (&s)[8][4], const Block<D>& b,
                                          const Token<D>& token, Cursor at, int keys, bool own,
                                          int position) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (warp * kTileKeys >= keys) return;
  at.Step(warp);
  MbarrierAwait(b.Full(at.slot), at.parity);
  const bool put = own && (warp + 1) * kTileKeys >= keys;
  if (put) PutKey(token, b.Stage(at.slot), position);
  Scores(s, token, b.Stage(at.slot), keys - warp * kTileKeys);
  if (put) FenceBulkCopies();
  __syncwarp();
  // For all warps: the others do not read it.
  if (lane == 0) MbarrierArrive(b.Empty(at.slot), kDecodeWarps);
  float max = s[0][0];
#pragma unroll
  for (int n = 0; n < 8; ++n) max = fmaxf(max, fmaxf(s[n][0], s[n][1]));
  max = QuadMax(max);
  if (lane == 0) b.exchange.maxima[warp] = max;
}

// o and l of the split's tiles, which all must have come: nothing then stands between them.
template <int D, bool kWhole>
__device__ __forceinline__ void AddTiles(Sums<D>& sums, const Block<D>& b,
                                         const float (&a)[kSplitTiles], Cursor at, int keys) {
#pragma unroll
  for (int t = 0; t < kSplitTiles; ++t) {
    if (!kWhole && t * kTileKeys >= keys) break;
    const int blocks = (keys - t * kTileKeys + kKvCudaBlock - 1) / kKvCudaBlock;
    Values<D, kWhole>(sums, b.exchange, t, a[t], b.Stage(at.slot), blocks);
    at.Step();
  }
}

// One split, from the ring. last: it holds the token's own position.
template <int D>
__device__ __forceinline__ void AttendSplit(Sums<D>& sums, const Block<D>& b, const Token<D>& token,
                                            Cursor& cursor, int keys, bool last, int position) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int tiles = (keys + kTileKeys - 1) / kTileKeys;
  const float c = b.call.args.scale * kLog2E;
  const bool own = last && b.call.args.write_kv;
  float s[8][4];
  ScoreTile(s, b, token, cursor, keys, own, position);
  cursor.Step(tiles);
  ConsumerBarrier();
  float a[kSplitTiles], shift = 0;
#pragma unroll
  for (int t = 0; t < kSplitTiles; ++t) {
    if (t >= tiles) break;
    const TileFactors f = NextTile(sums.m, b.exchange.maxima[t], c);
    sums.m = f.m, a[t] = f.a;
    if (t == warp) shift = f.shift;
  }
  if (warp < tiles) ShareP(b.exchange, s, warp, c, shift);
  ConsumerBarrier();
  Cursor at = cursor;
  for (int t = 0; t < tiles; ++t, at.Step()) {
    MbarrierAwait(b.Full(at.slot), at.parity);
    if (last && t == tiles - 1) PutValue(token, b.Stage(at.slot), position, own);
  }
  if (keys > kSplitKeys - kKvCudaBlock) {
    AddTiles<D, true>(sums, b, a, cursor, keys);
  } else {
    AddTiles<D, false>(sums, b, a, cursor, keys);
  }
  if (last) FenceBulkCopies();
  __syncwarp();
  for (int t = 0; t < tiles; ++t, cursor.Step()) {
    if (lane == 0) MbarrierArrive(b.Empty(cursor.slot));
  }
  sums.l = QuadSum(sums.l);
}

// To the leader's inbox. A block alone is its own leader and no cluster.
template <int D>
__device__ __forceinline__ void SendSums(const Sums<D>& sums, const Block<D>& b, int leader,
                                         int slot, int split) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* row = b.inbox + (slot * b.call.splits_max + split) * Layout<D>::kRow;
  if (lane >= 4) return;
  const auto each = [&](const auto& send) {
#pragma unroll
    for (int i = 0; i < Layout<D>::kPairs; ++i) {
      const int d = (warp + kDecodeWarps * i) * 16 + lane * 2;
      if (d >= D) break;
      send(d, sums.o[i][0][0], sums.o[i][0][1]);
      send(d + 8, sums.o[i][1][0], sums.o[i][1][1]);
    }
    if (threadIdx.x == 0) send(D, sums.m, sums.l);
  };
  if (b.size == 1) {
    each([&](int d, float x, float y) { *reinterpret_cast<float2*>(row + d) = {x, y}; });
    return;
  }
  const uint32_t to = AddressAt(SharedAddress(row), leader);
  const uint32_t barrier = AddressAt(SharedAddress(&b.barriers.arrived[slot]), leader);
  each([&](int d, float x, float y) { Send(to + d * 4, x, y, barrier); });
}

// The leader adds an item's splits, in ascending order.
template <int D>
__device__ __forceinline__ void AddSplits(const Block<D>& b, const Item& item, int slot) {
  const AttentionCudaArgs& args = b.call.args;
  const int d = threadIdx.x * 2;
  if (d >= D) return;
  const float c = args.scale * kLog2E;
  const float* row = b.inbox + slot * b.call.splits_max * Layout<D>::kRow;
  float m = -INFINITY, l = 0, o0 = 0, o1 = 0;
  const int splits = item.Splits();
#pragma unroll 4
  for (int s = 0; s < splits; ++s, row += Layout<D>::kRow) {
    const float2 ml = *reinterpret_cast<const float2*>(row + D);
    const float2 o = *reinterpret_cast<const float2*>(row + d);
    const SplitFactors f = AddSplit(m, l, ml.x, ml.y, c);
    o0 = AddSplitOutput(o0, o.x, f);
    o1 = AddSplitOutput(o1, o.y, f);
  }
  const float inverse = 1.0f / l;
  const int64_t at = item.token * args.out_stride + item.head * D + d;
  static_cast<uint32_t*>(args.out)[at / 2] =
      PackOutput(args.out_type, __fmul_rn(o0, inverse), __fmul_rn(o1, inverse));
}

// The block's splits of item k, whose leader has this slot for it.
template <int D>
__device__ __forceinline__ void ConsumeItem(const Block<D>& b, const Item& item, int k, int slot,
                                            Cursor& cursor) {
  const int first = b.FirstSplit(k), splits = item.Splits();
  const bool own = b.call.args.write_kv && first < splits && (splits - 1 - first) % b.size == 0;
  Token<D> token;
  if (own) token.block = b.PlaneAt(b.Ids(item)[item.position / kKvCudaBlock], item.head);
  if (k == 0) {
    AwaitPrevious();
    AllowNext();
    if (b.size > 1) ClusterAwait();
  }
  if (first >= splits) return;
  LoadToken(token, b, item, own);
  for (int split = first; split < splits; split += b.size) {
    const int keys = min(item.position + 1 - split * kSplitKeys, kSplitKeys);
    Sums<D> sums;
    AttendSplit(sums, b, token, cursor, keys, split == splits - 1, item.position);
    SendSums(sums, b, k % b.size, slot, split);
  }
  if (own) StoreOwn(token, b, item.position);
}

// Item k is the (k / size)-th window's; an inbox's slot serves every other window, so nobody may be
// more than one window ahead of a leader.
template <int D>
__device__ __forceinline__ void Consume(const Block<D>& b) {
  const int lane = threadIdx.x % 32;
  Cursor cursor = {b.stages};
  Item next = b.ItemOf(0);
  for (int k = 0; k < b.count; ++k) {
    const int window = k / b.size, leader = k % b.size, slot = window % 2;
    if (b.size > 1 && leader == 0 && window >= 2) {
      MbarrierAwaitCluster(SharedAddress(&b.barriers.window[slot]), (window / 2 - 1) % 2);
    }
    const Item item = next;
    if (k + 1 < b.count) next = b.ItemOf(k + 1);
    ConsumeItem(b, item, k, slot, cursor);
    if (b.rank != leader) continue;
    if (b.size == 1) {
      ConsumerBarrier();
      AddSplits(b, item, slot);
      continue;
    }
    const uint32_t arrived = SharedAddress(&b.barriers.arrived[slot]);
    if (threadIdx.x == 0) MbarrierArriveExpect(arrived, item.Splits() * (D * 4 + 8));
    MbarrierAwaitCluster(arrived, window / 2 % 2);
    AddSplits(b, item, slot);
    __syncwarp();
    if ((window + 2) * b.size < b.count && lane < b.size) {
      MbarrierArriveAt(AddressAt(SharedAddress(&b.barriers.window[slot]), lane));
    }
  }
}

__device__ __forceinline__ void InitBarriers(Barriers& barriers, int size) {
  for (int i = 0; i < kDecodeStagesMax; ++i) {
    MbarrierInit(SharedAddress(&barriers.full[i]), 1);
    MbarrierInit(SharedAddress(&barriers.empty[i]), kDecodeWarps);
  }
  for (int i = 0; i < 2; ++i) {
    MbarrierInit(SharedAddress(&barriers.arrived[i]), 1);
    MbarrierInit(SharedAddress(&barriers.window[i]), kDecodeWarps * size);
  }
  MbarrierInitDone();
}

template <int D>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    DecodeHopperKernel(const __grid_constant__ DecodeCall call, int items, int stages) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) half shared[];
  __shared__ Exchange exchange;
  __shared__ Barriers barriers;
  const int size = ClusterSize();
  Block<D> b = {call, shared, nullptr, exchange, barriers, stages, ClusterRank(), size};
  b.inbox = reinterpret_cast<float*>(shared + stages * Layout<D>::kTileHalves);
  b.cluster = blockIdx.x / size;
  b.clusters = gridDim.x / size;
  b.count = (items - b.cluster + b.clusters - 1) / b.clusters;
  if (threadIdx.x == 0) InitBarriers(barriers, size);
  __syncthreads();
  if (size > 1) ClusterArrive();
  if (!call.args.write_kv) AwaitPrevious();  // which may have written keys
  if (threadIdx.x >= kDecodeConsumers) {
    Fetch(b);
    if (size > 1) ClusterAwait();
  } else {
    Consume(b);
  }
#endif
}

template <int D>
size_t SharedBytes(const DecodeCall& call, int stages = Layout<D>::kStages) {
  return sizeof(half) * stages * Layout<D>::kTileHalves +
         sizeof(float) * 2 * call.splits_max * Layout<D>::kRow;
}

// Few items: as many blocks as one wave with a block a multiprocessor takes, for the latency. More
// items than blocks: pairs, whose smaller pieces even out what is left at the end.
int ClusterFor(int64_t items, int splits_max, int multiprocessors) {
  const int64_t blocks = multiprocessors * kBlocksPerMultiprocessor;
  if (splits_max == 1 || (2 * items > blocks && items <= blocks)) return 1;
  int size = 2;
  while (size < kClusterMax && size < splits_max && items * size * 2 <= multiprocessors) size *= 2;
  return size;
}

template <int D>
int LaunchDim(const DecodeCall& call, int64_t tokens, StreamRef stream) {
  int device = 0, multiprocessors = 0;
  cudaGetDevice(&device);
  const cudaError_t error =
      cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  const int64_t items = tokens * call.args.kv.heads;
  const int blocks = multiprocessors * kBlocksPerMultiprocessor;
  Shape shape;
  const int size =
      call.cluster > 0 ? call.cluster : ClusterFor(items, call.splits_max, multiprocessors);
  const int64_t clusters = std::min<int64_t>(items, blocks / size);
  // Alone on its multiprocessor a block has room for a whole split.
  const bool alone = clusters * size <= multiprocessors;
  const int stages = alone ? std::max(Layout<D>::kStages, 2 * kSplitTiles) : Layout<D>::kStages;
  shape.cluster = size > 1 ? size : 0;
  shape.grid = dim3(static_cast<unsigned>(clusters * size));
  shape.threads = kThreads;
  shape.shared_bytes = SharedBytes<D>(call, stages);
  shape.dependent = call.args.dependent_launch;
  return Launch(stream, shape, DecodeHopperKernel<D>, call, static_cast<int>(items), stages);
}

}  // namespace

bool HasDecodeHopper(const DecodeCall& call) {
  constexpr size_t kStatic = sizeof(Exchange) + sizeof(Barriers) + 256;
  if (call.tiles != nullptr) return false;
  switch (call.args.kv.head_dim) {
    case 64:
      return SharedBytes<64>(call) + kStatic <= kBlockBytesMax;
    case 80:
      return SharedBytes<80>(call) + kStatic <= kBlockBytesMax;
    case 128:
      return SharedBytes<128>(call) + kStatic <= kBlockBytesMax;
    default:
      return false;
  }
}

int LaunchDecodeHopper(const DecodeCall& call, int64_t tokens, StreamRef stream) {
  switch (call.args.kv.head_dim) {
    case 64:
      return LaunchDim<64>(call, tokens, stream);
    case 80:
      return LaunchDim<80>(call, tokens, stream);
    case 128:
      return LaunchDim<128>(call, tokens, stream);
    default:
      return cudaErrorInvalidValue;
  }
}

}  // namespace pamir::kernels::cuda
