// Products on Hopper: weights stream through shared memory into wgmma, 8 to 256 rows of x a tile.
//
// A block owns up to 256 outputs for one tile of rows and walks k from end to end, so a sum is one
// accumulation. One warp asks for boxes of weights and x (tensor copies, many stages ahead), a
// warpgroup for every 64 outputs multiplies. Weights are asked for before the last kernel has
// ended, x only after.
#include "kernels/product/stream_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

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
  return PrepareSkip();
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
    return LaunchSkip(d, s, a);
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
