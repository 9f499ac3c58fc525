// Every way against plain mma.sync in natural order, bit for bit, and that against double.
#include <string>
#include <vector>

#include "kernels/product/product_parts.cuh"
#include "tests/gpu/product/product_test.cuh"

namespace pamir::gpu_test {
namespace {

using namespace kernels::cuda;  // NOLINT: a test
using kernels::Activation;

constexpr double kTolerance = 3e-4;  // of fp32 sums, against double, by norms

// 16 inputs. Code for less than 8.0 has no such step; two of 8 are then the arithmetic.
template <DType kType>
__device__ __forceinline__ void JudgeStep(float* s, const uint32_t (&a)[4],
                                          const uint32_t (&b)[2]) {
#if __CUDA_ARCH__ >= 800
  if constexpr (kType == DType::kFloat16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
        "{%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, "
        "%7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
  }
#else
  for (int half = 0; half < 2 && kType == DType::kFloat16; ++half) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
        "{%0, %1, %2, %3};"
        : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3])
        : "r"(a[2 * half]), "r"(a[2 * half + 1]), "r"(b[half]));
  }
#endif
}

// The judge: m16n8k16 as it is meant, 16 rows of x times 8 outputs, k ascending. One warp a tile.
// twin: sums of the two halves of k, as split-K makes them, which must not pass.
template <DType kType>
__global__ void JudgeKernel(const uint16_t* x, const uint16_t* w, float* y, int rows, int out,
                            int in, bool neurons, bool twin) {
  const int g = threadIdx.x / 4, t = threadIdx.x % 4, r0 = blockIdx.y * 16, o0 = blockIdx.x * 8;
  float d[2][4] = {};
  const auto at = [&](int r, int k) -> uint32_t {
    return r < rows && k < in ? x[int64_t{r} * in + k] : 0;
  };
  const auto weight = [&](int o, int k) -> uint32_t {
    if (o >= out || k >= in) return 0;
    return neurons ? w[int64_t{k} * out + o] : w[int64_t{o} * in + k];
  };
  for (int k = 0; k < in; k += 16) {
    uint32_t a[4], b[2];
    for (int i = 0; i < 4; ++i) {
      const int r = r0 + g + 8 * (i % 2), kk = k + 2 * t + 8 * (i / 2);
      a[i] = at(r, kk) | at(r, kk + 1) << 16;
    }
    for (int i = 0; i < 2; ++i) {
      const int kk = k + 2 * t + 8 * i;
      b[i] = weight(o0 + g, kk) | weight(o0 + g, kk + 1) << 16;
    }
    float* s = d[twin && k >= in / 2];
    JudgeStep<kType>(s, a, b);
  }
  for (int i = 0; i < 4; ++i) {
    const int r = r0 + g + 8 * (i / 2), o = o0 + 2 * t + i % 2;
    if (r < rows && o < out) y[int64_t{r} * out + o] = (d[0][i] + d[1][i]) + 0.0f;
  }
}

// The judge's sums against double: error[0] += (y - exact)^2, error[1] += exact^2.
__global__ void DoubleKernel(const void* x, const void* w, DType type, const float* y, int rows,
                             int out, int in, bool neurons, double* error) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= rows * out) return;
  const int r = i / out, o = i % out;
  double sum = 0;
  for (int k = 0; k < in; ++k) {
    const double v = Load(w, type, neurons ? int64_t{k} * out + o : int64_t{o} * in + k);
    sum += v * Load(x, type, int64_t{r} * in + k);
  }
  atomicAdd(error, (y[i] - sum) * (y[i] - sum));
  atomicAdd(error + 1, sum * sum);
}

struct Form {  // of the outputs
  DType y;
  Activation activation;
  bool bias;
  int padding;
};

// Values of y that differ from the judge's; padding must still hold -7.
__global__ void CompareKernel(const float* judge, const void* y, const float* bias, Form form,
                              int rows, int out, int* different) {
  const int stride = out + form.padding;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < rows * stride;
       i += gridDim.x * blockDim.x) {
    const int r = i / stride, o = i % stride;
    float v = -7;
    if (o < out) {
      v = judge[int64_t{r} * out + o];
      if (form.bias) v += bias[o];
      if (form.activation == Activation::kRelu) v = v > 0 ? v : 0;
      if (form.activation == Activation::kGelu) {
        v = __fmul_rn(__fmul_rn(0.5f, v), __fadd_rn(1, erff(__fmul_rn(v, 0.70710678f))));
      }
    }
    float rounded = 0;
    Put(&rounded, form.y, 0, v);
    const float want = Load(&rounded, form.y, 0), got = Load(y, form.y, i);
    if (__float_as_uint(want) != __float_as_uint(got)) atomicAdd(different, 1);
  }
}

__global__ void PoisonKernel(void* y, DType type, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) {
    Put(y, type, i, -7);
  }
}

struct Case {
  DType type;
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
        flags_((c.in + 15) / 16),
        flags_out_((c.out + 15) / 16),
        count_(1),
        error_(2) {
    Fill(w_.data, c.type, w_.count, 11, 1.7f / std::sqrt(static_cast<float>(c.in)));
    Fill(bias_.data, DType::kFloat32, c.out, 13, 1.0f);
  }

  // density < 1: neurons at rest, and their groups skipped.
  void Inputs(int rows, float density) {
    rows_ = rows;
    Fill(x_.data, c_.type, int64_t{rows} * c_.in, 17 + rows, 1.0f);
    PAMIR_CUDA_OK(cudaMemset(flags_.data, 0, flags_.count));
    if (density < 1) MaskKernel<<<256, 256>>>(x_.data, rows, c_.in, 19, density, flags_.data);
    skip_ = density < 1;
  }

  void Judge(bool twin) {
    const dim3 grid((c_.out + 7) / 8, (rows_ + 15) / 16);
    const auto kernel =
        c_.type == DType::kFloat16 ? &JudgeKernel<DType::kFloat16> : &JudgeKernel<DType::kBFloat16>;
    kernel<<<grid, 32>>>(x_.data, w_.data, judge_.data, rows_, c_.out, c_.in,
                         c_.order == WeightOrder::kNeurons, twin);
    PAMIR_CUDA_OK(cudaGetLastError());
  }

  double ErrorOfJudge() {
    PAMIR_CUDA_OK(cudaMemset(error_.data, 0, 16));
    DoubleKernel<<<(rows_ * c_.out + 255) / 256, 256>>>(
        x_.data, w_.data, c_.type, judge_.data, rows_, c_.out, c_.in,
        c_.order == WeightOrder::kNeurons, error_.data);
    double e[2];
    PAMIR_CUDA_OK(cudaMemcpy(e, error_.data, 16, cudaMemcpyDeviceToHost));
    return std::sqrt(e[0] / e[1]);
  }

  // Values that differ from the judge's; -1 where the launch was refused.
  int Differences(Way way, const Form& form) {
    GpuProductArgs a;
    a.type = c_.type;
    a.x = x_.data;
    a.rows = rows_;
    a.x_stride = c_.in;
    a.w = {w_.data, c_.out, c_.in, c_.order};
    a.bias = form.bias ? bias_.data : nullptr;
    a.activation = form.activation;
    a.y = y_.data;
    a.y_type = form.y;
    a.y_stride = c_.out + form.padding;
    if (skip_) a.active_in = flags_.data;
    if (form.activation != Activation::kNone && rows_ <= 8) a.active_out = flags_out_.data;
    PoisonKernel<<<256, 256>>>(y_.data, form.y, static_cast<int>(rows_ * a.y_stride));
    const int e = LaunchBy(way, a);
    if (e != 0) {
      std::printf("launch: %s\n", cudaGetErrorString(static_cast<cudaError_t>(e)));
      return -1;
    }
    PAMIR_CUDA_OK(cudaMemset(count_.data, 0, 4));
    CompareKernel<<<256, 256>>>(judge_.data, y_.data, bias_.data, form, rows_, c_.out, count_.data);
    int different = 0;
    PAMIR_CUDA_OK(cudaMemcpy(&different, count_.data, 4, cudaMemcpyDeviceToHost));
    if (a.active_out != nullptr) different += WrongFlags(form, a.y_stride);
    return different;
  }

 private:
  int LaunchBy(Way way, const GpuProductArgs& a) {
    if (way == Way::kChosen) return GpuProduct(device_, {}, a);
    if (way == Way::kPlain) return GpuProductBy(device_, {}, a, nullptr);
    StreamShape shape = ChooseShape(device_, a);
    const bool folded = a.w.in % 64 == 0;
    shape.outs = way == Way::kSmall ? 64 : 192;
    shape.chunks = way == Way::kSmall && folded && rows_ <= 64 ? 3 : 1;
    shape.stages = way == Way::kSmall ? 3 : 2;
    return GpuProductBy(device_, {}, a, &shape);
  }

  int WrongFlags(const Form& form, int64_t stride) {
    std::vector<float> values(rows_ * stride);  // more than enough for any type
    std::vector<uint8_t> flags(flags_out_.count), want(flags_out_.count);
    PAMIR_CUDA_OK(
        cudaMemcpy(values.data(), y_.data, values.size() * SizeOf(form.y), cudaMemcpyDeviceToHost));
    PAMIR_CUDA_OK(cudaMemcpy(flags.data(), flags_out_.data, flags.size(), cudaMemcpyDeviceToHost));
    for (int r = 0; r < rows_; ++r) {
      for (int o = 0; o < c_.out; ++o) {
        if (Load(values.data(), form.y, r * stride + o) != 0) want[o / 16] = 1;
      }
    }
    int wrong = 0;
    for (size_t i = 0; i < want.size(); ++i) wrong += want[i] != flags[i];
    return wrong;
  }

  ProductDevice* device_;
  Case c_;
  Buffer<uint16_t> w_, x_;
  Buffer<float> judge_, y_, bias_;
  Buffer<uint8_t> flags_, flags_out_;
  Buffer<int> count_;
  Buffer<double> error_;
  int rows_ = 0;
  bool skip_ = false;
};

const Form kForms[] = {{DType::kFloat16, Activation::kRelu, true, 0},
                       {DType::kFloat16, Activation::kNone, false, 8},
                       {DType::kFloat32, Activation::kNone, true, 0},
                       {DType::kFloat32, Activation::kGelu, false, 3},
                       {DType::kBFloat16, Activation::kGelu, true, 0}};
constexpr Form kSums = {DType::kFloat32, Activation::kNone, false, 0};

// Runs a case at `rows` by every way, prints a line, returns failures.
int RunRows(Bench& bench, const Case& c, int rows, float density) {
  bench.Inputs(rows, density);
  bench.Judge(false);
  int checked = 0, failed = 0;
  std::string bad;
  const auto check = [&](Way way, const char* name) {
    for (const Form& form : kForms) {
      ++checked;
      const int wrong = bench.Differences(way, form);
      if (wrong == 0) continue;
      ++failed;
      bad += std::string(" [") + name + " #" + std::to_string(&form - kForms) + ": " +
             std::to_string(wrong) + "]";
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
  const bool twin = density * c.in < 20 || bench.Differences(Way::kChosen, kSums) > 0;
  if (!twin) ++failed, bad += " [the broken twin passed]";
  if (failed > 0 || rows == 1 || rows >= 128) {
    std::printf("%s %6d x %6d %-7s %5d rows %5.1f %% active: %3d checks, %d failed%s\n",
                c.type == DType::kFloat16 ? "fp16" : "bf16", c.out, c.in,
                c.order == WeightOrder::kNeurons ? "neurons" : "outputs", rows, 100 * density,
                checked, failed, bad.c_str());
  }
  return failed;
}

}  // namespace

namespace {

int RunCase(ProductDevice* device, const Case& c, Extent extent) {
  const bool small = c.out * int64_t{c.in} < 6000000, tiny = extent == Extent::kTiny;
  int failed = 0;
  Bench bench(device, c, small ? 2048 : 300);
  bench.Inputs(3, 1);
  bench.Judge(false);
  const double error = bench.ErrorOfJudge();
  // bf16's tensor cores add what fp16's do: the same tolerance.
  if (!(error < kTolerance)) {
    ++failed;
    std::printf("%d x %d: the judge is off by %.3g, more than %.3g\n", c.out, c.in, error,
                kTolerance);
  }
  std::vector<int> rows = {1, 2, 7, 8, 9, 16, 17, 31, 32, 64, 65, 128, 256};
  if (small) rows.insert(rows.end(), {129, 2048});
  if (tiny) rows = {1, 9, 65};
  if (c.out == 2304 && c.type == DType::kFloat16) {
    for (int r = 3; r < 128; ++r) rows.push_back(r);
  }
  for (const int r : rows) failed += RunRows(bench, c, r, 1);
  if (c.order == WeightOrder::kOutputs) return failed;
  for (const float density : {0.5f, 0.1f, 0.05f, 0.005f, 0.0f}) {
    for (const int r : {1, 3, 8}) {
      if (tiny && (r == 3 || density > 0.1f || density == 0.05f)) continue;
      failed += RunRows(bench, c, r, density);
    }
  }
  return failed;
}

}  // namespace

int Parity(ProductDevice* device, Extent extent) {
  const bool tiny = extent == Extent::kTiny;
  int failed = ParityFloat32(device, extent) + ParityNorm(device, extent);
  const int shapes[][2] = {{2304, 768},  {768, 3072},   {1000, 200},   {264, 1352},
                           {48, 48},     {192, 64},     {64, 192},     {3072, 1024},
                           {5120, 5120}, {5120, 20480}, {12288, 9216}, {50272, 768}};
  for (const DType type : {DType::kFloat16, DType::kBFloat16}) {
    if (type == DType::kBFloat16 && !device->bfloat16) {
      std::printf("bf16: no kernels for it here\n");
      continue;
    }
    for (const auto& shape : shapes) {
      const int64_t size = shape[0] * int64_t{shape[1]};
      const bool full = extent == Extent::kFull && type == DType::kFloat16;
      const int64_t tiny_max = type == DType::kFloat16 ? 400000 : 10000;
      if (size > (tiny ? tiny_max : full ? INT64_MAX : 6000000)) continue;
      for (const WeightOrder order : {WeightOrder::kOutputs, WeightOrder::kNeurons}) {
        failed += RunCase(device, {type, shape[0], shape[1], order}, extent);
      }
    }
  }
  return failed;
}

}  // namespace pamir::gpu_test
