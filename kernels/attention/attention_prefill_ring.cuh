// The ring in shared memory through which Hopper's prefill passes queries, keys and values from the
// warps that fetch to the warpgroups that multiply.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_RING_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_RING_CUH_

#include "kernels/attention/attention_prefill.cuh"
#include "kernels/attention/mbarrier.cuh"

namespace pamir::kernels::cuda {

inline constexpr int kHopperThreads = 384;
inline constexpr int kHopperLoaders = 96;       // threads that fetch queries
inline constexpr int kHopperConsumerWarps = 8;  // each arrives once at an "empty" barrier
inline constexpr int kQueryBuffers = 2;

// A piece of work; count 0: there is none any more.
struct HopperItem {
  int token, count, position, head;  // position: of the first query
};

struct HopperCall {
  PrefillCall prefill;
  int tiles = 0;
  int section_heads = 0;        // heads whose tiles are worked on together: their K and V fit in L2
  unsigned* tickets = nullptr;  // two, 0 between calls
};

template <int D>
struct HopperLayout {
  static constexpr int kStages = D == 128 ? 5 : 8;
  static constexpr int kQueryBytes = kTileQueries * D * 2;
  static constexpr int kPlaneBytes = kTileKeys * D * 2;
  static constexpr int kBlockBytes = kKvCudaBlock * D * 2;
  static constexpr int kStageBytes = 2 * kPlaneBytes;
  static constexpr int kBarriers = 2 * kStages + 3 * kQueryBuffers;
  static constexpr int kItemsAt = kQueryBuffers * kQueryBytes + kStages * kStageBytes;
  static constexpr int kBytes = kItemsAt + kQueryBuffers * 16 + kBarriers * 8;
};

// Addresses in shared memory.
template <int D>
struct HopperRing {
  using Layout = HopperLayout<D>;
  char* shared;
  uint32_t base;

  __device__ HopperItem& Item(int slot) const {
    return reinterpret_cast<HopperItem*>(shared + Layout::kItemsAt)[slot];
  }
  __device__ half* QueryHalves(int slot) const {
    return reinterpret_cast<half*>(shared + slot * Layout::kQueryBytes);
  }
  __device__ uint32_t Queries(int slot) const { return base + slot * Layout::kQueryBytes; }
  __device__ uint32_t Stage(int slot) const {
    return base + kQueryBuffers * Layout::kQueryBytes + slot * Layout::kStageBytes;
  }
  __device__ half* Values(int slot) const {
    return reinterpret_cast<half*>(shared + kQueryBuffers * Layout::kQueryBytes +
                                   slot * Layout::kStageBytes + Layout::kPlaneBytes);
  }
  __device__ uint32_t Barrier(int i) const {
    return base + Layout::kItemsAt + kQueryBuffers * 16 + i * 8;
  }
  __device__ uint32_t Full(int slot) const { return Barrier(slot); }
  __device__ uint32_t Empty(int slot) const { return Barrier(Layout::kStages + slot); }
  __device__ uint32_t QueriesFull(int slot) const { return Barrier(2 * Layout::kStages + slot); }
  __device__ uint32_t QueriesEmpty(int slot) const {
    return Barrier(2 * Layout::kStages + kQueryBuffers + slot);
  }
  __device__ uint32_t ItemFull(int slot) const {
    return Barrier(2 * Layout::kStages + 2 * kQueryBuffers + slot);
  }

  __device__ void Init() const {
    for (int i = 0; i < Layout::kStages; ++i) {
      MbarrierInit(Full(i), 1);
      MbarrierInit(Empty(i), kHopperConsumerWarps);
    }
    for (int i = 0; i < kQueryBuffers; ++i) {
      MbarrierInit(QueriesFull(i), kHopperLoaders);
      MbarrierInit(QueriesEmpty(i), kHopperConsumerWarps);
      MbarrierInit(ItemFull(i), 1);
    }
    MbarrierInitDone();
  }
};

// Where a ring's next slot is, and the parity of the phase in which it fills.
template <int kSlots>
struct RingCursor {
  int slot = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void Step() {
    if (++slot == kSlots) slot = 0, parity ^= 1;
  }
};

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_RING_CUH_
