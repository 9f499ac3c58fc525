// One warp, one range of neurons, one row, 256 outputs (8 a lane): which neurons are active, their
// weights copied into a ring of the warp's own, and the range's sums. skip_neurons_cuda.h has the
// rule.
#ifndef PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUH_
#define PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "kernels/product/skip_neurons_cuda.h"

namespace pamir::kernels::cuda::skip {

constexpr int kRange = static_cast<int>(kSkipRange);
constexpr int kWarps = static_cast<int>(kSkipRanges);  // a block is a section
constexpr int kThreads = 32 * kWarps;
constexpr int kSlab = 256;             // outputs of a block
constexpr int kLaneOuts = 8;           // outputs of a lane, and neurons that a lane looks at
constexpr int kSlotBytes = kSlab * 2;  // a neuron's weights
constexpr int kChunk = 4;              // neurons that are copied and added together
constexpr int kStageBytes = kChunk * kSlotBytes;
static_assert(kRange == 32 * kLaneOuts && kSlab == 32 * kLaneOuts && kSlab == kThreads);

struct Call {
  SkipNeuronsArgs args;
  int sections = 0;
  float* partials = nullptr;  // [rows][sections][out], and the number of blocks that are done,
  unsigned* done = nullptr;   // [rows][slabs]
};

// A warp's part of the block's shared memory.
struct WarpMemory {
  char* ring;         // [stages][kChunk][kSlotBytes]; afterwards the range's sums [kSlab]
  uint16_t* entries;  // [kRange]: the row's active neurons, ascending: their values
  uint8_t* list;      // [kRange]: and their places in the range
};

template <int kStages>
struct Layout {
  static constexpr int kRing = kStages * kStageBytes;
  static constexpr int kWarp = kRing + 3 * kRange;
  static constexpr int kBytes = kWarps * kWarp;

  static __device__ __forceinline__ char* Ring(char* shared, int warp) {
    return shared + warp * kWarp;
  }
};

// ---- which neurons ----

__device__ __forceinline__ uint32_t Word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Bits 0 and 1: whether the lower and the upper half of a word are other than +0 and -0.
__device__ __forceinline__ uint32_t NonZero(uint32_t word) {
  const uint32_t carried = (word & 0x7fff7fff) + 0x7fff7fff;
  return (carried >> 15 & 1) | (carried >> 30 & 2);
}

// Neurons first .. first + 7 of a row; zeros where there are none.
__device__ __forceinline__ uint4 LoadNeurons(const SkipNeuronsArgs& a, int row, int first) {
  const int there = static_cast<int>(a.in) - first;
  if (there <= 0) return {0, 0, 0, 0};
  const uint16_t* from = static_cast<const uint16_t*>(a.x) + row * a.x_stride + first;
  uint4 v = __ldcg(reinterpret_cast<const uint4*>(from));
  if (there < kLaneOuts) {
    const auto keep = [&](uint32_t word, int i) {
      return there >= 2 * i + 2 ? word : there == 2 * i + 1 ? word & 0xffff : 0;
    };
    v = {keep(v.x, 0), keep(v.y, 1), keep(v.z, 2), keep(v.w, 3)};
  }
  return v;
}

// Lists the active neurons of the warp's range; their number.
__device__ __forceinline__ int ListActive(const SkipNeuronsArgs& a, int row, int range,
                                          const WarpMemory& m) {
  const int lane = threadIdx.x % 32;
  const uint4 x = LoadNeurons(a, row, range * kRange + lane * kLaneOuts);
  const uint32_t active = NonZero(x.x) | NonZero(x.y) << 2 | NonZero(x.z) << 4 | NonZero(x.w) << 6;
  int end = __popc(active);
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const int before = __shfl_up_sync(~0u, end, step);
    if (lane >= step) end += before;
  }
  int at = end - __popc(active);
#pragma unroll
  for (int j = 0; j < kLaneOuts; ++j) {
    if ((active >> j & 1) == 0) continue;
    m.list[at] = static_cast<uint8_t>(lane * kLaneOuts + j);
    m.entries[at] = static_cast<uint16_t>(Word(x, j / 2) >> (j % 2 * 16));
    ++at;
  }
  const int count = __shfl_sync(~0u, end, 31);
  __syncwarp();
  return count;
}

// ---- copies ----

// What a warp copies: of every neuron on its list, the weights for the block's outputs.
struct Weights {
  const char* first;  // of the range's first neuron, at the slab
  int64_t row_bytes;  // from neuron to neuron
  uint32_t bytes;     // of a neuron, up to kSlotBytes
  int count;          // active neurons
};

__device__ __forceinline__ void Copy16(char* to, const char* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from)
               : "memory");
#else
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
#endif
}

// Each lane copies its own outputs' weights and reads back only what it copied itself.
template <int kStages>
struct LaneCopies {
  static __device__ __forceinline__ void Ask(const Weights& w, const WarpMemory& m, int chunk) {
    const uint32_t at = threadIdx.x % 32 * 16;
    if (chunk * kChunk < w.count && at < w.bytes) {
      const uint32_t four = reinterpret_cast<const uint32_t*>(m.list)[chunk];
      char* to = m.ring + chunk % kStages * kStageBytes + at;
#pragma unroll
      for (int u = 0; u < kChunk; ++u) {
        const char* from = w.first + (four >> (8 * u) & 0xff) * w.row_bytes + at;
        if (chunk * kChunk + u < w.count) Copy16(to + u * kSlotBytes, from);
      }
    }
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }

  static __device__ __forceinline__ void AskFirst(const Weights& w, const WarpMemory& m) {
#pragma unroll
    for (int chunk = 0; chunk < kStages; ++chunk) Ask(w, m, chunk);
  }

  static __device__ __forceinline__ void Await() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 1) : "memory");
#endif
  }
};

// ---- sums ----

template <typename T>
__device__ __forceinline__ float2 ToFloats(uint32_t bits) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half22float2(*reinterpret_cast<const __half2*>(&bits));
  } else {
    return {__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000)};
  }
}

// A chunk of the list; what lies behind the list's end counts as zero.
template <typename T>
__device__ __forceinline__ void AddChunk(float (&sums)[kLaneOuts], const WarpMemory& m,
                                         const char* slots, int left, int chunk) {
  const uint2 values = reinterpret_cast<const uint2*>(m.entries)[chunk];
  const float2 low = ToFloats<T>(values.x), high = ToFloats<T>(values.y);
  float x[kChunk] = {low.x, low.y, high.x, high.y};
  uint4 w[kChunk];
#pragma unroll
  for (int u = 0; u < kChunk; ++u) {
    w[u] = {0, 0, 0, 0};
    if (u < left) w[u] = *reinterpret_cast<const uint4*>(slots + u * kSlotBytes);
    if (u >= left) x[u] = 0;
  }
#pragma unroll
  for (int u = 0; u < kChunk; ++u) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = ToFloats<T>(Word(w[u], i));
      sums[2 * i] = __fmaf_rn(x[u], pair.x, sums[2 * i]);
      sums[2 * i + 1] = __fmaf_rn(x[u], pair.y, sums[2 * i + 1]);
    }
  }
}

// The range's sums for the lane's outputs; `slab` is the block's first output.
template <typename T, int kStages>
__device__ __forceinline__ void SumRange(float (&sums)[kLaneOuts], const SkipNeuronsArgs& a,
                                         int row, int range, int slab, const WarpMemory& m) {
  using Copies = LaneCopies<kStages>;
  Weights w;
  w.row_bytes = a.out * 2;
  w.first = static_cast<const char*>(a.w) + range * (kRange * w.row_bytes) + slab * 2;
  w.bytes = static_cast<uint32_t>(min(a.out - slab, int64_t{kSlab})) * 2;
  w.count = ListActive(a, row, range, m);
  Copies::AskFirst(w, m);
  const char* slots = m.ring + threadIdx.x % 32 * 16;
#pragma unroll 1
  for (int chunk = 0; chunk * kChunk < w.count; ++chunk) {
    Copies::Await();
    AddChunk<T>(sums, m, slots + chunk % kStages * kStageBytes, w.count - chunk * kChunk, chunk);
    Copies::Ask(w, m, chunk + kStages);
  }
#pragma unroll
  for (float& sum : sums) sum = __fadd_rn(sum, 0.0f);  // -0 becomes +0
}

}  // namespace pamir::kernels::cuda::skip

#endif  // PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUH_
