// The cache in fp8: a token's vector into it, and tiles of it back to fp16.
#ifndef PAMIR_KERNELS_ATTENTION_ATTENTION_FP8_CUH_
#define PAMIR_KERNELS_ATTENTION_ATTENTION_FP8_CUH_

#include <cuda_fp8.h>

#include "kernels/attention/attention_mma.cuh"

namespace pamir::kernels::cuda {

// A head's block: its numbers, then its scales.
constexpr __host__ __device__ int Fp8BlockBytes(int dim) {
  return kKvCudaBlock * (dim + static_cast<int>(kKvFp8ScaleBytes));
}

// Four numbers in e4m3 as fp16, times their scale.
__device__ __forceinline__ uint2 WidenFour(uint32_t bytes, half2 scale) {
  const auto pair = [&](uint32_t two) {
    const half2 wide(__nv_cvt_fp8x2_to_halfraw2(static_cast<__nv_fp8x2_storage_t>(two), __NV_E4M3));
    const half2 value = __hmul2(wide, scale);
    return *reinterpret_cast<const uint32_t*>(&value);
  };
  return {pair(bytes & 0xffffu), pair(bytes >> 16)};
}
__device__ __forceinline__ uint4 WidenEight(uint2 bytes, half scale) {
  const half2 scales = __half2half2(scale);
  const uint2 low = WidenFour(bytes.x, scales), high = WidenFour(bytes.y, scales);
  return {low.x, low.y, high.x, high.y};
}

// Stores a token's k or v of a head, whose elements begin at `from`, in its block; every lane of a
// warp. Returns elements 8 i .. 8 i + 7 as they are read back, i being the lane.
__device__ __forceinline__ uint4 StoreFp8(char* block, const uint16_t* from, int position, int dim,
                                          int head_dim) {
  const int chunk = threadIdx.x % 32;
  const bool holds = chunk * 8 < dim;
  const uint4 own = holds ? KvChunk(from, chunk * 8, head_dim) : uint4{0, 0, 0, 0};
  const uint32_t pairs[4] = {own.x, own.y, own.z, own.w};
  float values[8], amax = 0;  // NaN does not count
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const float2 two = __half22float2(*reinterpret_cast<const half2*>(&pairs[i]));
    values[2 * i] = two.x, values[2 * i + 1] = two.y;
    amax = fmaxf(amax, fmaxf(fabsf(two.x), fabsf(two.y)));
  }
#pragma unroll
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    amax = fmaxf(amax, __shfl_xor_sync(~0u, amax, lanes));
  }
  const float wanted = fminf(fmaxf(__fdiv_rn(amax, 448.0f), 0x1p-24f), kKvFp8ScaleMax);
  const half scale = __float2half_ru(wanted);
  const float divisor = __half2float(scale);
  uint32_t bytes[2] = {0, 0};
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const uint32_t byte =
        __nv_cvt_float_to_fp8(__fdiv_rn(values[i], divisor), __NV_SATFINITE, __NV_E4M3);
    bytes[i / 4] |= byte << (i % 4 * 8);
  }
  const uint2 stored = {bytes[0], bytes[1]};
  if (holds) *reinterpret_cast<uint2*>(block + ChunkOffset(position, chunk, dim)) = stored;
  half* scales = reinterpret_cast<half*>(block + kKvCudaBlock * dim);
  if (chunk == 0) scales[position % kKvCudaBlock] = scale;
  return WidenEight(stored, scale);
}

// A head's block of a plane.
__device__ __forceinline__ char* Fp8Block(void* plane, int64_t id, int heads, int head, int dim) {
  return static_cast<char*>(plane) + (id * heads + head) * Fp8BlockBytes(dim);
}

// Starts copying a tile: the blocks of K, then those of V; zeros for blocks behind `context`.
template <int kThreads>
__device__ __forceinline__ void CopyFp8Tile(char* to, const KvCuda& kv, const int* ids, int head,
                                            int dim, int first_key, int context) {
  const int chunks = Fp8BlockBytes(dim) / 16;
#pragma unroll 4
  for (int i = threadIdx.x; i < 2 * kTileBlocks * chunks; i += kThreads) {
    const int at = i / chunks, chunk = i - at * chunks, block = at % kTileBlocks;
    void* plane = at < kTileBlocks ? kv.k : kv.v;
    const bool valid = first_key + block * kKvCudaBlock < context;
    const char* from = valid ? Fp8Block(plane, ids[block], kv.heads, head, dim) + chunk * 16
                             : static_cast<const char*>(plane);
    CopyAsync(to + i * 16, from, valid);
  }
}

// A tile in fp16, zeros from position `context` on. 16 bytes hold 8 elements each of two positions.
template <int kThreads>
__device__ __forceinline__ void WidenTile(half* to, const char* from, int dim, int first_key,
                                          int context) {
#pragma unroll 4
  for (int i = threadIdx.x; i < 2 * kTileBlocks * dim; i += kThreads) {
    const int at = i / dim, chunk = i - at * dim;
    const int position = (chunk * 2 >= dim ? 8 : 0) + chunk % 4 * 2;
    const char* block = from + at * Fp8BlockBytes(dim);
    const uint4 bytes = *reinterpret_cast<const uint4*>(block + chunk * 16);
    const half2 scales = *reinterpret_cast<const half2*>(block + kKvCudaBlock * dim + position * 2);
    const int key = first_key + at % kTileBlocks * kKvCudaBlock + position;
    uint4* two = reinterpret_cast<uint4*>(to + i * 16);
    const uint4 zeros = {0, 0, 0, 0};
    two[0] = key < context ? WidenEight({bytes.x, bytes.y}, __low2half(scales)) : zeros;
    two[1] = key + 1 < context ? WidenEight({bytes.z, bytes.w}, __high2half(scales)) : zeros;
  }
}

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_ATTENTION_ATTENTION_FP8_CUH_
