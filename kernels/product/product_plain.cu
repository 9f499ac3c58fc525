// Products with mma.sync alone: any GPU from 7.5 on (bf16: 8.0), any order of the weights.
//
// A warp makes 16 outputs for 32 rows, fragments straight from global memory. It is the way of GPUs
// before Hopper and the tests' second opinion; nobody has tuned it.
#include "kernels/product/product_parts.cuh"

namespace pamir::kernels::cuda {
namespace {

constexpr int kWarps = 4, kTiles = 4;  // of 8 rows

struct PlainParams {
  const uint16_t* x;  // bits of either type
  const uint16_t* w;
  int64_t rows, x_stride, out, in, w_out, w_in;  // W[o][k] is w[o * w_out + k * w_in]
  const float* bias;
  void* y;
  int64_t y_stride;
  uint8_t* active_out;
  float largest_zero;
  DType y_type;
  Activation activation;
};

// d[16 outputs][8 rows] += a[16 outputs][16] b[8 rows][16]
template <DType kType>
__device__ __forceinline__ void Mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  if constexpr (kType == DType::kFloat16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  if constexpr (kType == DType::kFloat16) {  // bf16: refused by OpenProduct's findings
    for (int h = 0; h < 2; ++h) {
      asm volatile(
          "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
          "{%0, %1, %2, %3};"
          : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
          : "r"(a[2 * h]), "r"(a[2 * h + 1]), "r"(b[h]));
    }
  }
#endif
}

// Values k and k + 1 of row r of a matrix, as a fragment holds them; 0 outside.
__device__ __forceinline__ uint32_t Pair(const uint16_t* m, int64_t r, int64_t rows,
                                         int64_t row_step, int64_t k, int64_t in, int64_t k_step) {
  uint32_t low = 0, high = 0;
  if (r < rows && k < in) low = m[r * row_step + k * k_step];
  if (r < rows && k + 1 < in) high = m[r * row_step + (k + 1) * k_step];
  return low | high << 16;
}

__device__ __forceinline__ bool StoreValue(const PlainParams& p, float sum, int64_t row,
                                           int64_t o) {
  const float v = Finish(sum, p.bias != nullptr ? p.bias[o] : 0.0f, p.activation);
  StoreOne(p.y, p.y_type, row * p.y_stride + o, v);
  return fabsf(v) > p.largest_zero;
}

template <DType kType>
__global__ void __launch_bounds__(32 * kWarps) PlainKernel(const PlainParams p) {
  const int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  const int64_t o0 = (int64_t{blockIdx.x} * kWarps + threadIdx.x / 32) * 16;
  if (o0 >= p.out) return;
  bool active = false;
  for (int64_t r0 = int64_t{blockIdx.y} * 8 * kTiles; r0 < p.rows;
       r0 += int64_t{gridDim.y} * 8 * kTiles) {
    float sums[kTiles][4] = {};
    for (int64_t k = 0; k < p.in; k += 16) {
      uint32_t a[4];
      for (int i = 0; i < 4; ++i) {
        a[i] =
            Pair(p.w, o0 + g + 8 * (i % 2), p.out, p.w_out, k + 2 * t + 8 * (i / 2), p.in, p.w_in);
      }
#pragma unroll
      for (int j = 0; j < kTiles; ++j) {
        if (r0 + 8 * j >= p.rows) break;
        uint32_t b[2];
        for (int i = 0; i < 2; ++i) {
          b[i] = Pair(p.x, r0 + 8 * j + g, p.rows, p.x_stride, k + 2 * t + 8 * i, p.in, 1);
        }
        Mma<kType>(sums[j], a, b);
      }
    }
#pragma unroll
    for (int j = 0; j < kTiles; ++j) {
      for (int i = 0; i < 4; ++i) {
        const int64_t row = r0 + 8 * j + 2 * t + i % 2, o = o0 + g + 8 * (i / 2);
        if (row < p.rows && o < p.out) active |= StoreValue(p, sums[j][i], row, o);
      }
    }
  }
  if (p.active_out == nullptr) return;  // else the grid has one block for all rows
  const bool any = __any_sync(~0u, active);
  if (threadIdx.x % 32 == 0) p.active_out[o0 / 16] = any;
}

}  // namespace

bool PlainHasBFloat16() {
  return AttributesOf(reinterpret_cast<const void*>(&PlainKernel<DType::kBFloat16>)).ptxVersion >=
         80;
}

cudaError_t LaunchPlain(cudaStream_t s, const GpuProductArgs& a) {
  const bool neurons = a.w.order == WeightOrder::kNeurons;
  PlainParams p = {};
  p.x = static_cast<const uint16_t*>(a.x);
  p.w = static_cast<const uint16_t*>(a.w.data);
  p.rows = a.rows, p.x_stride = a.x_stride;
  p.out = a.w.out, p.in = a.w.in;
  p.w_out = neurons ? 1 : a.w.in, p.w_in = neurons ? a.w.out : 1;
  p.bias = a.bias;
  p.y = a.y, p.y_stride = a.y_stride;
  p.active_out = a.active_out;
  p.largest_zero = LargestZero(a.y_type);
  p.y_type = a.y_type, p.activation = a.activation;
  const int64_t row_blocks = a.active_out != nullptr ? 1 : (a.rows + 8 * kTiles - 1) / (8 * kTiles);
  const dim3 grid(static_cast<unsigned>((a.w.out + 16 * kWarps - 1) / (16 * kWarps)),
                  static_cast<unsigned>(row_blocks < 65535 ? row_blocks : 65535));
  if (a.type == DType::kFloat16) {
    PlainKernel<DType::kFloat16><<<grid, 32 * kWarps, 0, s>>>(p);
  } else {
    PlainKernel<DType::kBFloat16><<<grid, 32 * kWarps, 0, s>>>(p);
  }
  return cudaGetLastError();
}

}  // namespace pamir::kernels::cuda
