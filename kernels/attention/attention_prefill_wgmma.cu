// Prefill with Hopper's wgmma: a warpgroup's 64 queries share one reading of K and V from shared
// memory. It adds up in the same order as mma.sync in steps of 16, and gives the same bits.
#include "kernels/attention/attention_prefill.cuh"
#include "kernels/attention/wgmma.cuh"

namespace pamir::kernels::cuda {
namespace {

template <int D>
struct WgmmaWay {
  static constexpr int kWarps = 4;
  static constexpr int kRowBytes = D * 16;  // from 8 rows (positions, queries) to the next 8

  static __device__ __forceinline__ void PublishCopies() { FenceSharedWrites(); }

  static __device__ __forceinline__ void Scores(float (&s)[8][4], const half* queries,
                                                const half* keys) {
    const int group = threadIdx.x / 128;
    const uint64_t left = SharedMatrix(queries + group * 64 * D, 128, kRowBytes);
    const uint64_t right = SharedMatrix(keys, 128, kRowBytes);
    WgmmaFence(s);
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      Wgmma64(s, left + step * 16, right + step * 16, step > 0);
    }
    WgmmaFinish(s);
  }

  static __device__ __forceinline__ void Values(float (&o)[D / 8][4], const float (&p)[8][4],
                                                const half* values) {
    uint32_t a[kTileBlocks][4];
#pragma unroll
    for (int step = 0; step < kTileBlocks; ++step) PackP(a[step], p, step);
    const uint64_t right = SharedMatrix(values, kRowBytes, 128);
    WgmmaFence(o);
#pragma unroll
    for (int step = 0; step < kTileBlocks; ++step) {
      WgmmaTransposed(o, a[step], right + step * (2 * kRowBytes / 16));
    }
    WgmmaFinish(o);
  }
};

}  // namespace

int LaunchPrefillWgmma(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                       int64_t context_max, StreamRef stream) {
  return LaunchPrefillDim<WgmmaWay>(args, tiles, count, context_max, stream);
}

}  // namespace pamir::kernels::cuda
