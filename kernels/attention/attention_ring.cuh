// Tiles of K and V on their way from the cache to the tensor cores, several at once: in fp16 as
// they lie in the cache; in fp8 as they lie there, and one tile of fp16 that each is turned into
// when its turn comes.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_RING_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_RING_CUH_

#include "kernels/attention/attention_fp8.cuh"
#include "kernels/attention/attention_mma.cuh"

namespace pamir::kernels::cuda {

template <bool kFp8, int kThreads, int kStages>
struct TileRing {
  half* shared;  // Bytes(dim)
  int dim;       // padded

  static constexpr __host__ __device__ int Bytes(int dim) {
    const int tile = 2 * kTileKeys * dim * static_cast<int>(sizeof(half));
    return kFp8 ? tile + kStages * 2 * kTileBlocks * Fp8BlockBytes(dim) : kStages * tile;
  }

  // Starts tile's copy; keys from position `context` on count for nothing. ids: the row's blocks
  // from the tile's first on, whose first position is first_key.
  __device__ __forceinline__ void Copy(const KvCuda& kv, const int* ids, int head, int tile,
                                       int first_key, int context) const {
    if constexpr (kFp8) {
      CopyFp8Tile<kThreads>(Raw(tile), kv, ids, head, dim, first_key, context);
    } else {
      CopyStage<kThreads>(shared + tile % kStages * 2 * kTileKeys * dim, kv, ids, head, dim,
                          first_key, context);
    }
  }

  // The tile's keys, and behind them its values. Its copy is there for every thread, and nobody
  // needs the tile before it; the same first_key and context.
  __device__ __forceinline__ half* Tile(int tile, int first_key, int context) const {
    if constexpr (kFp8) {
      WidenTile<kThreads>(shared, Raw(tile), dim, first_key, context);
      __syncthreads();
      return shared;
    } else {
      return shared + tile % kStages * 2 * kTileKeys * dim;
    }
  }

 private:
  __device__ __forceinline__ char* Raw(int tile) const {
    return reinterpret_cast<char*>(shared + 2 * kTileKeys * dim) +
           tile % kStages * (2 * kTileBlocks * Fp8BlockBytes(dim));
  }
};

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_RING_CUH_
