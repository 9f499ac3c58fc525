// Prefill with mma.sync: devices from 8.0 on.
#include "kernels/attention/attention_prefill.cuh"

namespace pamir::kernels::cuda {
namespace {

template <int D>
struct MmaWay {
  static constexpr int kWarps = 1;

  static __device__ __forceinline__ void PublishCopies() {}

  static __device__ __forceinline__ void Scores(float (&s)[8][4], const half* queries,
                                                const half* keys) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const uint32_t left = SharedAddress(queries + (warp * 2 + lane / 8 % 2) * D * 8 +
                                        (lane / 16) * 64 + lane % 8 * 8);
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

  static __device__ __forceinline__ void Values(float (&o)[D / 8][4], const float (&p)[8][4],
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
};

}  // namespace

int LaunchPrefillMma(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                     int64_t context_max, StreamRef stream) {
  return LaunchPrefillDim<MmaWay>(args, tiles, count, context_max, stream);
}

}  // namespace pamir::kernels::cuda
