// Seams between attention's .cu files, for nobody else.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_KERNELS_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_KERNELS_CUH_

#include <cuda_runtime.h>

#include "kernels/attention/attention_cuda.h"

namespace pamir::kernels::cuda {

struct DecodeCall {
  AttentionCudaArgs args;
  int64_t first = 0;                 // tokens first + 0, 1, ... unless there are tiles
  const QueryTile* tiles = nullptr;  // token i is the (i mod kTileQueries)-th of tile i / that
  int dim = 0;                       // padded head dim
  int splits_max = 1;
  int cluster = 0;               // blocks that share a token and head on Hopper; 0: chosen
  unsigned* counters = nullptr;  // [tokens][heads], 0 between calls
  float2* partial_ml = nullptr;  // [tokens][heads][splits_max]
  float* partial_o = nullptr;    // [tokens][heads][splits_max][dim]
};
int LaunchDecode(const DecodeCall& call, int64_t tokens, StreamRef stream);

// Only for devices of 9.0 with code of 90a, and where Has... says so (head_dim 64, 80, 128; splits
// whose sums fit into shared memory). Not for fp8.
bool HasDecodeHopper(const DecodeCall& call);
int LaunchDecodeHopper(const DecodeCall& call, int64_t tokens, StreamRef stream);

// How DecodeAttentionCuda works; the bits are the same.
enum class DecodeWay { kBest, kMma, kHopper };
int DecodeBy(DecodeWay way, int cluster, const AttentionCudaArgs& args, int64_t first,
             int64_t tokens, int64_t context_max, StreamRef stream);

// head_dim 64, 80 or 128; Wgmma: no fp8.
int LaunchPrefillMma(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                     int64_t context_max, StreamRef stream);
int LaunchPrefillWgmma(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                       int64_t context_max, StreamRef stream);

// kv.fp8: tokens 0 .. tokens - 1.
int WriteKvFp8(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream);

// type kFloat32, any head_dim up to kCudaHeadDimMax. WriteKvFloat32: tokens 0 .. tokens - 1.
// AttendFloat32: tokens first + 0, 1, ... unless there are tiles (device memory): then token i is
// the (i mod kTileQueries)-th of tile i / kTileQueries. Neither uses scratch.
int WriteKvFloat32(const AttentionCudaArgs& args, int64_t tokens, StreamRef stream);
int AttendFloat32(const AttentionCudaArgs& args, int64_t first, const QueryTile* tiles,
                  int64_t tokens, StreamRef stream);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_KERNELS_CUH_
