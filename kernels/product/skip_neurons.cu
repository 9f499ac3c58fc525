// The full skip: a block of threads for one row, one section of neurons and 256 outputs, a warp for
// each of its ranges; then the sections are added.
#include <algorithm>

#include "kernels/cuda/launch.cuh"
#include "kernels/product/skip_neurons.cuh"

namespace pamir::kernels::cuda {
namespace {

using namespace skip;  // NOLINT: this file's own parts

constexpr int kStages = 4;       // of a warp's ring: 16 neurons, about those active of a range
constexpr int kSmallStages = 3;  // 55 KiB of shared memory a block, which every device has
constexpr int kAtOnce = 16;      // sections whose sums are loaded together

// ---- device ----

// Where a thread stands, once the ranges are added: one output of one row.
struct Place {
  int row, out;
  bool live;  // out is an output
  float bias;
};

__device__ __forceinline__ void StoreOut(const SkipNeuronsArgs& a, const Place& at, float sum) {
  // The sum is never -0, so that adding no bias as 0 changes nothing.
  if (at.live) a.y[at.row * a.y_stride + at.out] = __fadd_rn(sum, at.bias);
}

// The last of a slab's blocks to finish adds the sections, which all have left in scratch.
__device__ __forceinline__ void AddSections(const Call& call, const Place& at, float section) {
  float* parts = call.partials + int64_t{blockIdx.y} * call.sections * call.args.out + at.out;
  if (at.live) __stcg(parts + blockIdx.x * call.args.out, section);
  __shared__ bool last;
  __syncthreads();
  if (threadIdx.x == 0) {
    // Wraps to 0 with the last block: ready for the next launch.
    const unsigned others = static_cast<unsigned>(call.sections) - 1;
    __threadfence();
    last = atomicInc(call.done + int64_t{blockIdx.y} * gridDim.z + blockIdx.z, others) == others;
    __threadfence();
  }
  __syncthreads();
  if (!last || !at.live) return;
  float sum = 0;
  for (int first = 0; first < call.sections; first += kAtOnce) {
    float some[kAtOnce];
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) {
      const bool there = first + s < call.sections;  // absent ones add + 0: nothing
      some[s] = there ? __ldcg(parts + (first + s) * call.args.out) : 0.0f;
    }
#pragma unroll
    for (int s = 0; s < kAtOnce; ++s) sum = __fadd_rn(sum, some[s]);
  }
  StoreOut(call.args, at, sum);
}

// Grid: sections, rows, slabs; so that rows which may need the same weights are neighbours and one
// reading of the memory serves them all.
template <typename T, int kRingStages>
__global__ void __launch_bounds__(kThreads, 3)
    SkipNeuronsKernel(const __grid_constant__ Call call) {
  extern __shared__ __align__(16) char shared[];
  const SkipNeuronsArgs& a = call.args;
  const int warp = threadIdx.x / 32, slab = static_cast<int>(blockIdx.z) * kSlab;
  char* ring = Layout<kRingStages>::Ring(shared, warp);
  char* lists = ring + Layout<kRingStages>::kRing;
  const WarpMemory m = {ring, reinterpret_cast<uint16_t*>(lists),
                        reinterpret_cast<uint8_t*>(lists + 2 * kRange)};
  Place at;
  at.out = slab + static_cast<int>(threadIdx.x);
  at.live = at.out < a.out;
  at.bias = at.live && a.bias != nullptr ? __ldg(a.bias + at.out) : 0.0f;
  AwaitPrevious();
  AllowNext();
  at.row = static_cast<int>(blockIdx.y);
  if (a.index != nullptr) at.row = __ldcg(a.index + blockIdx.y);
  if (at.row < 0) return;  // all sections of this row do
  float sums[kLaneOuts] = {};
  SumRange<T, kRingStages>(sums, a, at.row, static_cast<int>(blockIdx.x) * kWarps + warp, slab, m);
  __syncwarp();  // the ring becomes the place of the sums
  float4* to = reinterpret_cast<float4*>(ring) + threadIdx.x % 32 * 2;
  to[0] = {sums[0], sums[1], sums[2], sums[3]};
  to[1] = {sums[4], sums[5], sums[6], sums[7]};
  __syncthreads();
  float section = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    const char* part = Layout<kRingStages>::Ring(shared, w);
    section = __fadd_rn(section, reinterpret_cast<const float*>(part)[threadIdx.x]);
  }
  if (call.sections > 1) {
    AddSections(call, at, section);
  } else {
    StoreOut(a, at, section);
  }
}

// ---- host ----

int64_t Slabs(int64_t out) { return (out + kSlab - 1) / kSlab; }
int64_t Sections(int64_t in) { return (in + kSkipSection - 1) / kSkipSection; }
size_t CounterBytes(int64_t rows, int64_t out) {
  return static_cast<size_t>((rows * Slabs(out) * 4 + 15) / 16 * 16);
}

bool Aligned(const void* p) { return p != nullptr && reinterpret_cast<uintptr_t>(p) % 16 == 0; }

bool Sound(const SkipNeuronsArgs& a) {
  constexpr int64_t kMaxOut = int64_t{65535} * kSlab, kMaxIn = int64_t{1} << 30;
  return a.rows > 0 && a.rows <= kMaxSkipNeuronsRows && a.rows <= a.scratch_rows && a.in > 0 &&
         a.in <= kMaxIn && a.out > 0 && a.out <= kMaxOut && a.out % 8 == 0 && a.x_stride >= a.in &&
         a.x_stride % 8 == 0 && a.y_stride >= a.out && Aligned(a.x) && Aligned(a.w) &&
         Aligned(a.scratch) && a.y != nullptr && a.type != DType::kFloat32;
}

// What decides how a kernel is launched here.
struct Device {
  int processors = 0;
  int shared_bytes = 0;           // of a multiprocessor
  int shared_bytes_of_block = 0;  // at most
};

cudaError_t AskDevice(Device* d) {
  int device = 0;
  cudaError_t e = cudaGetDevice(&device);
  const auto ask = [&](int* value, cudaDeviceAttr attribute) {
    if (e == cudaSuccess) e = cudaDeviceGetAttribute(value, attribute, device);
  };
  ask(&d->processors, cudaDevAttrMultiProcessorCount);
  ask(&d->shared_bytes, cudaDevAttrMaxSharedMemoryPerMultiprocessor);
  ask(&d->shared_bytes_of_block, cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return e;
}

// So much shared memory for a block that a multiprocessor takes no more of few blocks than its
// share: else those that are free first would take as many as they hold, and others none.
size_t SharedBytes(const Device& d, size_t needed, const dim3& grid) {
  const int64_t blocks = int64_t{grid.x} * grid.y * grid.z;
  const int64_t share = (blocks + d.processors - 1) / d.processors;
  return std::max(needed, static_cast<size_t>(d.shared_bytes / (share + 1)));  // one more: too much
}

template <typename T, int kRingStages>
int LaunchBy(const Call& call, StreamRef stream, const Device& d, bool spread) {
  const auto kernel = &SkipNeuronsKernel<T, kRingStages>;
  const void* handle = reinterpret_cast<const void*>(kernel);
  const SkipNeuronsArgs& a = call.args;
  cudaFuncAttributes of_kernel;
  cudaError_t e = cudaFuncGetAttributes(&of_kernel, handle);
  if (e != cudaSuccess) return e;
  const size_t most = d.shared_bytes_of_block - of_kernel.sharedSizeBytes;
  // Always the same limit, so that threads which launch other shapes do not lower it in between.
  e = cudaFuncSetAttribute(handle, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           static_cast<int>(most));
  if (e != cudaSuccess) return e;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(call.sections), static_cast<unsigned>(a.rows),
                        static_cast<unsigned>(Slabs(a.out)));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = Layout<kRingStages>::kBytes;
  if (spread) {
    config.dynamicSmemBytes =
        std::min(SharedBytes(d, config.dynamicSmemBytes, config.gridDim), most);
  }
  config.stream = static_cast<cudaStream_t>(stream.handle);
  cudaLaunchAttribute dependent = {};
  dependent.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  dependent.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &dependent;
  // Code for older devices does not await its predecessor, wherever it runs.
  config.numAttrs = a.dependent_launch && of_kernel.ptxVersion >= 90 ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, call);
}

template <typename T>
int LaunchType(const Call& call, StreamRef stream, SkipNeuronsWay way) {
  Device d;
  const cudaError_t e = AskDevice(&d);
  if (e != cudaSuccess) return e;
  if (way == SkipNeuronsWay::kSmall || d.shared_bytes_of_block < Layout<kStages>::kBytes + 64) {
    return LaunchBy<T, kSmallStages>(call, stream, d, false);
  }
  return LaunchBy<T, kStages>(call, stream, d, true);
}

}  // namespace

size_t SkipNeuronsScratchBytes(int64_t rows, int64_t out, int64_t in) {
  return CounterBytes(rows, out) + static_cast<size_t>(rows * Sections(in) * out) * sizeof(float);
}

int SkipNeuronsCuda(const SkipNeuronsArgs& args, StreamRef stream, SkipNeuronsWay way) {
  if (!Sound(args)) return cudaErrorInvalidValue;
  Call call;
  call.args = args;
  call.sections = static_cast<int>(Sections(args.in));
  call.done = static_cast<unsigned*>(args.scratch);
  call.partials = reinterpret_cast<float*>(static_cast<char*>(args.scratch) +
                                           CounterBytes(args.scratch_rows, args.out));
  return args.type == DType::kFloat16 ? LaunchType<__half>(call, stream, way)
                                      : LaunchType<__nv_bfloat16>(call, stream, way);
}

}  // namespace pamir::kernels::cuda
