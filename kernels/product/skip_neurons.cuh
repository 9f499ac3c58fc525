// One warp, one range of neurons, 256 outputs (8 a lane): which neurons are active, their weights
// copied into a ring of the warp's own, and the range's sums. See skip_neurons_cuda.h for the rule.
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
static_assert(kRange == 32 * kLaneOuts && kSlab == 32 * kLaneOuts && kSlab == kThreads);

struct Call {
  SkipNeuronsArgs args;
  int sections = 0;
  float* partials = nullptr;  // [rows][sections][out], and the number of blocks that are done,
  unsigned* done = nullptr;   // [tiles of rows][slabs]
  bool cluster = false;       // the sections of a slab are a cluster
};

// A warp's part of the block's shared memory. The lists are ascending.
struct WarpMemory {
  char* ring;         // [stages][kChunk][kSlotBytes]; afterwards the range's sums [rows][kSlab]
  uint16_t* entries;  // [kRange][rows]: what the rows hold of the list's neurons
  uint8_t* list;      // [kRange]: active neurons, within the range
  uint8_t* masks;     // [kRange]: bit r: row r holds something of that neuron
};

template <int kRows, int kStages>
struct Layout {
  static constexpr int kRing = kStages * kChunk * kSlotBytes;
  static constexpr int kEntries = kRange * kRows * 2;
  static constexpr int kWarp = kRing + kEntries + 2 * kRange;
  static constexpr int kBytes = kWarps * kWarp + kRows * kSlab * 4;  // and the section's sums
  static_assert(kRows * kSlab * 4 <= kRing);

  static __device__ __forceinline__ WarpMemory Of(char* shared, int warp) {
    char* at = shared + warp * kWarp;
    uint8_t* list = reinterpret_cast<uint8_t*>(at + kRing + kEntries);
    return {at, reinterpret_cast<uint16_t*>(at + kRing), list, list + kRange};
  }
  static __device__ __forceinline__ float* Sums(char* shared) {
    return reinterpret_cast<float*>(shared + kWarps * kWarp);
  }
};

// ---- copies ----

__device__ __forceinline__ void Copy16(void* to, const void* from) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from)
               : "memory");
#else
  *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
#endif
}

__device__ __forceinline__ void EndGroup() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kPending>
__device__ __forceinline__ void AwaitGroups() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// ---- which neurons ----

__device__ __forceinline__ uint32_t Word(const uint4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}

// Bits 0 and 1: whether the lower and the upper half of a word are other than +0 and -0.
__device__ __forceinline__ uint32_t NonZero(uint32_t word) {
  const uint32_t carried = (word & 0x7fff7fff) + 0x7fff7fff;
  return (carried >> 15 & 1) | (carried >> 30 & 2);
}

// The row of x and y that stands at `slot`, or a negative number.
__device__ __forceinline__ int RowAt(const SkipNeuronsArgs& a, int slot) {
  if (slot >= a.rows) return -1;
  return a.index == nullptr ? slot : __ldcg(a.index + slot);
}

// Neurons first .. first + 7 of a row; zeros where there are none.
__device__ __forceinline__ uint4 LoadNeurons(const SkipNeuronsArgs& a, int row, int first) {
  const int there = static_cast<int>(a.in) - first;
  if (row < 0 || there <= 0) return {0, 0, 0, 0};
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

// What all rows hold of a lane's neuron j.
template <int kRows>
__device__ __forceinline__ void StoreEntry(uint16_t* to, const uint4 (&x)[kRows], int j) {
  if constexpr (kRows == 1) {
    *to = static_cast<uint16_t>(Word(x[0], j / 2) >> (j % 2 * 16));
  } else {
    uint32_t pairs[kRows / 2];
#pragma unroll
    for (int r = 0; r < kRows; r += 2) {
      pairs[r / 2] =
          __byte_perm(Word(x[r], j / 2), Word(x[r + 1], j / 2), j % 2 == 0 ? 0x5410 : 0x7632);
    }
    if constexpr (kRows == 4) *reinterpret_cast<uint2*>(to) = {pairs[0], pairs[1]};
    if constexpr (kRows == 8) {
      *reinterpret_cast<uint4*>(to) = {pairs[0], pairs[1], pairs[2], pairs[3]};
    }
  }
}

// Lists the neurons of the warp's range that are active in any of the tile's rows; their number.
template <int kRows>
__device__ __forceinline__ int ListActive(const SkipNeuronsArgs& a, int tile, int range,
                                          const WarpMemory& m) {
  const int lane = threadIdx.x % 32;
  uint4 x[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    x[r] = LoadNeurons(a, RowAt(a, tile * kRows + r), range * kRange + lane * kLaneOuts);
  }
  uint4 any = x[0];
#pragma unroll
  for (int r = 1; r < kRows; ++r) {
    any = {any.x | x[r].x, any.y | x[r].y, any.z | x[r].z, any.w | x[r].w};
  }
  const uint32_t active =
      NonZero(any.x) | NonZero(any.y) << 2 | NonZero(any.z) << 4 | NonZero(any.w) << 6;
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
    StoreEntry<kRows>(m.entries + at * kRows, x, j);
    ++at;
  }
  const int count = __shfl_sync(~0u, end, 31);
  __syncwarp();
  return count;
}

// The entries' masks, and zeros up to the end of the last chunk.
template <int kRows>
__device__ __forceinline__ void MaskEntries(const WarpMemory& m, int count) {
  const int end = (count + kChunk - 1) / kChunk * kChunk;
  for (int e = threadIdx.x % 32; e < end; e += 32) {
    uint32_t mask = 0;
    if (e < count) {
      const uint32_t* pairs = reinterpret_cast<const uint32_t*>(m.entries + e * kRows);
#pragma unroll
      for (int i = 0; i < kRows / 2; ++i) mask |= NonZero(pairs[i]) << (2 * i);
    }
    m.masks[e] = static_cast<uint8_t>(mask);
  }
  __syncwarp();
}

// ---- sums ----

template <typename T>
__device__ __forceinline__ float ToFloat(uint32_t bits) {  // the lower 16
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(__ushort_as_half(static_cast<uint16_t>(bits)));
  } else {
    return __uint_as_float(bits << 16);
  }
}

template <typename T>
__device__ __forceinline__ float2 ToFloats(uint32_t bits) {
  if constexpr (std::is_same_v<T, __half>) {
    return __half22float2(*reinterpret_cast<const __half2*>(&bits));
  } else {
    return {__uint_as_float(bits << 16), __uint_as_float(bits & 0xffff0000)};
  }
}

template <typename T>
__device__ __forceinline__ void AddNeuron(float (&sums)[kLaneOuts], float x, const uint4& w) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 pair = ToFloats<T>(Word(w, i));
    sums[2 * i] = __fmaf_rn(x, pair.x, sums[2 * i]);
    sums[2 * i + 1] = __fmaf_rn(x, pair.y, sums[2 * i + 1]);
  }
}

// One row: neurons behind the list's end are replaced by zeros.
template <typename T>
__device__ __forceinline__ void AddChunk(float (&sums)[1][kLaneOuts], const WarpMemory& m,
                                         const char* slots, int chunk, int count) {
  const uint2 packed = reinterpret_cast<const uint2*>(m.entries)[chunk];
  uint4 w[kChunk];
  float x[kChunk];
#pragma unroll
  for (int u = 0; u < kChunk; ++u) {
    const bool there = chunk * kChunk + u < count;
    const uint32_t pair = u < 2 ? packed.x : packed.y;
    w[u] = {0, 0, 0, 0};
    if (there) w[u] = *reinterpret_cast<const uint4*>(slots + u * kSlotBytes);
    x[u] = there ? ToFloat<T>(pair >> (u % 2 * 16) & 0xffff) : 0.0f;
  }
#pragma unroll
  for (int u = 0; u < kChunk; ++u) AddNeuron<T>(sums[0], x[u], w[u]);
}

// Several rows: each walks through its own neurons, which are few of the union.
template <typename T, int kRows>
__device__ __forceinline__ void AddChunk(float (&sums)[kRows][kLaneOuts], const WarpMemory& m,
                                         const char* slots, int chunk, int) {
  static_assert(kChunk == 4 && kRows <= 8);
  const uint32_t masks = reinterpret_cast<const uint32_t*>(m.masks)[chunk];
  const uint16_t* entries = m.entries + chunk * kChunk * kRows;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    uint32_t mine = masks >> r & 0x01010101;
    while (mine != 0) {
      const int u = (__ffs(mine) - 1) / 8;
      mine &= mine - 1;
      AddNeuron<T>(sums[r], ToFloat<T>(entries[u * kRows + r]),
                   *reinterpret_cast<const uint4*>(slots + u * kSlotBytes));
    }
  }
}

// The range's sums for the lane's outputs, the first of which is `out`. A lane reads back only what
// it copied itself, so the ring needs no barriers.
template <typename T, int kRows, int kStages>
__device__ __forceinline__ void SumRange(float (&sums)[kRows][kLaneOuts], const Call& call,
                                         int tile, int range, int out, const WarpMemory& m) {
  const SkipNeuronsArgs& a = call.args;
  const int count = ListActive<kRows>(a, tile, range, m);
  const int chunks = (count + kChunk - 1) / kChunk;
  const T* weights = static_cast<const T*>(a.w) + int64_t{range} * kRange * a.out + out;
  const bool live = out < a.out;
  char* slots = m.ring + threadIdx.x % 32 * 16;
  const auto copy = [&](int chunk) {
    if (chunk < chunks && live) {
      const uint32_t four = reinterpret_cast<const uint32_t*>(m.list)[chunk];
      char* to = slots + chunk % kStages * (kChunk * kSlotBytes);
#pragma unroll
      for (int u = 0; u < kChunk; ++u) {
        const T* from = weights + int64_t{four >> (8 * u) & 0xff} * a.out;
        if (chunk * kChunk + u < count) Copy16(to + u * kSlotBytes, from);
      }
    }
    EndGroup();
  };
#pragma unroll
  for (int chunk = 0; chunk < kStages; ++chunk) copy(chunk);
  if constexpr (kRows > 1) MaskEntries<kRows>(m, count);
#pragma unroll 1
  for (int chunk = 0; chunk < chunks; ++chunk) {
    AwaitGroups<kStages - 1>();
    AddChunk<T>(sums, m, slots + chunk % kStages * (kChunk * kSlotBytes), chunk, count);
    copy(chunk + kStages);
  }
}

}  // namespace pamir::kernels::cuda::skip

#endif  // PAMIR_KERNELS_PRODUCT_SKIP_NEURONS_CUH_
