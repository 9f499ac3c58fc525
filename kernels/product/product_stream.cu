// Products on Hopper: weights stream through shared memory into wgmma, 8 to 256 rows of x a tile.
//
// A block owns up to 256 outputs for one tile of rows and walks k from end to end, so a sum is one
// accumulation. One warp asks for boxes of weights and x (tensor copies, many stages ahead), a
// warpgroup for every 64 outputs multiplies. Weights are asked for before the last kernel has
// ended, x only after.
#include <algorithm>

#include "kernels/product/hopper.cuh"
#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

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

template <bool kNeurons>
__device__ void AskWeights(const CUtensorMap& w, const StreamParams& p, const Place& at,
                           const Rings& r, int slot, int step) {
  const uint32_t barrier = r.full + 8 * slot, to = r.data + slot * p.stage_bytes;
  BarrierExpect(barrier, p.stage_bytes);
  if constexpr (kNeurons) {
    for (int g = 0; g < p.groups; ++g) {
      CopyBox(to + g * kBoxBytes, w, at.out0 + 64 * g, step * kBoxK, barrier, p.weight_policy);
    }
  } else {
    CopyBox(to, w, step * kBoxK, at.out0, barrier, p.weight_policy);
  }
}

__device__ void AskRows(const CUtensorMap& x, const StreamParams& p, const Place& at,
                        const Rings& r, int slot, int step) {
  CopyBox(r.data + slot * p.stage_bytes + p.outs * 128, x, step * kBoxK, at.row0, r.full + 8 * slot,
          kEvictLast);
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

__device__ __forceinline__ void Release(const Rings& r, int slot, int stages) {
  if (threadIdx.x % 32 == 0) BarrierArrive(r.empty + 8 * (slot == 0 ? stages - 1 : slot - 1));
}

// Ties the sums to their registers here, so that none is copied while wgmma works on it.
template <int kCount>
__device__ __forceinline__ void Pin(float (&sums)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

template <int kRows, bool kNeurons>
__device__ __forceinline__ void Multiply(float (&sums)[kRows / 2], const StreamParams& p,
                                         const Rings& r, int group, int steps) {
  Cursor c;
#pragma unroll 1
  for (int s = 0; s < steps; ++s, c.Step(p.stages)) {
    const uint32_t x = r.data + c.slot * p.stage_bytes + p.outs * 128;
    const uint32_t w = r.data + c.slot * p.stage_bytes + group * kBoxBytes;
    BarrierWait(r.full + 8 * c.slot, c.parity);
    Pin(sums);
    WgmmaBegin();
#pragma unroll
    for (int k = 0; k < kBoxK / 16; ++k) {  // 16 inputs: 32 bytes of a row, or 16 rows of neurons
      Wgmma<kNeurons>(sums, WgmmaMatrix(w + k * (kNeurons ? 2048 : 32), 1024, Swizzle::k128),
                      WgmmaMatrix(x + k * 32, 1024, Swizzle::k128));
    }
    WgmmaCommit();
    WgmmaWait<1>();
    Pin(sums);
    if (s > 0) Release(r, c.slot, p.stages);
  }
  WgmmaWait<0>();
  Pin(sums);
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

__device__ Rings MakeRings(uint64_t* barriers, uint32_t data, int stages, int releases) {
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

__device__ char* Align1024(char* p) { return p + ((1024 - (SharedAddress(p) & 1023)) & 1023); }

// As many warpgroups as the registers allow, and the warp that asks.
constexpr int MaxGroups(int rows) { return rows <= 128 ? 4 : 2; }

template <int kRows, bool kNeurons>
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
  const int steps = (p.in + kBoxK - 1) / kBoxK;
  const int group = threadIdx.x / 128;
  if (group == p.groups) {
    if (threadIdx.x % 32 == 0) FetchMap(x), Ask<kNeurons>(w, x, p, at, r, steps);
    return;
  }
  float sums[kRows / 2] = {};
  Multiply<kRows, kNeurons>(sums, p, r, group, steps);
  BarrierOfConsumers(128 * p.groups);  // the ring is free for y
  if (p.y_float) {
    Store<kRows, float>(sums, p, at, shared);
  } else {
    Store<kRows, __half>(sums, p, at, shared);
  }
#endif
}

// ---- neurons in groups of 16, idle groups never read; up to 8 rows ----

constexpr int kStageGroups = 8, kSkipRows = 8;
constexpr int kSkipW = 64 * 16 * 2, kSkipX = kSkipRows * 16 * 2;
constexpr int kSkipStageBytes = kStageGroups * (kSkipW + kSkipX) + 0;
static_assert(kSkipStageBytes % 1024 == 0);

// The numbers of active groups, ascending. One warp; `flags` in shared memory.
__device__ int ListActive(const uint8_t* flags, int groups, uint16_t* list) {
  const int lane = threadIdx.x % 32;
  int count = 0;
  for (int base = 0; base < groups; base += 32) {
    const bool on = base + lane < groups && flags[base + lane] != 0;
    const unsigned mask = __ballot_sync(~0u, on);
    if (on) list[count + __popc(mask & ((1u << lane) - 1))] = base + lane;
    count += __popc(mask);
  }
  __syncwarp();
  return count;
}

__device__ void AskActive(const CUtensorMap& w, const CUtensorMap& x, const StreamParams& p,
                          const Place& at, const Rings& r, const uint16_t* list, int count) {
  const int lane = threadIdx.x % 32;
  Cursor c;
  c.parity = 1;  // the first round needs no release
  for (int s = 0; s * kStageGroups < count; ++s, c.Step(p.stages)) {
    const int here = min(kStageGroups, count - s * kStageGroups);
    const uint32_t barrier = r.full + 8 * c.slot;
    BarrierWait(r.empty + 8 * c.slot, c.parity);
    if (lane == 0) BarrierExpect(barrier, here * (kSkipW + kSkipX));
    __syncwarp();
    if (lane < here) {
      const int k = list[s * kStageGroups + lane] * static_cast<int>(kGroup);
      const uint32_t to = r.data + c.slot * kSkipStageBytes;
      CopyBox(to + lane * kSkipW, w, at.out0, k, barrier, p.weight_policy);
      CopyBox(to + kStageGroups * kSkipW + lane * kSkipX, x, k, 0, barrier, kEvictLast);
    }
  }
}

__device__ __forceinline__ void StepActive(float (&sums)[4], uint32_t stage, int k) {
  Wgmma<1>(sums, WgmmaMatrix(stage + k * kSkipW, 1024, Swizzle::k128),
           WgmmaMatrix(stage + kStageGroups * kSkipW + k * kSkipX, 256, Swizzle::k32));
}

__device__ __forceinline__ void MultiplyActive(float (&sums)[4], const StreamParams& p,
                                               const Rings& r, int count) {
  Cursor c;
  const int full = count / kStageGroups, rest = count % kStageGroups;
#pragma unroll 1
  for (int s = 0; s < full; ++s, c.Step(p.stages)) {
    BarrierWait(r.full + 8 * c.slot, c.parity);
    Pin(sums);
    WgmmaBegin();
#pragma unroll
    for (int k = 0; k < kStageGroups; ++k) StepActive(sums, r.data + c.slot * kSkipStageBytes, k);
    WgmmaCommit();
    WgmmaWait<1>();
    Pin(sums);
    if (s > 0) Release(r, c.slot, p.stages);
  }
  WgmmaWait<0>();
  Pin(sums);
  if (rest == 0) return;
  BarrierWait(r.full + 8 * c.slot, c.parity);
#pragma unroll 1
  for (int k = 0; k < rest; ++k) {
    Pin(sums);
    WgmmaBegin();
    StepActive(sums, r.data + c.slot * kSkipStageBytes, k);
    WgmmaCommit();
    WgmmaWait<0>();
    Pin(sums);
  }
}

__global__ void __launch_bounds__(160, 1)
    SkipKernel(const __grid_constant__ CUtensorMap w, const __grid_constant__ CUtensorMap x,
               const __grid_constant__ StreamParams p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ char raw[];
  __shared__ uint64_t barriers[2 * kMaxStages];
  __shared__ int active;
  char* shared = Align1024(raw);
  const Rings r = MakeRings(barriers, SharedAddress(shared), p.stages, 4);
  uint16_t* list = reinterpret_cast<uint16_t*>(shared + p.stages * kSkipStageBytes);
  const Place at = {0, static_cast<int>(blockIdx.x) * 64};
  if (p.allow_step == 0) AllowNextKernel();
  const int groups = (p.in + kGroup - 1) / kGroup;
  uint8_t* flags = reinterpret_cast<uint8_t*>(list + groups);
  AwaitLastKernel();
  for (int i = threadIdx.x; i < groups; i += blockDim.x) flags[i] = __ldcg(p.active_in + i);
  __syncthreads();
  if (threadIdx.x >= 128) {
    const int count = ListActive(flags, groups, list);
    if (threadIdx.x == 128) active = count;
    __syncthreads();
    AskActive(w, x, p, at, r, list, count);
    return;
  }
  __syncthreads();
  float sums[4] = {};
  MultiplyActive(sums, p, r, active);
  BarrierOfConsumers(128);
  if (p.y_float) {
    Store<kSkipRows, float>(sums, p, at, shared);
  } else {
    Store<kSkipRows, __half>(sums, p, at, shared);
  }
#endif
}

// ---- host ----

using StreamFunction = void (*)(CUtensorMap, CUtensorMap, StreamParams);

struct Kernel {
  int rows;  // of a tile
  StreamFunction outputs, neurons;
};

template <int kRows>
constexpr Kernel MakeKernel() {
  return {kRows, &StreamKernel<kRows, false>, &StreamKernel<kRows, true>};
}
const Kernel kKernels[] = {MakeKernel<8>(),  MakeKernel<16>(),  MakeKernel<32>(),
                           MakeKernel<64>(), MakeKernel<128>(), MakeKernel<256>()};

const Kernel& KernelFor(int64_t rows) {
  for (const Kernel& k : kKernels) {
    if (k.rows >= rows) return k;
  }
  return kKernels[5];
}

constexpr int kMaxShared = 225 * 1024;  // of a block; 2 kB of 227 are left to static variables
constexpr int kSkipStages = 11;         // and the lists of active groups: within kMaxShared
constexpr int kSkipShared = kSkipStages * kSkipStageBytes + 1024;

// A row-major fp16 matrix [d1][d0] with `stride` elements a row, in boxes [box1][box0].
bool MapMatrix(EncodeTiled encode, CUtensorMap* map, const void* data, int64_t d0, int64_t d1,
               int64_t stride, uint32_t box0, uint32_t box1, CUtensorMapSwizzle swizzle) {
  const cuuint64_t dims[2] = {static_cast<cuuint64_t>(d0), static_cast<cuuint64_t>(d1)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[2] = {box0, box1}, steps[2] = {1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 2, const_cast<void*>(data), dims, strides,
                box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

bool MapWeights(EncodeTiled encode, CUtensorMap* map, const GpuMatrix& w, int outs, int k) {
  return w.order == WeightOrder::kNeurons
             ? MapMatrix(encode, map, w.data, w.out, w.in, w.out, 64, k, CU_TENSOR_MAP_SWIZZLE_128B)
             : MapMatrix(encode, map, w.data, w.in, w.out, w.in, kBoxK, outs,
                         CU_TENSOR_MAP_SWIZZLE_128B);
}

StreamParams ParamsOf(const GpuProductArgs& a, int tile_rows, const StreamShape& shape) {
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

cudaError_t Launch(StreamFunction f, cudaStream_t s, int64_t blocks, int threads, int shared,
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

cudaError_t LaunchSkip(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a,
                       const StreamShape& shape) {
  CUtensorMap w, x;
  if (!MapWeights(d.encode, &w, a.w, 64, kGroup) ||
      !MapMatrix(d.encode, &x, a.x, a.w.in, a.rows, a.x_stride, kGroup, kSkipRows,
                 CU_TENSOR_MAP_SWIZZLE_32B)) {
    return cudaErrorInvalidValue;
  }
  StreamShape mine = shape;
  mine.outs = 64;
  mine.stages = kSkipStages;
  const int list = static_cast<int>((a.w.in + kGroup - 1) / kGroup) * 3;
  return Launch(&SkipKernel, s, (a.w.out + 63) / 64, 160, kSkipShared + list, a.overlap, w, x,
                ParamsOf(a, kSkipRows, mine));
}

int Round(int64_t n, int64_t to) { return static_cast<int>((n + to - 1) / to * to); }

// Stages of the deepest ring. The last warpgroup may read outputs that are not there, up to 63 rows
// past the last stage.
int StagesFor(const GpuProductArgs& a, int outs, int tile_rows) {
  const int past = ((outs + 63) / 64 * 64 - outs) * 128;
  return std::min(kMaxStages, (kMaxShared - 1024 - past) / ((outs + tile_rows) * 128));
}

int YBytes(const GpuProductArgs& a, int tile_rows, int outs) {
  return tile_rows * (outs * (a.y_float ? 4 : 2) + 16);
}

}  // namespace

cudaError_t PrepareStream() {
  for (const Kernel& k : kKernels) {
    for (const StreamFunction f : {k.outputs, k.neurons}) {
      const cudaError_t e =
          cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize, kMaxShared);
      if (e != cudaSuccess) return e;
    }
  }
  return cudaFuncSetAttribute(&SkipKernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              kSkipShared + kMaxSkipInputs / static_cast<int>(kGroup) * 3);
}

// Products of models up to 2.7B end before a deep ring pays.
constexpr int64_t kSmallSide = 2560;

// One block a multiprocessor, with as deep a ring as there is shared memory for: what comes late
// is then asked for early. Two blocks a multiprocessor, or one and the next kernel's, were slower.
StreamShape ChooseStream(const ProductDevice& d, const GpuProductArgs& a) {
  const Kernel& k = KernelFor(a.rows);
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  const int grain = neurons ? 64 : (a.active_out != nullptr ? 16 : 8);
  const int most = 64 * MaxGroups(k.rows);
  StreamShape shape;
  for (int waves = 1;; ++waves) {
    const int64_t blocks = int64_t{d.multiprocessors} * waves;
    shape.outs = Round((a.w.out + blocks - 1) / blocks, grain);
    if (shape.outs <= most) break;
  }
  shape.stages = StagesFor(a, shape.outs, k.rows);
  if (std::min(a.w.in, a.w.out) <= kSmallSide) {  // half of it: the next kernel comes in beside
    const int half = kMaxShared / 2 / ((shape.outs + k.rows) * 128);
    shape.stages = std::min(shape.stages, std::max(2, half - 1));
  }
  shape.allow = 0.98f;
  return shape;
}

int StagesThatFit(const GpuProductArgs& a, int outs) {
  return StagesFor(a, outs, KernelFor(a.rows).rows);
}

cudaError_t LaunchStream(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a,
                         const StreamShape& shape) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  if (a.active_in != nullptr && neurons && a.rows <= kMaxSkipRows && a.w.in <= kMaxSkipInputs) {
    return LaunchSkip(d, s, a, shape);
  }
  const Kernel& k = KernelFor(a.rows);
  const int groups = (shape.outs + 63) / 64, stage = (shape.outs + k.rows) * 128;
  const int ring = shape.stages * stage + (groups * 64 - shape.outs) * 128;
  const int shared = std::max(ring, YBytes(a, k.rows, shape.outs)) + 1024;
  if (shape.outs <= 0 || groups > MaxGroups(k.rows) || shape.outs % (neurons ? 64 : 8) != 0 ||
      shape.stages < 1 || shape.stages > kMaxStages || shared > kMaxShared ||
      (a.active_out != nullptr && (a.rows > k.rows || shape.outs % 16 != 0))) {
    return cudaErrorInvalidValue;
  }
  CUtensorMap w, x;
  if (!MapWeights(d.encode, &w, a.w, shape.outs, kBoxK) ||
      !MapMatrix(d.encode, &x, a.x, a.w.in, a.rows, a.x_stride, kBoxK, k.rows,
                 CU_TENSOR_MAP_SWIZZLE_128B)) {
    return cudaErrorInvalidValue;
  }
  const StreamParams p = ParamsOf(a, k.rows, shape);
  const int64_t blocks = (a.w.out + shape.outs - 1) / shape.outs * p.row_tiles;
  return Launch(neurons ? k.neurons : k.outputs, s, blocks, 128 * groups + 32, shared, a.overlap, w,
                x, p);
}

}  // namespace pamir::kernels::cuda
