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

// The fetching warp: for each split its tiles of K, then those of V.
template <int D>
__device__ __forceinline__ void Fetch(const Block<D>& b) {
  const int lane = threadIdx.x % 32;
  constexpr int kBytes = kKvCudaBlock * D * 2;
  Cursor<D> cursor;
  for (int k = 0; k < b.count; ++k) {
    const Item item = b.ItemOf(k);
    const int* ids = b.Ids(item);
    for (int split = b.FirstSplit(k); split < item.splits; split += b.size) {
      const int keys = min(item.context - split * kSplitKeys, kSplitKeys);
      const int blocks = (keys + kKvCudaBlock - 1) / kKvCudaBlock;
      const int id = lane < blocks ? ids[split * kSplitBlocks + lane] : 0;
      for (int part = 0; part < 2; ++part) {
        const half* plane =
            static_cast<const half*>(part == 0 ? b.call.args.kv.k : b.call.args.kv.v);
        for (int first = 0; first < blocks; first += kTileBlocks) {
          const int count = min(blocks - first, kTileBlocks);
          const int from = __shfl_sync(~0u, id, first + lane % kTileBlocks);
          MbarrierAwait(b.Empty(cursor.slot), cursor.parity ^ 1);
          const uint32_t full = b.Full(cursor.slot);
          if (lane == 0) MbarrierArriveExpect(full, count * kBytes);
          __syncwarp();
          if (lane < count) {
            BulkCopy(SharedAddress(b.Stage(cursor.slot)) + lane * kBytes,
                     plane + b.PlaneAt(from, item.head), kBytes, full);
          }
          cursor.Step();
        }
      }
    }
  }
}

__device__ __forceinline__ void ConsumerBarrier() {
  asm volatile("bar.sync 1, %0;" ::"n"(kDecodeConsumers) : "memory");
}

// One split, from the ring. last: it holds the token's own position.
template <int D>
__device__ __forceinline__ void AttendSplit(Sums<D>& sums, const Block<D>& b, const Token<D>& token,
                                            Cursor<D>& cursor, int keys, bool last, int position) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int tiles = (keys + kTileKeys - 1) / kTileKeys;
  const float c = b.call.args.scale * kLog2E;
  float s[8][4];
  if (warp < tiles) {
    Cursor<D> at = cursor;
    at.Step(warp);
    MbarrierAwait(b.Full(at.slot), at.parity);
    if (last && warp == tiles - 1 && b.call.args.write_kv) {
      PutKey(token, b, b.Stage(at.slot), position);
    }
    Scores(s, token, b.Stage(at.slot), keys - warp * kTileKeys);
    __syncwarp();
    if (lane < kDecodeWarps) MbarrierArrive(b.Empty(at.slot));
    float max = s[0][0];
#pragma unroll
    for (int n = 0; n < 8; ++n) max = fmaxf(max, fmaxf(s[n][0], s[n][1]));
    max = QuadMax(max);
    if (lane == 0) b.exchange.maxima[warp] = max;
  }
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
#pragma unroll
  for (int t = 0; t < kSplitTiles; ++t) {
    if (t >= tiles) break;
    MbarrierAwait(b.Full(cursor.slot), cursor.parity);
    half* values = b.Stage(cursor.slot);
    if (last && t == tiles - 1) PutValue(token, b, values, position);
    const int blocks = (keys - t * kTileKeys + kKvCudaBlock - 1) / kKvCudaBlock;
    Values(sums, b.exchange, t, a[t], values, blocks);
    __syncwarp();
    if (lane == 0) MbarrierArrive(b.Empty(cursor.slot));
    cursor.Step();
  }
  sums.l = QuadSum(sums.l);
}

// To the leader's inbox.
template <int D>
__device__ __forceinline__ void SendSums(const Sums<D>& sums, const Block<D>& b, int leader,
                                         int slot, int split) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float* row = b.inbox + (slot * b.call.splits_max + split) * Layout<D>::kRow;
  const uint32_t to = AddressAt(SharedAddress(row), leader);
  const uint32_t barrier = AddressAt(SharedAddress(&b.barriers.arrived[slot]), leader);
  if (lane >= 4) return;
#pragma unroll
  for (int i = 0; i < Layout<D>::kPairs; ++i) {
    const int d = (warp + kDecodeWarps * i) * 16 + lane * 2;
    if (d >= D) break;
    Send(to + d * 4, sums.o[i][0][0], sums.o[i][0][1], barrier);
    Send(to + (d + 8) * 4, sums.o[i][1][0], sums.o[i][1][1], barrier);
  }
  if (threadIdx.x == 0) Send(to + D * 4, sums.m, sums.l, barrier);
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
#pragma unroll 4
  for (int s = 0; s < item.splits; ++s, row += Layout<D>::kRow) {
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

// Item k is the (k / size)-th window's; an inbox's slot serves every other window, so nobody may be
// more than one window ahead of a leader.
template <int D>
__device__ __forceinline__ void Consume(const Block<D>& b) {
  const int lane = threadIdx.x % 32;
  Cursor<D> cursor;
  for (int k = 0; k < b.count; ++k) {
    const int window = k / b.size, leader = k % b.size, slot = window % 2;
    if (leader == 0 && window >= 2) {
      MbarrierAwaitCluster(SharedAddress(&b.barriers.window[slot]), (window / 2 - 1) % 2);
    }
    const Item item = b.ItemOf(k);
    const int first = b.FirstSplit(k);
    const bool own =
        b.call.args.write_kv && first < item.splits && (item.splits - 1 - first) % b.size == 0;
    Token<D> token;
    if (own) token.block = b.PlaneAt(b.Ids(item)[(item.context - 1) / kKvCudaBlock], item.head);
    if (k == 0) {
      AwaitPrevious();
      AllowNext();
      ClusterAwait();
    }
    if (first < item.splits) {
      LoadToken(token, b, item, own);
      for (int split = first; split < item.splits; split += b.size) {
        const int keys = min(item.context - split * kSplitKeys, kSplitKeys);
        Sums<D> sums;
        AttendSplit(sums, b, token, cursor, keys, split == item.splits - 1, item.context - 1);
        SendSums(sums, b, leader, slot, split);
      }
    }
    if (b.rank != leader) continue;
    const uint32_t arrived = SharedAddress(&b.barriers.arrived[slot]);
    if (threadIdx.x == 0) MbarrierArriveExpect(arrived, item.splits * (D * 4 + 8));
    MbarrierAwaitCluster(arrived, window / 2 % 2);
    AddSplits(b, item, slot);
    __syncwarp();
    if ((window + 2) * b.size < b.count && lane < b.size) {
      MbarrierArriveAt(AddressAt(SharedAddress(&b.barriers.window[slot]), lane));
    }
  }
}

template <int D>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    DecodeHopperKernel(const __grid_constant__ DecodeCall call, int items) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) half shared[];
  __shared__ Exchange exchange;
  __shared__ Barriers<D> barriers;
  const int size = ClusterSize();
  Block<D> b = {call, shared, nullptr, exchange, barriers, ClusterRank(), size};
  b.inbox = reinterpret_cast<float*>(shared + Layout<D>::kStages * Layout<D>::kTileHalves);
  b.cluster = blockIdx.x / size;
  b.clusters = gridDim.x / size;
  b.count = (items - b.cluster + b.clusters - 1) / b.clusters;
  if (threadIdx.x == 0) {
    for (int i = 0; i < Layout<D>::kStages; ++i) {
      MbarrierInit(b.Full(i), 1);
      MbarrierInit(b.Empty(i), kDecodeWarps);
    }
    for (int i = 0; i < 2; ++i) {
      MbarrierInit(SharedAddress(&barriers.arrived[i]), 1);
      MbarrierInit(SharedAddress(&barriers.window[i]), kDecodeWarps * size);
    }
    MbarrierInitDone();
  }
  __syncthreads();
  ClusterArrive();
  if (!call.args.write_kv) AwaitPrevious();  // which may have written keys
  if (threadIdx.x >= kDecodeConsumers) {
    Fetch(b);
    ClusterAwait();
  } else {
    Consume(b);
  }
#endif
}

template <int D>
size_t SharedBytes(const DecodeCall& call) {
  return sizeof(half) * Layout<D>::kStages * Layout<D>::kTileHalves +
         sizeof(float) * 2 * call.splits_max * Layout<D>::kRow;
}

int ClusterFor(int64_t items, int splits_max, int blocks) {
  int size = 1;
  while (size < kClusterMax && size < splits_max && items * size * 2 <= blocks) size *= 2;
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
  shape.cluster = call.cluster > 0 ? call.cluster : ClusterFor(items, call.splits_max, blocks);
  const int64_t clusters = std::min<int64_t>(items, blocks / shape.cluster);
  shape.grid = dim3(static_cast<unsigned>(clusters * shape.cluster));
  shape.threads = kThreads;
  shape.shared_bytes = SharedBytes<D>(call);
  shape.dependent = call.args.dependent_launch;
  return Launch(stream, shape, DecodeHopperKernel<D>, call, static_cast<int>(items));
}

}  // namespace

bool HasDecodeHopper(const DecodeCall& call) {
  constexpr size_t kStatic = sizeof(Exchange) + sizeof(Barriers<64>) + 256;
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
