// The streaming kernel: weights through shared memory into wgmma, 8 to 256 rows of x a tile.
//
// A block owns up to 256 outputs for one tile of rows and walks k from end to end, so a sum is one
// accumulation. One warp asks for boxes of weights and x (tensor copies, many stages ahead), a
// warpgroup for every 64 outputs multiplies. Weights are asked for before the last kernel has
// ended, x only after.
#ifndef PAMIR_KERNELS_PRODUCT_STREAM_KERNEL_CUH_
#define PAMIR_KERNELS_PRODUCT_STREAM_KERNEL_CUH_

#include "kernels/product/stream_parts.cuh"

namespace pamir::kernels::cuda {

__device__ __forceinline__ void AskInputs(uint32_t to, const CUtensorMap& map,
                                          const StreamParams& p, int line, int step,
                                          uint32_t barrier, uint64_t policy) {
  if (p.folded) {
    CopyBox(to, map, 0, line, step * p.chunks, barrier, policy);
  } else {
    CopyBox(to, map, step * kBoxK, line, barrier, policy);
  }
}

template <bool kNeurons>
__device__ void AskWeights(const CUtensorMap& w, const StreamParams& p, const Place& at,
                           const Rings& r, int slot, int step) {
  const uint32_t barrier = r.full + 8 * slot, to = r.data + slot * p.stage_bytes;
  BarrierExpect(barrier, p.stage_bytes);
  if constexpr (kNeurons) {
    for (int g = 0; g < p.groups; ++g) {
      CopyBox(to + g * p.chunks * kBoxBytes, w, at.out0 + 64 * g, step * p.chunks * kBoxK, barrier,
              p.weight_policy);
    }
  } else {
    AskInputs(to, w, p, at.out0, step, barrier, p.weight_policy);
  }
}

__device__ inline void AskRows(const CUtensorMap& x, const StreamParams& p, const Place& at,
                               const Rings& r, int slot, int step) {
  AskInputs(r.data + slot * p.stage_bytes + p.chunks * p.outs * 128, x, p, at.row0, step,
            r.full + 8 * slot, kEvictLast);
}

template <bool kNeurons>
__device__ void Ask(const CUtensorMap& w, const CUtensorMap& x, const StreamParams& p,
                    const Place& at, const Rings& r, int steps) {
  const int ahead = min(steps, p.stages);
  if (p.allow_step < ahead) AllowNextKernel();
  for (int s = 0; s < ahead; ++s) AskWeights<kNeurons>(w, p, at, r, s, s);
  AwaitLastKernel();
  for (int s = 0; s < ahead; ++s) AskRows(x, p, at, r, s, s);
  Cursor c;
  for (int s = ahead; s < steps; ++s, c.Step(p.stages)) {
    if (s == p.allow_step) AllowNextKernel();
    BarrierWait(r.empty + 8 * c.slot, c.parity);
    AskWeights<kNeurons>(w, p, at, r, c.slot, s);
    AskRows(x, p, at, r, c.slot, s);
  }
}

// Where x needs no asking.
__device__ inline void AskWeightsOnly(const CUtensorMap& w, const StreamParams& p, const Place& at,
                                      const Rings& r, int steps) {
  Cursor c;
  c.parity = 1;  // the first round needs no release
  for (int s = 0; s < steps; ++s, c.Step(p.stages)) {
    if (s == p.allow_step) AllowNextKernel();
    BarrierWait(r.empty + 8 * c.slot, c.parity);
    AskWeights<false>(w, p, at, r, c.slot, s);
  }
}

// What a warpgroup reads: descriptors of shared memory in units of 16 bytes.
struct Reader {
  uint32_t w, x;              // of the first chunk of the first stage
  uint32_t stage, x_stage;    // from a stage to the next
  uint32_t w_chunk, x_chunk;  // from a chunk to the next
};

template <int kRows, bool kNeurons>
__device__ __forceinline__ Reader ReaderOf(const StreamParams& p, const Rings& r, int group,
                                           uint32_t resident) {
  const uint32_t w_chunk = kNeurons ? kBoxBytes : p.outs * 128;
  const uint32_t w_group = group * (kNeurons ? p.chunks * kBoxBytes : kBoxBytes);
  const uint32_t x = resident != 0 ? resident : r.data + p.chunks * p.outs * 128;
  const uint32_t stage = p.stage_bytes / 16;
  constexpr uint32_t kChunk = kRows * 128 / 16;
  return {Kept(WgmmaLow(r.data + w_group)),
          Kept(WgmmaLow(x)),
          Kept(stage),
          Kept(resident != 0 ? p.chunks * kChunk : stage),
          Kept(w_chunk / 16),
          kChunk};
}

// kChunks chunks from w and x on, as one group. The descriptors are kept to uniform registers and
// additions: what is done beside the tensor cores' own steps is what makes narrow products slow.
template <DType kType, bool kNeurons, int kChunks, int kSums>
__device__ __forceinline__ void MultiplyChunks(float (&sums)[kSums], const Reader& reader,
                                               uint32_t w_first, uint32_t x_first) {
  const uint32_t w0 = Uniform(w_first), x0 = Uniform(x_first);
  const uint32_t w_chunk = kChunks > 1 ? Uniform(reader.w_chunk) : 0;
  Pin(sums);
  WgmmaBegin();
#pragma unroll
  for (int i = 0; i < kChunks; ++i) {
    const uint32_t w = w0 + i * w_chunk, x = x0 + i * reader.x_chunk;
#pragma unroll
    for (int k = 0; k < kBoxK / 16; ++k) {  // 16 inputs: 32 bytes of a row, or 16 rows of neurons
      Wgmma<kType, kNeurons>(sums, WgmmaMatrix(w + k * (kNeurons ? 2048 : 32) / 16),
                             WgmmaMatrix(x + k * 32 / 16));
    }
  }
  WgmmaCommit();
  WgmmaWait<1>();
  Pin(sums);
}

// `resident`: where all of x lies, or 0: in the stages.
template <DType kType, int kRows, bool kNeurons>
__device__ __forceinline__ void Multiply(float (&sums)[kRows / 2], const StreamParams& p,
                                         const Rings& r, int group, int chunks,
                                         uint32_t resident = 0) {
  constexpr int kBlock = kRows <= 16 ? 4 : 1;  // chunks at once; more rows are not in such haste
  const Reader reader = ReaderOf<kRows, kNeurons>(p, r, group, resident);
  const int stages = Kept(p.stages), each = Kept(p.chunks);
  const bool releases = Lane() == 0;
  uint32_t parity = 0, w_stage = reader.w, x_stage = reader.x;
  uint32_t last = 0;  // the stage before, to be released
  int slot = 0;
#pragma unroll 1
  for (int left = chunks; left > 0; left -= each) {
    const int here = min(each, left);
    const uint32_t full = r.full + 8 * slot;
    BarrierWait(full, parity);
    uint32_t w = w_stage, x = x_stage;
    int i = 0;
    if constexpr (kBlock > 1) {
#pragma unroll 1
      for (; i + kBlock <= here; i += kBlock) {
        MultiplyChunks<kType, kNeurons, kBlock>(sums, reader, w, x);
        if (last != 0 && releases) BarrierArrive(last);
        last = 0;
        w += kBlock * reader.w_chunk, x += kBlock * reader.x_chunk;
      }
    }
#pragma unroll 1
    for (; i < here; ++i) {
      MultiplyChunks<kType, kNeurons, 1>(sums, reader, w, x);
      if (last != 0 && releases) BarrierArrive(last);
      last = 0;
      w += reader.w_chunk, x += reader.x_chunk;
    }
    last = full + kEmptyAfterFull;
    w_stage += reader.stage, x_stage += reader.x_stage;
    if (++slot == stages) {
      slot = 0, parity ^= 1, w_stage = reader.w;
      if (resident == 0) x_stage = reader.x;
    }
  }
  WgmmaWait<0>();
  Pin(sums);
}

template <DType kType, int kRows, bool kNeurons>
__global__ void __launch_bounds__(128 * MaxGroups(kRows) + 32, 1)
    StreamKernel(const __grid_constant__ CUtensorMap w, const __grid_constant__ CUtensorMap x,
                 const __grid_constant__ StreamParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char raw[];
  __shared__ uint64_t barriers[2 * kMaxStages];
  char* shared = Align1024(raw);
  const Rings r = MakeRings(barriers, SharedAddress(shared), p.stages, 4 * p.groups);
  const Place at = {static_cast<int>(blockIdx.x) % p.row_tiles * kRows,
                    static_cast<int>(blockIdx.x) / p.row_tiles * p.outs};
  const int chunks = (p.in + kBoxK - 1) / kBoxK;
  const int group = threadIdx.x / 128;
  if (group == p.groups) {
    if (threadIdx.x % 32 == 0) {
      FetchMap(x);
      Ask<kNeurons>(w, x, p, at, r, (chunks + p.chunks - 1) / p.chunks);
    }
    return;
  }
  float sums[kRows / 2] = {};
  if constexpr (kRows == 8) {
    const FewBiases biases = FetchBiases(p, at);
    Multiply<kType, kRows, kNeurons>(sums, p, r, group, chunks);
    StoreFew(sums, p, at, biases);
  } else {
    __shared__ __align__(16) Tail tail;
    FetchTail(tail, p, at);
    Multiply<kType, kRows, kNeurons>(sums, p, r, group, chunks);
    BarrierOfConsumers(128 * p.groups);  // the ring is free for y
    Store<kRows>(sums, p, at, reinterpret_cast<float*>(shared), tail);
  }
#endif
}

template <DType kType, int kRows>
constexpr StreamKernels MakeKernels() {
  return {kRows, &StreamKernel<kType, kRows, false>, &StreamKernel<kType, kRows, true>};
}

#define PAMIR_STREAM_KERNELS(type)                                                  \
  {                                                                                 \
    MakeKernels<type, 8>(), MakeKernels<type, 16>(), MakeKernels<type, 32>(),       \
        MakeKernels<type, 64>(), MakeKernels<type, 128>(), MakeKernels<type, 256>() \
  }

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_STREAM_KERNEL_CUH_
