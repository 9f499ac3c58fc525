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

template <DType kType, int kRows, bool kNeurons>
__device__ __forceinline__ void Multiply(float (&sums)[kRows / 2], const StreamParams& p,
                                         const Rings& r, int group, int chunks) {
  const int w_chunk = kNeurons ? kBoxBytes : p.outs * 128;
  const int w_group = group * (kNeurons ? p.chunks * kBoxBytes : kBoxBytes);
  Cursor c;
  for (int first = 0; first < chunks; first += p.chunks, c.Step(p.stages)) {
    const uint32_t stage = r.data + c.slot * p.stage_bytes;
    const int here = min(p.chunks, chunks - first);
    BarrierWait(r.full + 8 * c.slot, c.parity);
#pragma unroll 1
    for (int i = 0; i < here; ++i) {
      const uint32_t w = stage + w_group + i * w_chunk;
      const uint32_t x = stage + p.chunks * p.outs * 128 + i * kRows * 128;
      Pin(sums);
      WgmmaBegin();
#pragma unroll
      for (int k = 0; k < kBoxK / 16; ++k) {  // 16 inputs: 32 bytes of a row, or 16 rows of neurons
        Wgmma<kType, kNeurons>(sums,
                               WgmmaMatrix(w + k * (kNeurons ? 2048 : 32), 1024, Swizzle::k128),
                               WgmmaMatrix(x + k * 32, 1024, Swizzle::k128));
      }
      WgmmaCommit();
      WgmmaWait<1>();
      Pin(sums);
      if (i == 0 && first > 0) Release(r, c.slot, p.stages);  // the stage before this one
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
  __shared__ __align__(16) Tail tail;
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
  FetchTail(tail, p, at);
  float sums[kRows / 2] = {};
  Multiply<kType, kRows, kNeurons>(sums, p, r, group, chunks);
  BarrierOfConsumers(128 * p.groups);  // the ring is free for y
  Store<kRows>(sums, p, at, reinterpret_cast<float*>(shared), tail);
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
