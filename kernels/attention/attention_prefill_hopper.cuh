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
//   kTwoScores: Q K^T of the next tile is under way during a tile's softmax, in registers of its
//   own kQueriesInRegisters: instead of in shared memory
template <bool turns, bool two_scores, bool queries_in_registers>
struct HopperChoice {
  static constexpr bool kTurns = turns, kTwoScores = two_scores;
  static constexpr bool kQueriesInRegisters = queries_in_registers;
  static_assert(!turns || !two_scores);
};

// A tile of keys and values that is there.
struct HopperTile {
  int slot;
  SharedMatrix keys;
};

// A warpgroup at work.
template <int D, typename Choice>
struct HopperConsumer {
  using Layout = HopperLayout<D>;
  using Queries = HopperQueries<D, Choice::kQueriesInRegisters>;
  using Scores = float[8][4];
  using Weights = uint32_t[kTileBlocks][4];  // P as the left operand
  const HopperRing<D>& ring;
  int group;                          // 0, 1
  float c;                            // scale * log2(e)
  RingCursor<Layout::kStages> stage;  // of the next tile to come
  PrefillState<D> state;
  float a[2];         // for o, from the last tile
  SplitFactors f[2];  // for o and what was added up before, if that tile began a split

  // The next tile. What is made of its address stands before the wait.
  __device__ __forceinline__ HopperTile Take() {
    const HopperTile tile = {stage.slot, {ring.Stage(stage.slot), 128, D * 16}};
    MbarrierAwait(ring.Full(stage.slot), stage.parity);
    stage.Step();
    return tile;
  }
  __device__ __forceinline__ SharedMatrix ValuesOf(int slot) const {
    return {ring.Stage(slot) + Layout::kPlaneBytes, D * 16, 128};
  }
  __device__ __forceinline__ void Release(int slot) const { ArriveOfWarp(ring.Empty(slot)); }
  __device__ __forceinline__ void Await() const {
    if constexpr (Choice::kTurns) AwaitTurn(group);
  }
  __device__ __forceinline__ void Pass() const {
    if constexpr (Choice::kTurns) PassTurn(group);
  }

  // Tile t's scores become its weights, still as floats. position: of the warp's first query.
  __device__ __forceinline__ void Softmax(int t, Scores& s, int position) {
    if (t > 0 && t % kSplitTiles == 0) {
      state.AddSplits(f, c);
      state.BeginSplit();
    }
    const int first_key = t * kTileKeys;
    if (first_key + kTileKeys - 1 > position) {
      MaskTile(s, first_key, position + threadIdx.x % 32 / 4);
    }
    state.Softmax(s, a, c);
  }

  // Before tile t's P V: scales o, or adds up the split that ended with the tile before.
  __device__ __forceinline__ void PrepareO(int t) {
    if (t % kSplitTiles != 0) {
      state.ScaleO(a);
    } else if (t > 0) {
      state.AddO(f);
    }
  }

  static __device__ __forceinline__ void Pack(Weights& p, const Scores& s) {
#pragma unroll
    for (int step = 0; step < kTileBlocks; ++step) PackP(p[step], s, step);
  }

  // Starts tile t's P V.
  __device__ __forceinline__ void StartValues(int t, Weights& p, const SharedMatrix& values) {
    Pin(state.o), Pin(p);
    WgmmaBegin();
    ValuesProduct<D>(state.o, p, values, t % kSplitTiles != 0);
  }

  // Ends tile t's P V, the last.
  __device__ __forceinline__ void EndValues(Weights& p, int slot) {
    state.AddSplits(f, c);
    WgmmaAwait<0>();
    Pin(state.o), Pin(p);
    Release(slot);
    state.AddO(f);
  }

  // Q K^T of a tile and P V of the tile before are started together; P is made of the one while the
  // other goes on.
  __device__ __forceinline__ void AttendInStep(const Queries& queries, int tiles, int position,
                                               uint32_t queries_empty) {
    Scores s;
    Weights p;
    const HopperTile first = Take();
    int last = first.slot;
    Await();
    WgmmaBegin();
    queries.Scores(s, first.keys);
    Pass();
    WgmmaAwait<0>();
    Pin(s);
    Softmax(0, s, position);
    Pack(p, s);
#pragma unroll 1
    for (int t = 1; t < tiles; ++t) {
      const SharedMatrix values = ValuesOf(last);
      const HopperTile now = Take();
      Await();
      Pin(s);
      WgmmaBegin();
      queries.Scores(s, now.keys);
      PrepareO(t - 1);
      StartValues(t - 1, p, values);
      Pass();
      WgmmaAwait<1>();
      Pin(s);
      Softmax(t, s, position);
      WgmmaAwait<0>();
      Pin(state.o), Pin(p);
      Release(last);
      Pack(p, s);
      last = now.slot;
    }
    ArriveOfWarp(queries_empty);
    PrepareO(tiles - 1);
    StartValues(tiles - 1, p, ValuesOf(last));
    EndValues(p, last);
  }

  // Tile t, whose scores are under way in s: starts those of the next in next_s (unless it is the
  // last), makes P, starts P V.
  template <bool kLast>
  __device__ __forceinline__ void Step(int t, HopperTile& now, Scores& s, Scores& next_s,
                                       Weights& p, const Queries& queries, int position) {
    HopperTile next = now;
    if constexpr (!kLast) {
      next = Take();
      Pin(next_s);
      WgmmaBegin();
      queries.Scores(next_s, next.keys);
    }
    WgmmaAwait<kLast ? 1 : 2>();
    Pin(s);
    Softmax(t, s, position);
    WgmmaAwait<kLast ? 0 : 1>();  // P V of the tile before
    Pin(state.o), Pin(p);
    if (t > 0) Release(before);
    PrepareO(t);
    Pack(p, s);
    StartValues(t, p, ValuesOf(now.slot));
    before = now.slot;
    now = next;
  }
  int before;  // the slot of the tile before

  __device__ __forceinline__ void AttendAhead(const Queries& queries, int tiles, int position,
                                              uint32_t queries_empty) {
    Scores even, odd;
    Weights p;
    HopperTile now = Take();
    WgmmaBegin();
    queries.Scores(even, now.keys);
    WgmmaCommit();  // in the place of P V of a tile before
    int t = 0;
    while (true) {
      if (t + 1 == tiles) {
        Step<true>(t, now, even, odd, p, queries, position);
        break;
      }
      Step<false>(t++, now, even, odd, p, queries, position);
      if (t + 1 == tiles) {
        Step<true>(t, now, odd, even, p, queries, position);
        break;
      }
      Step<false>(t++, now, odd, even, p, queries, position);
    }
    ArriveOfWarp(queries_empty);
    EndValues(p, now.slot);
  }

  // 64 queries and the first `tiles` (at least one) tiles of keys.
  __device__ __forceinline__ void Attend(uint32_t queries_at, int tiles, int position,
                                         uint32_t queries_empty) {
    const Queries queries(queries_at);
    state.Begin();
    state.BeginSplit();
    if constexpr (Choice::kTwoScores) {
      AttendAhead(queries, tiles, position, queries_empty);
    } else {
      AttendInStep(queries, tiles, position, queries_empty);
    }
  }

  // Tiles of keys that are only for the other warpgroup.
  __device__ __forceinline__ void PassOver(int tiles) {
#pragma unroll 1
    for (int t = 0; t < tiles; ++t) {
      Await();
      Pass();
      MbarrierAwait(ring.Full(stage.slot), stage.parity);
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
      __syncwarp();  // all have read the item
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
  // Of a thread: 168 are there for each of the three warpgroups.
  constexpr int kFetchRegisters = D == 128 ? 40 : 56, kRegisters = (3 * 168 - kFetchRegisters) / 2;
  extern __shared__ __align__(128) char shared[];
  const HopperRing<D> ring = {shared, SharedAddress(shared)};
  if (threadIdx.x == 0) ring.Init();
  __syncthreads();
  AwaitPrevious();
  AllowNext();
  if (threadIdx.x < 128) {
    GiveUpRegisters<kFetchRegisters>();
    if (threadIdx.x < 32) {
      FetchKeysAndValues<D>(call, ring);
    } else {
      FetchQueries<D>(call, ring);
    }
  } else {
    TakeRegisters<kRegisters>();
    Multiply<D, Choice>(call, ring);
  }
#else
  __trap();
#endif
}

// Heads to be worked on together: all if their keys and values fit in L2 (50 MiB), else equal parts
// of 14 to 24 MiB. More falls out of L2, of less all multiprocessors read the same at once.
inline int SectionHeads(int64_t kv_tokens, int heads, int head_dim) {
  constexpr int64_t kWhole = 42 << 20, kMost = 24 << 20, kLeast = 14 << 20;
  const int64_t bytes = kv_tokens * heads * head_dim * 4, fewest = (bytes + kMost - 1) / kMost;
  if (bytes <= kWhole) return heads;
  for (int64_t sections = bytes / kLeast; sections >= fewest; --sections) {
    if (heads % sections == 0) return static_cast<int>(heads / sections);
  }
  return static_cast<int>(std::max<int64_t>(heads / fewest, 1));
}

// section_heads: 0 for the best.
template <int D, typename Choice>
int LaunchHopper(const AttentionCudaArgs& args, const QueryTile* tiles, int64_t count,
                 StreamRef stream, int section_heads = 0) {
  int device = 0, multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  if (error != cudaSuccess) return error;
  HopperCall call;
  call.prefill = {args, tiles};
  call.tiles = static_cast<int>(count);
  call.section_heads =
      section_heads > 0 ? section_heads : SectionHeads(args.kv_tokens, args.kv.heads, D);
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
