// What the streaming kernels share: rings in shared memory, the way of finished sums to y,
// launches.
#ifndef PAMIR_KERNELS_PRODUCT_STREAM_PARTS_CUH_
#define PAMIR_KERNELS_PRODUCT_STREAM_PARTS_CUH_

#include <algorithm>

#include "kernels/product/hopper.cuh"
#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {

constexpr int kBoxK = 64;  // inputs of a stage: 128 bytes of fp16, a row of a box
constexpr int kBoxBytes = 64 * 128;
constexpr uint64_t kEvictFirst = 0x12F0000000000000;   // weights that nobody reads again soon
constexpr uint64_t kEvictNormal = 0x1000000000000000;  // weights that other row tiles read too
constexpr uint64_t kEvictLast = 0x14F0000000000000;    // x: every block reads it

constexpr int kMaxStages = 24;

struct StreamParams {
  int rows, out, in;
  int row_tiles;
  int outs;    // of a block: rows of its box of weights
  int groups;  // warpgroups: ceil(outs / 64)
  int stages, stage_bytes;
  int allow_step;  // the step whose weights are asked for before the next kernel may start
  const void* bias;
  void* y;
  int64_t y_stride;
  uint8_t* active_out;
  const uint8_t* active_in;
  uint64_t weight_policy;
  bool relu, y_float, wide_stores;
};

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

// Bias, activation, rounding; flags; through shared memory, so that a row's outputs leave together.
template <int kRows, typename Y>
__device__ void Store(float (&sums)[kRows / 2], const StreamParams& p, const Place& at,
                      char* shared) {
  constexpr int kWide = 16 / sizeof(Y);
  const int pitch = p.outs + kWide, threads = 128 * p.groups;
  Y* tile = reinterpret_cast<Y*>(shared);
  const int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int rows = min(kRows, p.rows - at.row0), outs = min(p.outs, p.out - at.out0);
  bool active = false;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int o = warp * 16 + g + 8 * h;
#pragma unroll
    for (int j = 0; j < kRows / 8; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int row = 8 * j + 2 * t + e;
        if (o >= outs || row >= rows) continue;
        const Y v = static_cast<Y>(
            Finish(sums[4 * j + 2 * h + e], p.bias, at.out0 + o, sizeof(Y) == 4, p.relu));
        active |= static_cast<float>(v) != 0;
        tile[row * pitch + o] = v;
      }
    }
  }
  const bool any = __any_sync(~0u, active);
  if (p.active_out != nullptr && threadIdx.x % 32 == 0 && warp * 16 < outs) {
    p.active_out[at.out0 / 16 + warp] = any;
  }
  BarrierOfConsumers(threads);
  Y* y = static_cast<Y*>(p.y) + at.row0 * p.y_stride + at.out0;
  const int width = p.wide_stores ? kWide : 1, line = (outs + width - 1) / width;
  for (int i = threadIdx.x; i < rows * line; i += threads) {
    const int row = i / line, o = i % line * width;
    if (p.wide_stores) {
      *reinterpret_cast<uint4*>(y + row * p.y_stride + o) =
          *reinterpret_cast<const uint4*>(tile + row * pitch + o);
    } else {
      y[row * p.y_stride + o] = tile[row * pitch + o];
    }
  }
}

__device__ inline Rings MakeRings(uint64_t* barriers, uint32_t data, int stages, int releases) {
  const Rings r = {SharedAddress(barriers), SharedAddress(barriers + kMaxStages), data};
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
constexpr int kMaxShared = 225 * 1024;  // of a block; 2 kB of 227 are left to static variables

// A row-major fp16 matrix [d1][d0] with `stride` elements a row, in boxes [box1][box0].
inline bool MapMatrix(EncodeTiled encode, CUtensorMap* map, const void* data, int64_t d0,
                      int64_t d1, int64_t stride, uint32_t box0, uint32_t box1,
                      CUtensorMapSwizzle swizzle) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(d0), static_cast<cuuint64_t>(d1)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[2] = {box0, box1}, steps[2] = {1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<void*>(data), dims, strides,
                box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

inline bool MapWeights(EncodeTiled encode, CUtensorMap* map, const GpuMatrix& w, int outs, int k) {
  return w.order == WeightOrder::kNeurons
             ? MapMatrix(encode, map, w.data, w.out, w.in, w.out, 64, k, CU_TENSOR_MAP_SWIZZLE_128B)
             : MapMatrix(encode, map, w.data, w.in, w.out, w.in, kBoxK, outs,
                         CU_TENSOR_MAP_SWIZZLE_128B);
}

inline StreamParams ParamsOf(const GpuProductArgs& a, int tile_rows, const StreamShape& shape) {
  StreamParams p = {};
  p.rows = static_cast<int>(a.rows);
  p.out = static_cast<int>(a.w.out);
  p.in = static_cast<int>(a.w.in);
  p.row_tiles = (p.rows + tile_rows - 1) / tile_rows;
  p.outs = shape.outs;
  p.groups = (shape.outs + 63) / 64;
  p.stages = shape.stages;
  p.stage_bytes = (shape.outs + tile_rows) * 128;
  const int steps = (p.in + kBoxK - 1) / kBoxK;
  p.allow_step = static_cast<int>(shape.allow * steps);
  p.bias = a.bias;
  p.y = a.y;
  p.y_stride = a.y_stride;
  p.active_out = a.active_out;
  p.active_in = a.active_in;
  p.weight_policy = p.row_tiles == 1 ? kEvictFirst : kEvictNormal;
  p.relu = a.relu;
  p.y_float = a.y_float;
  const int wide = a.y_float ? 4 : 8;
  p.wide_stores =
      a.w.out % wide == 0 && a.y_stride % wide == 0 && reinterpret_cast<uintptr_t>(a.y) % 16 == 0;
  return p;
}

inline cudaError_t Launch(StreamFunction f, cudaStream_t s, int64_t blocks, int threads, int shared,
                          bool overlap, const CUtensorMap& w, const CUtensorMap& x,
                          const StreamParams& p) {
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared;
  config.stream = s;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = overlap ? 1 : 0;
  return cudaLaunchKernelEx(&config, f, w, x, p);
}

// product_skip.cu
cudaError_t PrepareSkip();
cudaError_t LaunchSkip(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a);

}  // namespace pamir::kernels::cuda

#endif  // PAMIR_KERNELS_PRODUCT_STREAM_PARTS_CUH_
