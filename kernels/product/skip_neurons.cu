// The full skip: a block of threads for one section of neurons and 256 outputs, a warp for each of
// its ranges; then the sections are added.
#include "kernels/cuda/launch.cuh"
#include "kernels/product/skip_neurons.cuh"

namespace pamir::kernels::cuda {
namespace {

using namespace skip;  // NOLINT: this file's own parts

constexpr int kMaxCluster = 16;  // what Hopper takes where asked to
constexpr int kMaxPortableCluster = 8;
constexpr int kMinTile = 4;  // rows of a tile, where there is more than one tile
constexpr int kMaxTile = 8;

// ---- device ----

__device__ __forceinline__ void MeetCluster() {
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "barrier.cluster.arrive.release;\n"
      "barrier.cluster.wait.acquire;\n" ::
          : "memory");
#endif
}

// The same word of shared memory in another block of the cluster.
__device__ __forceinline__ float LoadFrom(const float* mine, int rank) {
  float value = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile(
      "{\n"
      ".reg .u32 at;\n"
      "mapa.shared::cluster.u32 at, %1, %2;\n"
      "ld.shared::cluster.f32 %0, [at];\n"
      "}\n"
      : "=f"(value)
      : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(mine))), "r"(rank)
      : "memory");
#endif
  return value;
}

// Where a block stands in the product.
struct Place {
  int section, tile, out;  // out: this thread's, in the sections' sums
};

__device__ __forceinline__ void StoreOut(const SkipNeuronsArgs& a, int slot, int out, float sum) {
  const int row = RowAt(a, slot);
  if (row < 0) return;
  if (a.bias != nullptr) sum = __fadd_rn(sum, __ldg(a.bias + out));
  a.y[row * a.y_stride + out] = sum;
}

// Every block of the cluster adds the sections of some of the rows.
template <int kRows>
__device__ __forceinline__ void AddByCluster(const Call& call, const Place& at,
                                             const float (&section)[kRows], float* shared) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) shared[r * kSlab + threadIdx.x] = section[r];
  MeetCluster();
  for (int r = at.section; r < kRows; r += call.sections) {
    float parts[kMaxCluster];
#pragma unroll
    for (int s = 0; s < kMaxCluster; ++s) {
      parts[s] = s < call.sections ? LoadFrom(shared + r * kSlab + threadIdx.x, s) : 0.0f;
    }
    float sum = parts[0];
#pragma unroll
    for (int s = 1; s < kMaxCluster; ++s) sum = __fadd_rn(sum, parts[s]);  // + 0 changes nothing
    if (at.out < call.args.out) StoreOut(call.args, at.tile * kRows + r, at.out, sum);
  }
  MeetCluster();  // nobody leaves while it is read
}

// The last of a slab's blocks to finish adds all sections.
template <int kRows>
__device__ __forceinline__ void AddByScratch(const Call& call, const Place& at,
                                             const float (&section)[kRows]) {
  const SkipNeuronsArgs& a = call.args;
  const int64_t first = int64_t{at.tile} * kRows;
  const bool live = at.out < a.out;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    if (!live || first + r >= a.rows) break;
    __stcg(call.partials + ((first + r) * call.sections + at.section) * a.out + at.out, section[r]);
  }
  __shared__ bool last;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    // Wraps to 0 with the last block: ready for the next launch.
    const unsigned others = static_cast<unsigned>(call.sections) - 1;
    last = atomicInc(call.done + int64_t{at.tile} * gridDim.z + blockIdx.z, others) == others;
    __threadfence();
  }
  __syncthreads();
  if (!last || !live) return;
  for (int r = 0; r < kRows && first + r < a.rows; ++r) {
    const float* parts = call.partials + (first + r) * call.sections * a.out + at.out;
    float sum = __ldcg(parts);
#pragma unroll 8
    for (int s = 1; s < call.sections; ++s) sum = __fadd_rn(sum, __ldcg(parts + s * a.out));
    StoreOut(a, static_cast<int>(first) + r, at.out, sum);
  }
}

// The sum of the section's ranges, for this thread's output of each row.
template <int kRows, int kStages>
__device__ __forceinline__ void AddRanges(float (&section)[kRows], char* shared) {
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const auto part = [&](int warp) {
      const char* ring = Layout<kRows, kStages>::Of(shared, warp).ring;
      return reinterpret_cast<const float*>(ring)[r * kSlab + threadIdx.x];
    };
    section[r] = part(0);
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) section[r] = __fadd_rn(section[r], part(warp));
  }
}

// Grid: sections, tiles of rows, slabs; so that tiles which read the same weights are neighbours.
template <typename T, int kRows, int kStages>
__global__ void __launch_bounds__(kThreads, kRows == 1 ? 3 : 2)
    SkipNeuronsKernel(const __grid_constant__ Call call) {
  extern __shared__ __align__(16) char shared[];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int slab = static_cast<int>(blockIdx.z) * kSlab;
  const Place at = {static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y),
                    slab + static_cast<int>(threadIdx.x)};
  const WarpMemory m = Layout<kRows, kStages>::Of(shared, warp);
  AwaitPrevious();
  AllowNext();
  float sums[kRows][kLaneOuts] = {};
  SumRange<T, kRows, kStages>(sums, call, at.tile, at.section * kWarps + warp,
                              slab + lane * kLaneOuts, m);
  __syncwarp();  // the ring becomes the place of the sums
  float4* to = reinterpret_cast<float4*>(m.ring) + lane * 2;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    float(&v)[kLaneOuts] = sums[r];
#pragma unroll
    for (int i = 0; i < kLaneOuts; ++i) v[i] = __fadd_rn(v[i], 0.0f);  // -0 becomes +0
    to[r * (kSlab / 4)] = {v[0], v[1], v[2], v[3]};
    to[r * (kSlab / 4) + 1] = {v[4], v[5], v[6], v[7]};
  }
  __syncthreads();
  float section[kRows];
  AddRanges<kRows, kStages>(section, shared);
  if (call.cluster) {
    AddByCluster<kRows>(call, at, section, Layout<kRows, kStages>::Sums(shared));
  } else if (call.sections > 1) {
    AddByScratch<kRows>(call, at, section);
  } else if (at.out < call.args.out) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) StoreOut(call.args, at.tile * kRows + r, at.out, section[r]);
  }
}

// ---- host ----

int64_t Slabs(int64_t out) { return (out + kSlab - 1) / kSlab; }
int64_t Sections(int64_t in) { return (in + kSkipSection - 1) / kSkipSection; }
size_t CounterBytes(int64_t rows, int64_t out) {
  const int64_t tiles = (rows + kMinTile - 1) / kMinTile;
  return static_cast<size_t>((tiles * Slabs(out) * 4 + 15) / 16 * 16);
}

bool Aligned(const void* p) { return p != nullptr && reinterpret_cast<uintptr_t>(p) % 16 == 0; }

bool Sound(const SkipNeuronsArgs& a) {
  constexpr int64_t kMaxOut = int64_t{65535} * kSlab, kMaxIn = int64_t{1} << 30;
  return a.rows > 0 && a.rows <= kMaxSkipNeuronsRows && a.rows <= a.scratch_rows && a.in > 0 &&
         a.in <= kMaxIn && a.out > 0 && a.out <= kMaxOut && a.out % 8 == 0 && a.x_stride >= a.in &&
         a.x_stride % 8 == 0 && a.y_stride >= a.out && Aligned(a.x) && Aligned(a.w) &&
         Aligned(a.scratch) && a.y != nullptr && a.type != DType::kFloat32;
}

// What the device and the code compiled for it can do.
struct Ability {
  int shared_bytes = 0;  // of a block
  bool hopper = false;   // clusters, dependent launches
};

cudaError_t Ask(const void* kernel, Ability* ability) {
  int device = 0;
  cudaError_t e = cudaGetDevice(&device);
  if (e != cudaSuccess) return e;
  e = cudaDeviceGetAttribute(&ability->shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                             device);
  if (e != cudaSuccess) return e;
  cudaFuncAttributes attributes;
  e = cudaFuncGetAttributes(&attributes, kernel);
  if (e == cudaSuccess) ability->hopper = attributes.ptxVersion >= 90;
  return e;
}

struct Launched {  // a configuration and what it points to
  cudaLaunchAttribute attributes[2] = {};
  cudaLaunchConfig_t config = {};
};

void AddAttributes(Launched* l, bool cluster, bool dependent) {
  cudaLaunchAttribute* at = l->attributes;
  if (cluster) {
    at->id = cudaLaunchAttributeClusterDimension;
    at->val.clusterDim = {l->config.gridDim.x, 1, 1};
    ++at;
  }
  if (dependent) {
    at->id = cudaLaunchAttributeProgrammaticStreamSerialization;
    at->val.programmaticStreamSerializationAllowed = 1;
    ++at;
  }
  l->config.attrs = l->attributes;
  l->config.numAttrs = static_cast<unsigned>(at - l->attributes);
}

// Whether the device has room for such a cluster at all.
bool ClusterFits(const void* kernel, const Launched& l) {
  if (l.config.gridDim.x <= kMaxPortableCluster) return true;
  int clusters = 0;
  const bool fits = cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed,
                                         1) == cudaSuccess &&
                    cudaOccupancyMaxActiveClusters(&clusters, kernel, &l.config) == cudaSuccess &&
                    clusters > 0;
  if (!fits) cudaGetLastError();
  return fits;
}

template <typename T, int kRows, int kStages>
int LaunchTile(Call call, StreamRef stream, SkipNeuronsWay way, bool hopper) {
  const auto kernel = &SkipNeuronsKernel<T, kRows, kStages>;
  const void* handle = reinterpret_cast<const void*>(kernel);
  const SkipNeuronsArgs& a = call.args;
  const auto tiles = static_cast<unsigned>((a.rows + kRows - 1) / kRows);
  Launched l;
  l.config.gridDim = {static_cast<unsigned>(call.sections), tiles,
                      static_cast<unsigned>(Slabs(a.out))};
  l.config.blockDim = {kThreads, 1, 1};
  l.config.dynamicSmemBytes = Layout<kRows, kStages>::kBytes;
  l.config.stream = static_cast<cudaStream_t>(stream.handle);
  cudaError_t e = cudaFuncSetAttribute(handle, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       Layout<kRows, kStages>::kBytes);
  if (e != cudaSuccess) return e;
  const bool wanted =
      (way == SkipNeuronsWay::kBest || way == SkipNeuronsWay::kCluster) && call.sections > 1;
  if (wanted && hopper && call.sections <= kMaxCluster) {
    AddAttributes(&l, true, false);
    call.cluster = ClusterFits(handle, l);
  }
  if (wanted && way == SkipNeuronsWay::kCluster && !call.cluster) return cudaErrorNotSupported;
  AddAttributes(&l, call.cluster, a.dependent_launch && hopper);
  return cudaLaunchKernelEx(&l.config, kernel, call);
}

template <typename T>
int LaunchType(const Call& call, StreamRef stream, SkipNeuronsWay way) {
  Ability ability;
  const cudaError_t e =
      Ask(reinterpret_cast<const void*>(&SkipNeuronsKernel<T, kMaxTile, 4>), &ability);
  if (e != cudaSuccess) return e;
  const int64_t rows = call.args.rows;
  const bool one = rows == 1, hopper = ability.hopper;
  if (way == SkipNeuronsWay::kSmall || ability.shared_bytes < Layout<kMaxTile, 4>::kBytes) {
    return one ? LaunchTile<T, 1, 2>(call, stream, way, hopper)
               : LaunchTile<T, kMinTile, 2>(call, stream, way, hopper);
  }
  if (one) return LaunchTile<T, 1, 4>(call, stream, way, hopper);
  if (rows <= kMinTile) return LaunchTile<T, kMinTile, 4>(call, stream, way, hopper);
  return LaunchTile<T, kMaxTile, 4>(call, stream, way, hopper);
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
