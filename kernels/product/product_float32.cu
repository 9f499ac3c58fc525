// Products of float32 models on CUDA cores, any GPU: one fused multiply-add a input into one sum.
//
// A block makes a tile of outputs for a tile of rows; both operands come through shared memory in
// steps of 32 inputs, several steps ahead. Tiles change no bit, since every sum takes k ascending.
#include "kernels/cuda/launch.cuh"
#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kDepth = 32;          // inputs of a step
constexpr int kPitch = kDepth + 4;  // of rows of inputs: neighbours' quadruples in other banks
constexpr int kQuads = kDepth / 4;

struct Float32Params {
  const float* x;
  const float* w;
  const float* bias;
  void* y;
  int64_t x_stride, y_stride;
  int rows, out, in;
  DType y_type;
  Activation activation;
};

// kOuts x kRows outputs a block, kOutsEach x kRowsEach of them a thread.
template <int kOuts_, int kRows_, int kOutsEach_, int kRowsEach_, int kStages_>
struct Tile {
  static constexpr int kOuts = kOuts_, kRows = kRows_, kStages = kStages_;
  static constexpr int kOutsEach = kOutsEach_, kRowsEach = kRowsEach_;
  static constexpr int kAcross = kOuts / kOutsEach;  // threads along outputs
  static constexpr int kW = kOuts * kPitch, kStage = kW + kRows * kPitch;
  static_assert(kAcross * (kRows / kRowsEach) == kThreads);
  static_assert(kStages * kStage * sizeof(float) <= 48 * 1024);
};
using FewRows = Tile<32, 8, 1, 1, 8>;
using ManyRows = Tile<64, 64, 4, 4, 2>;

// `valid` (0 to 4) floats from `from`, the rest of the four zero. Counted by CommitCopies.
__device__ __forceinline__ void CopyFour(float* to, const float* from, int valid) {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from), "r"(4 * valid)
               : "memory");
#else
  for (int i = 0; i < 4; ++i) to[i] = i < valid ? from[i] : 0.0f;
#endif
}
__device__ __forceinline__ void CommitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}
template <int kPending>
__device__ __forceinline__ void AwaitCopies() {
#if __CUDA_ARCH__ >= 800
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

__device__ __forceinline__ int Valid(int64_t at, int end) {
  return static_cast<int>(max(int64_t{0}, min(int64_t{4}, end - at)));
}

// kLines rows of a row-major matrix [lines][in], kDepth inputs from k0.
template <int kLines>
__device__ __forceinline__ void CopyRows(float* to, const float* from, int64_t stride, int line0,
                                         int lines, int k0, int in) {
  for (int i = threadIdx.x; i < kLines * kQuads; i += kThreads) {
    const int line = i / kQuads, k = i % kQuads * 4;
    const int valid = line0 + line < lines ? Valid(k0 + k, in) : 0;
    const float* source = valid > 0 ? from + (line0 + line) * stride + k0 + k : from;
    CopyFour(to + line * kPitch + k, source, valid);
  }
}

// kDepth rows of weights [in][out]: shared memory [kDepth][kOuts].
template <int kOuts>
__device__ __forceinline__ void CopyNeurons(float* to, const Float32Params& p, int out0, int k0) {
  for (int i = threadIdx.x; i < kDepth * kOuts / 4; i += kThreads) {
    const int k = i / (kOuts / 4), o = i % (kOuts / 4) * 4;
    const int valid = k0 + k < p.in ? Valid(out0 + o, p.out) : 0;
    const float* source = valid > 0 ? p.w + int64_t{k0 + k} * p.out + out0 + o : p.w;
    CopyFour(to + k * kOuts + o, source, valid);
  }
}

template <typename T, bool kNeurons>
__device__ __forceinline__ void Multiply(float (&sums)[T::kRowsEach][T::kOutsEach], const float* w,
                                         const float* x, int across, int down) {
  constexpr int kDown = T::kRows / T::kRowsEach;
#pragma unroll
  for (int k = 0; k < kDepth; k += 4) {
    float a[T::kOutsEach][4], b[T::kRowsEach][4];
#pragma unroll
    for (int i = 0; i < T::kOutsEach; ++i) {
      const int o = across + i * T::kAcross;
      if constexpr (kNeurons) {
#pragma unroll
        for (int e = 0; e < 4; ++e) a[i][e] = w[(k + e) * T::kOuts + o];
      } else {
        *reinterpret_cast<float4*>(a[i]) = *reinterpret_cast<const float4*>(w + o * kPitch + k);
      }
    }
#pragma unroll
    for (int j = 0; j < T::kRowsEach; ++j) {
      *reinterpret_cast<float4*>(b[j]) =
          *reinterpret_cast<const float4*>(x + (down + j * kDown) * kPitch + k);
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
#pragma unroll
      for (int j = 0; j < T::kRowsEach; ++j) {
#pragma unroll
        for (int i = 0; i < T::kOutsEach; ++i) sums[j][i] = __fmaf_rn(b[j][e], a[i][e], sums[j][i]);
      }
    }
  }
}

template <typename T, bool kNeurons>
__global__ void __launch_bounds__(kThreads) Float32Kernel(const __grid_constant__ Float32Params p) {
  __shared__ __align__(16) float ring[T::kStages * T::kStage];
  const int out0 = blockIdx.x * T::kOuts, row0 = blockIdx.y * T::kRows;
  const int across = threadIdx.x % T::kAcross, down = threadIdx.x / T::kAcross;
  const int steps = (p.in + kDepth - 1) / kDepth;
  const auto copy_w = [&](int step) {
    float* to = ring + step % T::kStages * T::kStage;
    if constexpr (kNeurons) {
      CopyNeurons<T::kOuts>(to, p, out0, step * kDepth);
    } else {
      CopyRows<T::kOuts>(to, p.w, p.in, out0, p.out, step * kDepth, p.in);
    }
  };
  const auto copy_x = [&](int step) {
    CopyRows<T::kRows>(ring + step % T::kStages * T::kStage + T::kW, p.x, p.x_stride, row0, p.rows,
                       step * kDepth, p.in);
  };
  for (int s = 0; s < min(steps, T::kStages - 1); ++s) copy_w(s);
  AwaitPrevious();
  AllowNext();
  for (int s = 0; s < T::kStages - 1; ++s) {
    if (s < steps) copy_x(s);
    CommitCopies();
  }
  float sums[T::kRowsEach][T::kOutsEach] = {};
  for (int step = 0; step < steps; ++step) {
    AwaitCopies<T::kStages - 2>();
    __syncthreads();
    const int next = step + T::kStages - 1;
    if (next < steps) copy_w(next), copy_x(next);
    CommitCopies();
    const float* w = ring + step % T::kStages * T::kStage;
    if (row0 + down < p.rows) Multiply<T, kNeurons>(sums, w, w + T::kW, across, down);
  }
#pragma unroll
  for (int j = 0; j < T::kRowsEach; ++j) {
    const int row = row0 + down + j * (T::kRows / T::kRowsEach);
#pragma unroll
    for (int i = 0; i < T::kOutsEach; ++i) {
      const int o = out0 + across + i * T::kAcross;
      if (row >= p.rows || o >= p.out) continue;
      const float v = Finish(sums[j][i], p.bias != nullptr ? p.bias[o] : 0.0f, p.activation);
      StoreOne(p.y, p.y_type, row * p.y_stride + o, v);
    }
  }
}

template <typename T>
cudaError_t LaunchTiles(cudaStream_t s, const GpuProductArgs& a) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  Float32Params p = {};
  p.x = static_cast<const float*>(a.x);
  p.w = static_cast<const float*>(a.w.data);
  p.bias = a.bias;
  p.y = a.y;
  p.x_stride = a.x_stride, p.y_stride = a.y_stride;
  p.rows = static_cast<int>(a.rows);
  p.out = static_cast<int>(a.w.out), p.in = static_cast<int>(a.w.in);
  p.y_type = a.y_type, p.activation = a.activation;
  const int64_t row_tiles = (a.rows + T::kRows - 1) / T::kRows;
  if (row_tiles > 65535) return cudaErrorInvalidValue;  // of a grid's second dimension
  Shape shape;
  shape.grid = dim3(static_cast<unsigned>((a.w.out + T::kOuts - 1) / T::kOuts),
                    static_cast<unsigned>(row_tiles));
  shape.threads = kThreads;
  shape.dependent = a.overlap;
  return static_cast<cudaError_t>(
      Launch({s}, shape, neurons ? &Float32Kernel<T, true> : &Float32Kernel<T, false>, p));
}

}  // namespace

cudaError_t LaunchFloat32(cudaStream_t s, const GpuProductArgs& a) {
  return a.rows <= FewRows::kRows ? LaunchTiles<FewRows>(s, a) : LaunchTiles<ManyRows>(s, a);
}

}  // namespace pamir::kernels::cuda
