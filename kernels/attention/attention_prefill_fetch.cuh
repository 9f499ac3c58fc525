// The fetching warps of Hopper's prefill: the first hands out the work and copies K and V, the
// other three copy queries.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_FETCH_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_FETCH_CUH_

#include "kernels/attention/attention_prefill_ring.cuh"
#include "kernels/attention/wgmma.cuh"

namespace pamir::kernels::cuda {

// Work in its order: section after section of heads, in each the tiles as given.
__device__ __forceinline__ HopperItem ItemOf(const HopperCall& call, int index) {
  const AttentionCudaArgs& args = call.prefill.args;
  if (index >= call.tiles * args.kv.heads) return {0, 0, 0, 0};
  const int section = index / (call.tiles * call.section_heads);
  const int first = section * call.section_heads;
  const int heads = min(call.section_heads, args.kv.heads - first);
  const int within = index - first * call.tiles;
  const QueryTile tile = call.prefill.tiles[within / heads];
  return {tile.token, tile.count, args.positions[tile.token], first + within % heads};
}

// The values of blocks `block` .. 3 of a tile, of which `valid` positions exist: zeros behind.
template <int D>
__device__ __forceinline__ void FetchLastValues(half* to, const half* plane, int id, int heads,
                                                int head, int block, int valid) {
  const int lane = threadIdx.x % 32;
  const half* from = plane + (static_cast<int64_t>(id) * heads + head) * (kKvCudaBlock * D);
  for (int i = block * 2 * D + lane; i < kTileBlocks * 2 * D; i += 32) {
    const int chunk = i - block * 2 * D;  // of the only block that is there in part
    const int position = block * kKvCudaBlock + (chunk >= D ? 8 : 0) + (chunk & 7);
    const bool there = chunk < 2 * D && position < valid;
    CopyAsync(to + i * 8, there ? from + chunk * 8 : plane, there);
  }
  CommitCopies();
  AwaitCopies<0>();
  FenceSharedWrites();
}

// One warp: a tile of K and V into a stage. ids: lane i has the tile's block i - first_id.
template <int D>
__device__ __forceinline__ void FetchTile(const HopperRing<D>& ring, int slot,
                                          const AttentionCudaArgs& args, int head, int ids,
                                          int first_id, int valid) {
  using Layout = HopperLayout<D>;
  const int lane = threadIdx.x % 32, block = lane % kTileBlocks;
  const int keys = min((valid + kKvCudaBlock - 1) / kKvCudaBlock, kTileBlocks);
  const int values = min(valid / kKvCudaBlock, kTileBlocks);  // the rest piece by piece
  const uint32_t barrier = ring.Full(slot);
  if (lane == 0) MbarrierExpect(barrier, (keys + values) * Layout::kBlockBytes);
  const int id = __shfl_sync(~0u, ids, first_id + block);
  const int last_id = __shfl_sync(~0u, ids, first_id + min(values, kTileBlocks - 1));
  if (lane < 2 * kTileBlocks && block < (lane < kTileBlocks ? keys : values)) {
    const half* plane = static_cast<const half*>(lane < kTileBlocks ? args.kv.k : args.kv.v);
    BulkCopy(ring.Stage(slot) + lane * Layout::kBlockBytes,
             plane + (static_cast<int64_t>(id) * args.kv.heads + head) * (kKvCudaBlock * D),
             Layout::kBlockBytes, barrier);
  }
  if (values < kTileBlocks) {
    FetchLastValues<D>(ring.Values(slot), static_cast<const half*>(args.kv.v), last_id,
                       args.kv.heads, head, values, valid);
  }
  __syncwarp();
  if (lane == 0) MbarrierArrive(barrier);
}

// Warp 0: hands out the work, and keeps the ring of K and V filled.
template <int D>
__device__ __forceinline__ void FetchKeysAndValues(const HopperCall& call,
                                                   const HopperRing<D>& ring) {
  const AttentionCudaArgs& args = call.prefill.args;
  const int lane = threadIdx.x % 32;
  RingCursor<HopperLayout<D>::kStages> stage;
  RingCursor<kQueryBuffers> buffer;
  int index = blockIdx.x;
  while (true) {
    const HopperItem item = ItemOf(call, index);
    MbarrierAwait(ring.QueriesEmpty(buffer.slot), buffer.parity ^ 1);
    if (lane == 0) {
      ring.Item(buffer.slot) = item;
      MbarrierArrive(ring.ItemFull(buffer.slot));
    }
    buffer.Step();
    if (item.count == 0) break;
    index += gridDim.x;
    if (call.tickets != nullptr) {
      if (lane == 0) index = gridDim.x + atomicAdd(call.tickets, 1u);
    }
    const int* row = args.block_table + args.token_row[item.token] * args.max_blocks;
    const int context = item.position + item.count;
    int ids = 0;
#pragma unroll 1
    for (int first_key = 0; first_key < context; first_key += kTileKeys) {
      const int first_id = first_key / kKvCudaBlock % 32;
      if (first_id == 0) {
        const int block = first_key / kKvCudaBlock + lane;
        ids = block * kKvCudaBlock < context ? row[block] : 0;
      }
      MbarrierAwait(ring.Empty(stage.slot), stage.parity ^ 1);
      FetchTile<D>(ring, stage.slot, args, item.head, ids, first_id, context - first_key);
      stage.Step();
    }
    index = __shfl_sync(~0u, index, 0);
  }
  if (call.tickets != nullptr && lane == 0) {
    // The last to stop leaves both at 0 for the next call.
    if (atomicInc(call.tickets + 1, gridDim.x - 1) == gridDim.x - 1) atomicExch(call.tickets, 0u);
  }
}

// Warps 1 to 3: queries in the cache's order, [16][D / 8][8][8]; zeros behind the last of 64.
template <int D>
__device__ __forceinline__ void FetchQueries(const HopperCall& call, const HopperRing<D>& ring) {
  const AttentionCudaArgs& args = call.prefill.args;
  RingCursor<kQueryBuffers> buffer;
  while (true) {
    MbarrierAwait(ring.ItemFull(buffer.slot), buffer.parity);
    const HopperItem item = ring.Item(buffer.slot);
    const half* from =
        static_cast<const half*>(args.qkv) + item.token * args.qkv_stride + item.head * D;
    half* to = ring.QueryHalves(buffer.slot);
    const int chunks = (item.count + 63) / 64 * 64 * (D / 8);
    for (int i = threadIdx.x - 32; i < chunks; i += kHopperLoaders) {
      const int chunk = i / 8 % (D / 8), row = i / D * 8 + i % 8;
      CopyAsync(to + i * 8, from + (row < item.count ? row * args.qkv_stride + chunk * 8 : 0),
                row < item.count);
    }
    CommitCopies();
    AwaitCopies<0>();
    FenceSharedWrites();
    MbarrierArrive(ring.QueriesFull(buffer.slot));
    buffer.Step();
    if (item.count == 0) return;
  }
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_FETCH_CUH_
