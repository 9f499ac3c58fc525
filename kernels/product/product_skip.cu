// fc2 with idle neurons: weights [in][out] in groups of 16 inputs, a step of the tensor cores each;
// groups that are zero in all rows are never read. Up to 8 rows, 64 outputs a block.
#include "kernels/product/stream_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kStageGroups = 8, kSkipRows = 8;
constexpr int kSkipW = 64 * 16 * 2, kSkipX = kSkipRows * 16 * 2;
constexpr int kSkipStageBytes = kStageGroups * (kSkipW + kSkipX);
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

template <DType kType>
__device__ __forceinline__ void StepActive(float (&sums)[4], uint32_t stage, int k) {
  Wgmma<kType, 1>(sums, WgmmaMatrix(stage + k * kSkipW, 1024, Swizzle::k128),
                  WgmmaMatrix(stage + kStageGroups * kSkipW + k * kSkipX, 256, Swizzle::k32));
}

template <DType kType>
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
    for (int k = 0; k < kStageGroups; ++k)
      StepActive<kType>(sums, r.data + c.slot * kSkipStageBytes, k);
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
    StepActive<kType>(sums, r.data + c.slot * kSkipStageBytes, k);
    WgmmaCommit();
    WgmmaWait<0>();
    Pin(sums);
  }
}

template <DType kType>
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
  }
  __syncthreads();
  if (threadIdx.x >= 128) {
    AskActive(w, x, p, at, r, list, active);
    return;
  }
  const FewBiases biases = FetchBiases(p, at);
  float sums[4] = {};
  MultiplyActive<kType>(sums, p, r, active);
  StoreFew(sums, p, at, biases);
#endif
}

constexpr int kSkipStages = 11;  // and the lists of active groups: within kMaxShared
constexpr int kSkipShared = kSkipStages * kSkipStageBytes + 1024;

}  // namespace

cudaError_t PrepareSkip() {
  for (const StreamFunction f : {&SkipKernel<DType::kFloat16>, &SkipKernel<DType::kBFloat16>}) {
    const cudaError_t e =
        cudaFuncSetAttribute(f, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kSkipShared + kMaxSkipInputs / static_cast<int>(kGroup) * 3);
    if (e != cudaSuccess) return e;
  }
  return cudaSuccess;
}

cudaError_t LaunchSkip(const ProductDevice& d, cudaStream_t s, const GpuProductArgs& a) {
  CUtensorMap w, x;
  if (!MapNeurons(d.encode, &w, a.type, a.w, kGroup) ||
      !MapMatrix(d.encode, &x, a.type, a.x, a.w.in, a.rows, a.x_stride, kGroup, kSkipRows,
                 CU_TENSOR_MAP_SWIZZLE_32B)) {
    return cudaErrorInvalidValue;
  }
  StreamShape shape;
  shape.outs = 64;
  shape.stages = kSkipStages;
  const int list = static_cast<int>((a.w.in + kGroup - 1) / kGroup) * 3;
  const StreamFunction f =
      a.type == DType::kBFloat16 ? &SkipKernel<DType::kBFloat16> : &SkipKernel<DType::kFloat16>;
  return Launch(f, s, {(a.w.out + 63) / 64, 160, kSkipShared + list, a.overlap}, w, x,
                ParamsOf(a, kSkipRows, kSkipRows, shape));
}

}  // namespace pamir::kernels::cuda
