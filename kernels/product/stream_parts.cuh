// What the streaming kernels share: rings in shared memory, the way of finished sums to y,
// launches.
#ifndef PAMIR_KERNELS_PRODUCT_STREAM_PARTS_CUH_
#define PAMIR_KERNELS_PRODUCT_STREAM_PARTS_CUH_

#include <algorithm>

#include "kernels/cuda/convert.cuh"
#include "kernels/product/hopper.cuh"
#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {

constexpr int kBoxK = 64;  // inputs of a box: 128 bytes, a row of it
constexpr int kBoxBytes = 64 * 128;
constexpr uint64_t kEvictFirst = 0x12F0000000000000;   // weights that nobody reads again soon
constexpr uint64_t kEvictNormal = 0x1000000000000000;  // weights that other row tiles read too
constexpr uint64_t kEvictLast = 0x14F0000000000000;    // x: every block reads it

constexpr int kMaxStages = 24;
constexpr uint32_t kEmptyAfterFull = 8 * kMaxStages;  // bytes between a stage's two barriers
constexpr int kMaxOuts = 256;                         // of a block
constexpr int kMaxChunks = 8;                         // boxes of inputs in a stage

struct StreamParams {
  int rows, out, in;
  int row_tiles;
  int outs;    // of a block: rows of its box of weights
  int groups;  // warpgroups: ceil(outs / 64)
  int chunks;  // of kBoxK inputs in a stage
  int stages, stage_bytes;
  int allow_step;  // the step whose weights are asked for before the next kernel may start
  const float* bias;
  void* y;
  int64_t y_stride;
  uint8_t* active_out;
  const uint8_t* active_in;
  uint64_t weight_policy;
  float largest_zero;  // of y's type
  DType y_type;
  Activation activation;
  bool wide_stores;
  bool folded;  // the maps have a third dimension, of chunks
};

// As many warpgroups as the registers allow, beside the warp that asks.
constexpr int MaxGroups(int rows) { return rows <= 128 ? 4 : 2; }

struct NormParams {
  const float* x;
  const float* delta;
  const float* delta_bias;
  const float* gamma;
  const float* beta;
  float* x_out;
  float epsilon;
};
constexpr int kMaxNormRows = 2;  // with more, every block's own norm costs more than a launch
constexpr int kMaxNormWidth = 2560;
constexpr int kMaxNormGroups = 2;  // with more registers a thread

struct Place {  // which part of the product a block makes
  int row0, out0;
};

struct Rings {
  uint32_t full, empty, data;
};

// Where a ring's next stage is.
struct Cursor {
  int slot = 0, parity = 0;
  __device__ __forceinline__ void Step(int stages) {
    if (++slot == stages) slot = 0, parity ^= 1;
  }
};

__device__ __forceinline__ void Release(const Rings& r, int slot, int stages) {
  if (threadIdx.x % 32 == 0) BarrierArrive(r.empty + 8 * (slot == 0 ? stages - 1 : slot - 1));
}

// Ties the sums to their registers here, so that none is copied while wgmma works on it.
template <int kCount>
__device__ __forceinline__ void Pin(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

__device__ __forceinline__ void BarrierOfConsumers(int threads) {
  asm volatile("bar.sync 1, %0;" ::"r"(threads) : "memory");
}

// Up to 8 rows leave straight from the registers: what comes after the last step is not hidden by
// anything. A thread's outputs are o and o + 8 of the block.
struct FewBiases {
  float v[2];
};

__device__ __forceinline__ int FewOutput() { return threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4; }

// Called before there are sums.
__device__ __forceinline__ FewBiases FetchBiases(const StreamParams& p, const Place& at) {
  const int o = at.out0 + FewOutput();
  return {{p.bias != nullptr && o < p.out ? __ldg(p.bias + o) : 0.0f,
           p.bias != nullptr && o + 8 < p.out ? __ldg(p.bias + o + 8) : 0.0f}};
}

__device__ __forceinline__ void StoreFew(const float (&sums)[4], const StreamParams& p,
                                         const Place& at, const FewBiases& biases) {
  const int warp = threadIdx.x / 32, row0 = threadIdx.x % 4 * 2;
  const int outs = min(p.outs, p.out - at.out0);
  bool active = false;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int o = FewOutput() + i / 2 * 8, row = row0 + i % 2;
    if (o >= outs || row >= p.rows) continue;
    const float v = Finish(sums[i], biases.v[i / 2], p.activation);
    active |= fabsf(v) > p.largest_zero;
    StoreOne(p.y, p.y_type, row * p.y_stride + at.out0 + o, v);
  }
  if (p.active_out == nullptr) return;
  const bool any = __any_sync(~0u, active);
  if (threadIdx.x % 32 == 0 && warp * 16 < outs) p.active_out[at.out0 / 16 + warp] = any;
}

// What the outputs of more rows need at the end, fetched before there are sums.
struct Tail {
  float bias[kMaxOuts];
  int active[kMaxOuts / 16];
};

__device__ inline void FetchTail(Tail& tail, const StreamParams& p, const Place& at) {
  for (int i = threadIdx.x; i < p.outs; i += 128 * p.groups) {
    tail.bias[i] = p.bias != nullptr && at.out0 + i < p.out ? p.bias[at.out0 + i] : 0.0f;
    if (i % 16 == 0) tail.active[i / 16] = 0;
  }
}

// Sums to shared memory, [rows][outs + 4].
template <int kRows>
__device__ __forceinline__ void PutSums(const float (&sums)[kRows / 2], int outs, float* tile) {
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int o = warp * 16 + g + 8 * h;
#pragma unroll
    for (int i = 0; i < kRows / 4; ++i) {  // row 8 (i / 2) + 2 t + i % 2
      const int row = i / 2 * 8 + 2 * t + i % 2;
      if (o < outs) tile[row * (outs + 4) + o] = sums[4 * (i / 2) + 2 * h + i % 2];
    }
  }
}

// Bias, activation, rounding; flags; so that a row's outputs leave together.
template <int kRows>
__device__ void Store(const float (&sums)[kRows / 2], const StreamParams& p, const Place& at,
                      float* tile, Tail& tail) {
  const int threads = 128 * p.groups;
  PutSums<kRows>(sums, p.outs, tile);
  BarrierOfConsumers(threads);
  const int rows = min(kRows, p.rows - at.row0), outs = min(p.outs, p.out - at.out0);
  const int line = (outs + 3) / 4;
  for (int i = threadIdx.x; i < rows * line; i += threads) {
    const int row = i / line, o = i % line * 4;
    const float4 sum = *reinterpret_cast<const float4*>(tile + row * (p.outs + 4) + o);
    const float4 bias = *reinterpret_cast<const float4*>(tail.bias + o);
    const float4 v = {Finish(sum.x, bias.x, p.activation), Finish(sum.y, bias.y, p.activation),
                      Finish(sum.z, bias.z, p.activation), Finish(sum.w, bias.w, p.activation)};
    const float largest = fmaxf(fmaxf(fabsf(v.x), fabsf(v.y)), fmaxf(fabsf(v.z), fabsf(v.w)));
    if (largest > p.largest_zero) tail.active[o / 16] = 1;
    const int64_t to = (at.row0 + row) * p.y_stride + at.out0 + o;
    if (p.wide_stores) {
      StoreFour(p.y, p.y_type, to / 4, v);
    } else {
      const float each[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int e = 0; e < 4; ++e) {
        if (o + e < outs) StoreOne(p.y, p.y_type, to + e, each[e]);
      }
    }
  }
  if (p.active_out == nullptr) return;
  BarrierOfConsumers(threads);
  for (int i = threadIdx.x; i < (outs + 15) / 16; i += threads) {
    p.active_out[at.out0 / 16 + i] = tail.active[i];
  }
}

// The compiler would make addresses in shared memory anew in every turn of a loop.
__device__ __forceinline__ uint32_t Kept(uint32_t v) {
  asm volatile("" : "+r"(v));
  return v;
}

__device__ inline Rings MakeRings(uint64_t* barriers, uint32_t data, int stages, int releases) {
  const Rings r = {Kept(SharedAddress(barriers)), Kept(SharedAddress(barriers + kMaxStages)),
                   Kept(data)};
  if (threadIdx.x == 0) {
    for (int s = 0; s < stages; ++s) {
      BarrierInit(r.full + 8 * s, 1);
      BarrierInit(r.empty + 8 * s, releases);
    }
    BarrierInitDone();
  }
  __syncthreads();
  return r;
}

__device__ inline char* Align1024(char* p) {
  return p + ((1024 - (SharedAddress(p) & 1023)) & 1023);
}

// ---- host ----

using StreamFunction = void (*)(CUtensorMap, CUtensorMap, StreamParams);

// For tiles of `rows` rows; weights [out][in] or [in][out].
struct StreamKernels {
  int rows;
  StreamFunction outputs, neurons;
};
constexpr int kStreamTiles = 6;  // 8, 16, 32, 64, 128, 256 rows
extern const StreamKernels kStreamKernelsFloat16[kStreamTiles];
extern const StreamKernels kStreamKernelsBFloat16[kStreamTiles];

constexpr int kMaxShared = 224 * 1024;  // of a block; 3 kB of 227 are left to static variables

struct MapShape {
  cuuint64_t dims[3] = {};
  cuuint64_t strides[2] = {};  // bytes
  cuuint32_t box[3] = {};
  int ranks = 2;
};

inline bool Map(EncodeTiled encode, CUtensorMap* map, DType type, const void* data,
                const MapShape& m, CUtensorMapSwizzle swizzle) {
  const cuuint32_t steps[3] = {1, 1, 1};
  return encode(map,
                type == DType::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                        : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                m.ranks, const_cast<void*>(data), m.dims, m.strides, m.box, steps,
                CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// A row-major matrix [d1][d0] with `stride` elements a row, in boxes [box1][box0].
inline bool MapMatrix(EncodeTiled encode, CUtensorMap* map, DType type, const void* data,
                      int64_t d0, int64_t d1, int64_t stride, uint32_t box0, uint32_t box1,
                      CUtensorMapSwizzle swizzle) {
  MapShape m;
  m.dims[0] = static_cast<cuuint64_t>(d0), m.dims[1] = static_cast<cuuint64_t>(d1);
  m.strides[0] = static_cast<cuuint64_t>(stride) * 2;
  m.box[0] = box0, m.box[1] = box1;
  return Map(encode, map, type, data, m, swizzle);
}

// Inputs of a matrix [lines][in] in chunks of kBoxK, as a third dimension: one box holds `chunks`
// of them, each as a two-dimensional box would lie. Whole chunks only; else one a box.
inline bool Folded(int64_t in) { return in % kBoxK == 0; }
inline bool MapInputs(EncodeTiled encode, CUtensorMap* map, DType type, const void* data,
                      int64_t in, int64_t lines, int64_t stride, uint32_t box_lines, int chunks) {
  if (!Folded(in)) {
    return MapMatrix(encode, map, type, data, in, lines, stride, kBoxK, box_lines,
                     CU_TENSOR_MAP_SWIZZLE_128B);
  }
  MapShape m;
  m.ranks = 3;
  m.dims[0] = kBoxK, m.dims[1] = static_cast<cuuint64_t>(lines);
  m.dims[2] = static_cast<cuuint64_t>(in / kBoxK);
  m.strides[0] = static_cast<cuuint64_t>(stride) * 2, m.strides[1] = 2 * kBoxK;
  m.box[0] = kBoxK, m.box[1] = box_lines, m.box[2] = static_cast<cuuint32_t>(chunks);
  return Map(encode, map, type, data, m, CU_TENSOR_MAP_SWIZZLE_128B);
}

// Weights [in][out]: 64 outputs of `k` inputs a box.
inline bool MapNeurons(EncodeTiled encode, CUtensorMap* map, DType type, const GpuMatrix& w,
                       int k) {
  return MapMatrix(encode, map, type, w.data, w.out, w.in, w.out, 64, static_cast<uint32_t>(k),
                   CU_TENSOR_MAP_SWIZZLE_128B);
}

// stage_rows: rows of x in a stage.
inline StreamParams ParamsOf(const GpuProductArgs& a, int tile_rows, int stage_rows,
                             const StreamShape& shape) {
  StreamParams p = {};
  p.rows = static_cast<int>(a.rows);
  p.out = static_cast<int>(a.w.out);
  p.in = static_cast<int>(a.w.in);
  p.row_tiles = (p.rows + tile_rows - 1) / tile_rows;
  p.outs = shape.outs;
  p.groups = (shape.outs + 63) / 64;
  p.chunks = shape.chunks;
  p.stages = shape.stages;
  p.stage_bytes = (shape.outs + stage_rows) * 128 * shape.chunks;
  const int steps = (p.in + kBoxK * p.chunks - 1) / (kBoxK * p.chunks);
  p.allow_step = static_cast<int>(shape.allow * steps);
  p.bias = a.bias;
  p.y = a.y;
  p.y_stride = a.y_stride;
  p.active_out = a.active_out;
  p.active_in = a.active_in;
  p.weight_policy = p.row_tiles == 1 ? kEvictFirst : kEvictNormal;
  p.largest_zero = LargestZero(a.y_type);
  p.y_type = a.y_type;
  p.activation = a.activation;
  p.wide_stores = a.w.out % 4 == 0 && a.y_stride % 4 == 0 &&
                  reinterpret_cast<uintptr_t>(a.y) % (4 * SizeOf(a.y_type)) == 0;
  p.folded = Folded(a.w.in);
  return p;
}

struct LaunchShape {
  int64_t blocks;
  int threads, shared_bytes;
  bool overlap;
};

template <typename... Parameters>
cudaError_t Launch(void (*f)(Parameters...), cudaStream_t s, const LaunchShape& shape,
                   const Parameters&... parameters) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(shape.threads);
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = s;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = shape.overlap ? 1 : 0;
  return cudaLaunchKernelEx(&config, f, parameters...);
}

// product_norm.cu
using NormFunction = void (*)(CUtensorMap, StreamParams, NormParams);
NormFunction NormKernelFor(DType type, int64_t rows);

// product_skip.cu
cudaError_t PrepareSkip();
cudaError_t LaunchSkip(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_STREAM_PARTS_CUH_
