// Every way against plain mma.sync in natural order, bit for bit, and that against double.
#include <string>
#include <vector>

#include "tests/gpu/product/product_test.cuh"

namespace pamir::gpu_test {
namespace {

using namespace kernels::cuda;  // NOLINT: a test

constexpr double kTolerance = 3e-4;  // of fp32 sums, against double, by norms

// The judge: m16n8k16 as it is meant, 16 rows of x times 8 outputs, k ascending. One warp a tile.
// twin: sums of the two halves of k, as split-K makes them, which must not pass.
__global__ void JudgeKernel(const __half* x, const __half* w, float* y, int rows, int out, int in,
                            bool neurons, bool twin) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4, r0 = blockIdx.y * 16, o0 = blockIdx.x * 8;
  float d[2][4] = {};
  const auto at = [&](int r, int k) {
    return r < rows && k < in ? x[int64_t{r} * in + k] : __half(0.0f);
  };
  const auto weight = [&](int o, int k) {
    if (o >= out || k >= in) return __half(0.0f);
    return neurons ? w[int64_t{k} * out + o] : w[int64_t{o} * in + k];
  };
  const auto pair = [](__half low, __half high) {
    return __half_as_ushort(low) | static_cast<uint32_t>(__half_as_ushort(high)) << 16;
  };
  for (int k = 0; k < in; k += 16) {
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; ++i) {
      const int r = r0 + g + 8 * (i % 2), kk = k + 2 * t + 8 * (i / 2);
      a[i] = pair(at(r, kk), at(r, kk + 1));
    }
    for (int i = 0; i < 2; ++i) {
      const int kk = k + 2 * t + 8 * i;
      b[i] = pair(weight(o0 + g, kk), weight(o0 + g, kk + 1));
    }
    float* s = d[twin && k >= in / 2];
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
  for (int i = 0; i < 4; ++i) {
    const int r = r0 + g + 8 * (i / 2), o = o0 + 2 * t + i % 2;
    if (r < rows && o < out) y[int64_t{r} * out + o] = (d[0][i] + d[1][i]) + 0.0f;
  }
}

// The epilogue of the judge, and the sums in double: error[0] += (y - exact)^2, error[1] +=
// exact^2.
__global__ void DoubleKernel(const __half* x, const __half* w, const float* y, int rows, int out,
                             int in, bool neurons, double* error) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows * out) return;
  const int r = i / out, o = i % out;
  double sum = 0;
  for (int k = 0; k < in; ++k) {
    const __half v = neurons ? w[int64_t{k} * out + o] : w[int64_t{o} * in + k];
    sum += static_cast<double>(__half2float(x[int64_t{r} * in + k])) * __half2float(v);
  }
  atomicAdd(error, (y[i] - sum) * (y[i] - sum));
  atomicAdd(error + 1, sum * sum);
}

template <typename Y>
__global__ void CompareKernel(const float* judge, const Y* y, const Y* bias, bool relu, int rows,
                              int out, int stride, int* different) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows * stride;
       i += gridDim.x * blockDim.x) {
    const int r = i / stride, o = i % stride;
    if (o >= out) {  // padding is not touched
      if (static_cast<float>(y[i]) != -7.0f) atomicAdd(different, 1);
      continue;
    }
    float v = judge[int64_t{r} * out + o];
    if (bias != nullptr) v += static_cast<float>(bias[o]);
    if (relu) v = v > 0 ? v : 0;
    const Y want = static_cast<Y>(v);
    bool same;
    if constexpr (sizeof(Y) == 4) {
      same = __float_as_uint(want) == __float_as_uint(y[i]);
    } else {
      same = __half_as_ushort(want) == __half_as_ushort(y[i]);
    }
    if (!same) atomicAdd(different, 1);
  }
}

template <typename Y>
__global__ void PoisonKernel(Y* y, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    y[i] = static_cast<Y>(-7.0f);
  }
}

struct Case {
  int out, in;
  WeightOrder order;
};

enum class Way { kChosen, kPlain, kSmall, kWide };

class Bench {
 public:
  Bench(ProductDevice* device, const Case& c, int max_rows)
      : device_(device),
        c_(c),
        w_(int64_t{c.out} * c.in),
        x_(int64_t{max_rows} * c.in),
        judge_(int64_t{max_rows} * c.out),
        y_(int64_t{max_rows} * (c.out + 8)),
        bias_(c.out),
        bias_float_(c.out),
        flags_((c.in + 15) / 16),
        flags_out_((c.out + 15) / 16),
        count_(1),
        error_(2) {
    Fill(w_.data, w_.count, 11, 1.7f / std::sqrt(static_cast<float>(c.in)));
    Fill(bias_.data, c.out, 13, 1.0f);
    std::vector<__half> half(c.out);
    PAMIR_CUDA_OK(cudaMemcpy(half.data(), bias_.data, c.out * 2, cudaMemcpyDeviceToHost));
    std::vector<float> wide(half.begin(), half.end());
    PAMIR_CUDA_OK(cudaMemcpy(bias_float_.data, wide.data(), c.out * 4, cudaMemcpyHostToDevice));
  }

  // density < 1: neurons at rest, and their groups skipped.
  void Inputs(int rows, float density) {
    rows_ = rows;
    Fill(x_.data, int64_t{rows} * c_.in, 17 + rows, 1.0f);
    PAMIR_CUDA_OK(cudaMemset(flags_.data, 0, flags_.count));
    if (density < 1) MaskKernel<<<256, 256>>>(x_.data, rows, c_.in, 19, density, flags_.data);
    skip_ = density < 1;
  }

  void Judge(bool twin) {
    const dim3 grid((c_.out + 7) / 8, (rows_ + 15) / 16);
    JudgeKernel<<<grid, 32>>>(x_.data, w_.data, judge_.data, rows_, c_.out, c_.in,
                              c_.order == WeightOrder::kNeurons, twin);
    PAMIR_CUDA_OK(cudaGetLastError());
  }

  double ErrorOfJudge() {
    PAMIR_CUDA_OK(cudaMemset(error_.data, 0, 16));
    DoubleKernel<<<(rows_ * c_.out + 255) / 256, 256>>>(
        x_.data, w_.data, judge_.data, rows_, c_.out, c_.in, c_.order == WeightOrder::kNeurons,
        error_.data);
    double e[2];
    PAMIR_CUDA_OK(cudaMemcpy(e, error_.data, 16, cudaMemcpyDeviceToHost));
    return std::sqrt(e[0] / e[1]);
  }

  // Values that differ from the judge's; -1 where the launch was refused.
  template <typename Y>
  int Differences(Way way, bool epilogue, int padding) {
    Y* y = reinterpret_cast<Y*>(y_.data);
    const Y* bias = sizeof(Y) == 4 ? reinterpret_cast<const Y*>(bias_float_.data)
                                   : reinterpret_cast<const Y*>(bias_.data);
    GpuProductArgs a;
    a.x = x_.data;
    a.rows = rows_;
    a.x_stride = c_.in;
    a.w = {w_.data, c_.out, c_.in, c_.order};
    a.bias = epilogue ? bias : nullptr;
    a.relu = epilogue;
    a.y = y;
    a.y_float = sizeof(Y) == 4;
    a.y_stride = c_.out + padding;
    if (skip_) a.active_in = flags_.data;
    if (epilogue && rows_ <= 8) a.active_out = flags_out_.data;
    PoisonKernel<<<256, 256>>>(y, static_cast<int>(rows_ * a.y_stride));
    int e = 0;
    if (way == Way::kChosen) {
      e = GpuProduct(device_, {}, a);
    } else if (way == Way::kPlain) {
      e = GpuProductBy(device_, {}, a, nullptr);
    } else {
      StreamShape shape = ChooseShape(device_, a);
      shape.outs = way == Way::kSmall ? 64 : 192;
      shape.stages = way == Way::kSmall ? 3 : 2;
      e = GpuProductBy(device_, {}, a, &shape);
    }
    if (e != 0) {
      std::printf("launch: %s\n", cudaGetErrorString(static_cast<cudaError_t>(e)));
      return -1;
    }
    PAMIR_CUDA_OK(cudaMemset(count_.data, 0, 4));
    CompareKernel<Y><<<256, 256>>>(judge_.data, y, a.bias != nullptr ? bias : nullptr, epilogue,
                                   rows_, c_.out, static_cast<int>(a.y_stride), count_.data);
    int different = 0;
    PAMIR_CUDA_OK(cudaMemcpy(&different, count_.data, 4, cudaMemcpyDeviceToHost));
    if (a.active_out != nullptr) different += WrongFlags(y, a.y_stride);
    return different;
  }

 private:
  template <typename Y>
  int WrongFlags(const Y* y, int64_t stride) {
    std::vector<Y> values(rows_ * stride);
    std::vector<uint8_t> flags(flags_out_.count);
    PAMIR_CUDA_OK(cudaMemcpy(values.data(), y, values.size() * sizeof(Y), cudaMemcpyDeviceToHost));
    PAMIR_CUDA_OK(cudaMemcpy(flags.data(), flags_out_.data, flags.size(), cudaMemcpyDeviceToHost));
    std::vector<uint8_t> want(flags.size());
    for (int r = 0; r < rows_; ++r) {
      for (int o = 0; o < c_.out; ++o) {
        if (static_cast<float>(values[r * stride + o]) != 0) want[o / 16] = 1;
      }
    }
    int wrong = 0;
    for (size_t i = 0; i < want.size(); ++i) wrong += want[i] != flags[i];
    return wrong;
  }

  ProductDevice* device_;
  Case c_;
  Buffer<__half> w_, x_;
  Buffer<float> judge_, y_;
  Buffer<__half> bias_;
  Buffer<float> bias_float_;
  Buffer<uint8_t> flags_, flags_out_;
  Buffer<int> count_;
  Buffer<double> error_;
  int rows_ = 0;
  bool skip_ = false;
};

// Runs a case at `rows` by every way, prints a line, returns failures.
int RunRows(Bench& bench, const Case& c, int rows, float density) {
  bench.Inputs(rows, density);
  bench.Judge(false);
  int checked = 0, failed = 0;
  std::string bad;
  const auto check = [&](Way way, const char* name) {
    const int wrong[4] = {
        bench.Differences<__half>(way, true, 0), bench.Differences<__half>(way, false, 8),
        bench.Differences<float>(way, true, 0), bench.Differences<float>(way, false, 3)};
    for (int i = 0; i < 4; ++i) {
      ++checked;
      if (wrong[i] == 0) continue;
      ++failed;
      bad += std::string(" [") + name + " #" + std::to_string(i) + ": " + std::to_string(wrong[i]) +
             "]";
    }
  };
  check(Way::kChosen, "chosen");
  if (density == 1) {
    check(Way::kPlain, "plain");
    check(Way::kSmall, "64 outputs a block");
    if (rows <= 64) check(Way::kWide, "192 outputs a block");
  }
  bench.Judge(true);
  // Where hardly an input is left, two half sums can have the bits of one.
  const bool twin = density < 0.01f || bench.Differences<float>(Way::kChosen, false, 0) > 0;
  if (!twin) ++failed, bad += " [the broken twin passed]";
  if (failed > 0 || rows == 1 || rows >= 128) {
    std::printf("%6d x %6d %-7s %5d rows %5.1f %% active: %3d checks, %d failed%s\n", c.out, c.in,
                c.order == WeightOrder::kNeurons ? "neurons" : "outputs", rows, 100 * density,
                checked, failed, bad.c_str());
  }
  return failed;
}

}  // namespace

int Parity(ProductDevice* device, Extent extent) {
  const bool tiny = extent == Extent::kTiny;
  int failed = 0;
  const WeightOrder orders[] = {WeightOrder::kOutputs, WeightOrder::kNeurons};
  const int shapes[][2] = {{2304, 768},  {768, 3072},   {1000, 200},   {264, 1352}, {3072, 1024},
                           {5120, 5120}, {5120, 20480}, {12288, 9216}, {50272, 768}};
  for (const auto& shape : shapes) {
    const int64_t size = shape[0] * int64_t{shape[1]};
    if (size > (tiny ? 400000 : extent == Extent::kQuick ? 6000000 : INT64_MAX)) continue;
    for (const WeightOrder order : orders) {
      const Case c = {shape[0], shape[1], order};
      const bool small = size < 6000000;
      Bench bench(device, c, small ? 2048 : 300);
      bench.Inputs(3, 1);
      bench.Judge(false);
      const double error = bench.ErrorOfJudge();
      if (!(error < kTolerance)) {
        ++failed;
        std::printf("%d x %d: the judge is off by %.3g, more than %.3g\n", c.out, c.in, error,
                    kTolerance);
      }
      std::vector<int> rows = {1, 2, 7, 8, 9, 16, 17, 31, 32, 64, 65, 128, 256};
      if (small) rows.insert(rows.end(), {129, 2048});
      if (tiny) rows = {1, 9, 33, 65, 129};
      if (shape[0] == 2304) {
        for (int r = 3; r < 128; ++r) rows.push_back(r);
      }
      for (const int r : rows) failed += RunRows(bench, c, r, 1);
      if (order == WeightOrder::kOutputs) continue;
      for (const float density : {0.5f, 0.1f, 0.05f, 0.005f, 0.0f}) {
        for (const int r : {1, 3, 8}) {
          if (tiny && r == 3) continue;
          failed += RunRows(bench, c, r, density);
        }
      }
    }
  }
  return failed;
}

}  // namespace pamir::gpu_test
