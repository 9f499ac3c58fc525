// Prefill on Hopper. Each multiprocessor keeps one block of threads, which takes one piece of work
// (a tile of up to 128 queries and a head) after the other. Warpgroup 0 fetches: its first warp
// K and V as they lie in the cache, 64 positions at a time, into a ring in shared memory, the
// others the queries. Warpgroups 1 and 2 multiply, 64 queries each: while the tensor cores work on
// P V of a tile and Q K^T of the next, a warpgroup makes the next tile's P.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_HOPPER_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_HOPPER_CUH_

#include <algorithm>

#include "kernels/attention/attention_prefill_fetch.cuh"
#include "kernels/attention/wgmma.cuh"

namespace pamir::kernels::cuda {

// A warpgroup's 64 queries, in shared memory or in registers.
template <int D, bool kInRegisters>
struct HopperQueries {
  SharedMatrix matrix;
  uint32_t fragments[kInRegisters ? D / 16 : 1][4];

  __device__ __forceinline__ explicit HopperQueries(uint32_t address)
      : matrix(address, 128, D * 16) {
    if constexpr (!kInRegisters) return;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
    const uint32_t from =
        address + (warp * 2 + lane / 8 % 2) * (D * 16) + lane / 16 * 128 + lane % 8 * 16;
#pragma unroll
    for (int step = 0; step < (kInRegisters ? D / 16 : 0); ++step) {
      LoadMatrices(fragments[step], from + step * 256);
    }
  }

  // s = Q K^T, in one group.
  __device__ __forceinline__ void Scores(float (&s)[8][4], const SharedMatrix& keys) const {
#pragma unroll
    for (int step = 0; step < D / 16; ++step) {
      if constexpr (kInRegisters) {
        WgmmaScores(s, fragments[step], keys.Behind(step * 256), step > 0);
      } else {
        WgmmaScores(s, matrix.Behind(step * 256), keys.Behind(step * 256), step > 0);
      }
    }
    WgmmaCommit();
  }
};

// o = P V (+ o where add), in one group.
template <int D>
__device__ __forceinline__ void ValuesProduct(float (&o)[D / 8][4],
                                              const uint32_t (&p)[kTileBlocks][4],
                                              const SharedMatrix& values, bool add) {
#pragma unroll
  for (int step = 0; step < kTileBlocks; ++step) {
    WgmmaValues(o, p[step], values.Behind(step * (D * 32)), add || step > 0);
  }
  WgmmaCommit();
}

__device__ __forceinline__ void ArriveOfWarp(uint32_t barrier) {
  if (threadIdx.x % 32 == 0) MbarrierArrive(barrier);
}

// How a HopperConsumer works; all give the same bits.
//   kTurns: the warpgroups take turns at handing products to the tensor cores
//   kScoresFirst: Q K^T is under way while o is scaled for P V, instead of both after that
//   kQueriesInRegisters: instead of in shared memory
template <bool turns, bool scores_first, bool queries_in_registers>
struct HopperChoice {
  static constexpr bool kTurns = turns, kScoresFirst = scores_first;
  static constexpr bool kQueriesInRegisters = queries_in_registers;
};

// A warpgroup at work.
template <int D, typename Choice>
struct HopperConsumer {
  using Layout = HopperLayout<D>;
  using Queries = HopperQueries<D, Choice::kQueriesInRegisters>;
  const HopperRing<D>& ring;
  int group;                          // 0, 1
  float c;                            // scale * log2(e)
  RingCursor<Layout::kStages> stage;  // of the next tile to come
  PrefillState<D> state;

  __device__ __forceinline__ void Await() const {
    MbarrierAwait(ring.Full(stage.slot), stage.parity);
    if constexpr (Choice::kTurns) AwaitTurn(group);
  }
  __device__ __forceinline__ void Pass() const {
    if constexpr (Choice::kTurns) PassTurn(group);
  }
  __device__ __forceinline__ void Release(int slot) const { ArriveOfWarp(ring.Empty(slot)); }
  __device__ __forceinline__ SharedMatrix Keys() const {
    return {ring.Stage(stage.slot), 128, D * 16};
  }
  __device__ __forceinline__ SharedMatrix Values() const {
    return {ring.Stage(stage.slot) + Layout::kPlaneBytes, D * 16, 128};
  }

  static __device__ __forceinline__ void Mask(float (&s)[8][4], int first_key, int position) {
    if (first_key + kTileKeys - 1 <= position) return;
    MaskTile(s, first_key, position + threadIdx.x % 32 / 4);
  }
  static __device__ __forceinline__ void Pack(uint32_t (&p)[kTileBlocks][4],
                                              const float (&s)[8][4]) {
#pragma unroll
    for (int step = 0; step < kTileBlocks; ++step) PackP(p[step], s, step);
  }

  // 64 queries and the first `tiles` (at least one) tiles of keys. position: of the warp's first
  // query.
  __device__ __forceinline__ void Attend(uint32_t queries_at, int tiles, int position,
                                         uint32_t queries_empty) {
    const Queries queries(queries_at);
    float s[8][4], a[2];
    uint32_t p[kTileBlocks][4];
    SplitFactors f[2];
    state.Begin();
    state.BeginSplit();
    FirstScores(queries, s);
    Mask(s, 0, position);
    state.Softmax(s, a, c);
    Pack(p, s);
#pragma unroll 1
    for (int t = 1; t < tiles; ++t) {
      const int last = stage.slot;
      Multiply(t, queries, s, p, a, f);
      if (t % kSplitTiles == 0) {
        state.AddSplits(f, c);
        state.BeginSplit();
      }
      Mask(s, t * kTileKeys, position);
      state.Softmax(s, a, c);
      WgmmaAwait<0>();
      Pin(state.o), Pin(p);
      Release(last);
      Pack(p, s);
    }
    ArriveOfWarp(queries_empty);
    const SharedMatrix values = Values();
    PrepareO(tiles - 1, a, f);
    Pin(state.o), Pin(p);
    WgmmaBegin();
    ValuesProduct<D>(state.o, p, values, tiles % kSplitTiles != 1);
    state.AddSplits(f, c);
    WgmmaAwait<0>();
    Pin(state.o), Pin(p);
    Release(stage.slot);
    stage.Step();
    state.AddO(f);
  }

  __device__ __forceinline__ void FirstScores(const Queries& queries, float (&s)[8][4]) {
    const SharedMatrix keys = Keys();
    Await();
    WgmmaBegin();
    queries.Scores(s, keys);
    Pass();
    WgmmaAwait<0>();
    Pin(s);
  }

  // Steps to tile t: starts its Q K^T and P V of the tile before, and awaits the first of the two.
  __device__ __forceinline__ void Multiply(int t, const Queries& queries, float (&s)[8][4],
                                           uint32_t (&p)[kTileBlocks][4], const float (&a)[2],
                                           const SplitFactors (&f)[2]) {
    const SharedMatrix values = Values();
    stage.Step();
    const SharedMatrix keys = Keys();
    if constexpr (!Choice::kScoresFirst) PrepareO(t - 1, a, f);
    Await();
    Pin(s), Pin(state.o), Pin(p);
    WgmmaBegin();
    queries.Scores(s, keys);
    if constexpr (Choice::kScoresFirst) {
      PrepareO(t - 1, a, f);
      Pin(state.o);
      WgmmaBegin();
    }
    ValuesProduct<D>(state.o, p, values, t % kSplitTiles != 1);
    Pass();
    WgmmaAwait<1>();
    Pin(s);
  }

  // Before tile t's P V: scales o, or adds up a split that has ended with the tile before.
  __device__ __forceinline__ void PrepareO(int t, const float (&a)[2], const SplitFactors (&f)[2]) {
    if (t % kSplitTiles != 0) {
      state.ScaleO(a);
    } else if (t > 0) {
      state.AddO(f);
    }
  }

  // Tiles of keys that are only for the other warpgroup.
  __device__ __forceinline__ void PassOver(int tiles) {
#pragma unroll 1
    for (int t = 0; t < tiles; ++t) {
      Await();
      Pass();
      Release(stage.slot);
      stage.Step();
    }
  }
};

template <int D, typename Choice>
__device__ __forceinline__ void Multiply(const HopperCall& call, const HopperRing<D>& ring) {
  const AttentionCudaArgs& args = call.prefill.args;
  const int group = threadIdx.x / 128 - 1;
  HopperConsumer<D, Choice> consumer{ring, group, args.scale * kLog2E};
  if (Choice::kTurns && group == 1) PassTurn(group);  // group 0 begins
  RingCursor<kQueryBuffers> buffer;
  while (true) {
    MbarrierAwait(ring.QueriesFull(buffer.slot), buffer.parity);
    const HopperItem item = ring.Item(buffer.slot);
    if (item.count == 0) return;
    const uint32_t queries_empty = ring.QueriesEmpty(buffer.slot);
    const int first_row = group * 64, count = min(item.count, first_row + 64);
    const int all_tiles = (item.position + item.count + kTileKeys - 1) / kTileKeys;
    int tiles = 0;
    if (count > first_row) {
      tiles = (item.position + count + kTileKeys - 1) / kTileKeys;
      const int warp_row = first_row + threadIdx.x / 32 % 4 * 16;
      consumer.Attend(ring.Queries(buffer.slot) + group * (64 * D * 2), tiles,
                      item.position + warp_row, queries_empty);
      StoreOutput<true>(consumer.state, args, item.token, item.head, warp_row, count);
    } else {
      ArriveOfWarp(queries_empty);
    }
    consumer.PassOver(all_tiles - tiles);
    buffer.Step();
  }
}

template <int D, typename Choice>
__global__ void __launch_bounds__(kHopperThreads, 1)
    HopperKernel(const __grid_constant__ HopperCall call) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(128) char shared[];
  const HopperRing<D> ring = {shared, SharedAddress(shared)};
  if (threadIdx.x == 0) ring.Init();
  __syncthreads();
  AwaitPrevious();
  AllowNext();
  if (threadIdx.x < 128) {
    GiveUpRegisters<40>();
    if (threadIdx.x < 32) {
      FetchKeysAndValues<D>(call, ring);
    } else {
      FetchQueries<D>(call, ring);
    }
  } else {
    TakeRegisters<232>();
    Multiply<D, Choice>(call, ring);
  }
#else
  __trap();
#endif
}

// As many heads at a time as have their keys and values in L2, if a tile stands for as many keys.
inline int SectionHeads(int64_t tiles, int heads, int head_dim, int64_t section_bytes) {
  const int64_t head_bytes = tiles * kTileQueries * head_dim * 4;
  return static_cast<int>(std::clamp<int64_t>(section_bytes / head_bytes, 1, heads));
}

template <int D, typename Choice>
int LaunchHopper(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                 StreamRef stream, int64_t section_bytes) {
  int device = 0, multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  HopperCall call;
  call.prefill = {args, tiles};
  call.tiles = static_cast<int>(count);
  call.section_heads = SectionHeads(count, args.kv.heads, D, section_bytes);
  if (args.scratch != nullptr && args.scratch_tokens > 0) {
    call.tickets = static_cast<unsigned*>(args.scratch);
  }
  Shape shape;
  shape.grid =
      dim3(static_cast<unsigned>(std::min<int64_t>(multiprocessors, count * args.kv.heads)));
  shape.threads = kHopperThreads;
  shape.shared_bytes = HopperLayout<D>::kBytes;
  shape.dependent = args.dependent_launch;
  return Launch(stream, shape, HopperKernel<D, Choice>, call);
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_PREFILL_HOPPER_CUH_
